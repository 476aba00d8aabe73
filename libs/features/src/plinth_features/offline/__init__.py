"""Offline join: the features that a reader would have seen, for many past moments at once.

Independent of the packed rows on purpose: prefix sums, sorting and searching over each entity's history
instead of a fold over tiles, so that agreement of the two is evidence. States follow from the order of
arrival. Where an entity's events are in order of time, a window is a range of its history; the moments of
entities with late events are worked out one by one (`moment`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plinth_features.offline import kept, moment
from plinth_features.offline.history import History, Seen
from plinth_features.offline.states import States
from plinth_features.offline.windows import Ranges
from plinth_features.spec import STATES, View
from plinth_features.words import Floats, Ints

__all__ = ["History", "Moments", "join"]


@dataclass(frozen=True)
class Moments:
    """Whom to look at, and when. `known` is how many events of the history were known by then."""

    entity: Ints
    ts_ms: Ints
    known: Ints


def join(view: View, history: History, moments: Moments) -> Floats:
    """Feature values [moments, features] in the view's order, equal to what an online read would give."""
    order = np.argsort(history.entity, kind="stable")
    events = History(
        history.entity[order], history.ts_ms[order], history.weight[order], history.values[order]
    )
    asked = np.argsort(moments.entity, kind="stable")  # neighbours in the history, found several times faster
    moments = Moments(moments.entity[asked], moments.ts_ms[asked], moments.known[asked])
    start = np.searchsorted(events.entity, moments.entity, side="left")
    seen = Seen(moments.entity, moments.ts_ms, start, _known_until(order, events.entity, moments))
    found = np.empty((len(view.aggregations), len(start)))
    for position, value in enumerate(_values(view, events, seen)):
        aggregation = view.aggregations[position]
        found[position] = np.where(np.isnan(value), aggregation.default, value * aggregation.scale)
    out = np.empty(found.shape[::-1])
    out[asked] = found.T
    return out


def _values(view: View, events: History, seen: Seen) -> Iterator[Floats]:
    """Each feature at all moments, before its scale; NaN where it is not defined."""
    tidy = _in_order(events, seen)
    late = np.flatnonzero(~tidy).tolist()
    ranges, states = Ranges(view, events, seen.where(tidy)), States(view, events, seen)
    for aggregation in view.aggregations:
        if aggregation.function in STATES:
            yield states.of(aggregation)
            continue
        value = np.empty(len(seen.start))
        of_kept = aggregation.function in kept.FUNCTIONS
        value[tidy] = kept.of(aggregation, ranges) if of_kept else ranges.of(aggregation)
        for i in late:
            part = slice(seen.start[i], seen.stop[i])
            known = events.ts_ms[part], events.weight[part], events.values[part]
            value[i] = moment.value(view, aggregation, *known, int(seen.ts_ms[i]))
        yield value


def _known_until(order: Ints, entity: Ints, moments: Moments) -> Ints:
    """Where each moment's known events of its entity end, in the sorted history."""
    width = len(order) + 1
    keys = entity * width + order
    ends: Ints = np.searchsorted(keys, moments.entity * width + moments.known, side="left")
    return ends


def _in_order(events: History, seen: Seen) -> NDArray[np.bool_]:
    """Moments whose known events are sorted by time and none of them later than the moment."""
    if not len(events.ts_ms):
        return np.ones(len(seen.start), dtype=bool)
    same = events.entity[1:] == events.entity[:-1]
    backwards = np.r_[0, np.cumsum(same & (events.ts_ms[1:] < events.ts_ms[:-1]))]
    some = seen.stop > seen.start
    first, last = np.minimum(seen.start, len(backwards) - 1), np.maximum(seen.stop - 1, 0)
    tidy: NDArray[np.bool_] = ~some | (
        (backwards[last] == backwards[first]) & (events.ts_ms[last] <= seen.ts_ms)
    )
    return tidy
