"""Offline join: the features that a reader would have seen, for many past moments at once.

Independent of the packed rows on purpose: prefix sums over each entity's history instead of a fold over
tiles, so that agreement of the two is evidence. Where an entity's events are in order of time, a window is
a difference of prefix sums; entities with late events are worked out one moment at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plinth_features.spec import STATES, Aggregation, View, hop_s

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Events of one view in the order in which they became known.

    entity: codes from 0; ts_ms: event time; weight: 1, or 0 for a correction; values: [events, columns].
    """

    entity: Ints
    ts_ms: Ints
    weight: Ints
    values: Ints


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
    start = np.searchsorted(events.entity, moments.entity, side="left")
    stop = _known_until(order, events.entity, moments)
    out = np.empty((len(moments.entity), len(view.aggregations)))
    tidy = _in_order(events, moments, start, stop)
    for position, aggregation in enumerate(view.aggregations):
        out[tidy, position] = _by_prefix_sums(
            view, aggregation, events, moments.entity[tidy], moments.ts_ms[tidy], start[tidy], stop[tidy]
        )
    for i in np.flatnonzero(~tidy):
        part = slice(start[i], stop[i])
        for position, aggregation in enumerate(view.aggregations):
            out[i, position] = at_moment(
                view,
                aggregation,
                events.ts_ms[part],
                events.weight[part],
                events.values[part],
                int(moments.ts_ms[i]),
            )
    return out


def _known_until(order: Ints, entity: Ints, moments: Moments) -> Ints:
    """Where each moment's known events of its entity end, in the sorted history."""
    width = len(order) + 1
    keys = entity * width + order
    ends: Ints = np.searchsorted(keys, moments.entity * width + moments.known, side="left")
    return ends


def _in_order(events: History, moments: Moments, start: Ints, stop: Ints) -> NDArray[np.bool_]:
    """Moments whose known events are sorted by time and none of them later than the moment."""
    same = events.entity[1:] == events.entity[:-1]
    backwards = np.r_[0, np.cumsum(same & (events.ts_ms[1:] < events.ts_ms[:-1]))]
    some = stop > start
    first, last = np.minimum(start, len(backwards) - 1), np.maximum(stop - 1, 0)
    if not len(events.ts_ms):
        return np.ones(len(start), dtype=bool)
    tidy: NDArray[np.bool_] = ~some | (
        (backwards[last] == backwards[first]) & (events.ts_ms[last] <= moments.ts_ms)
    )
    return tidy


def _by_prefix_sums(
    view: View, aggregation: Aggregation, events: History, entity: Ints, ts_ms: Ints, start: Ints, stop: Ints
) -> Floats:
    """One feature at moments that see their events in order of time."""
    hop_ms = hop_s(aggregation.window_s) * 1000
    tail = (ts_ms // hop_ms - aggregation.window_s * 1000 // hop_ms) * hop_ms
    low = np.maximum(_first_at_or_after(events, entity, tail), start)
    low = np.minimum(low, stop)
    if aggregation.function in STATES:
        value = _newest(view, aggregation, events, np.maximum(low, stop - view.recent), stop, ts_ms)
        return np.where(np.isnan(value), aggregation.default, value * aggregation.scale)
    count = _range_sum(events.weight, low, stop)
    if aggregation.function == "count":
        value = count.astype(np.float64)
    else:
        column = events.values[:, view.columns.index(aggregation.column or "")]
        value = _statistic(aggregation.function, column, low, stop, np.maximum(count, 1))
    return np.where(count > 0, value * aggregation.scale, aggregation.default)


def _first_at_or_after(events: History, entity: Ints, ts_ms: Ints) -> Ints:
    """Position of an entity's first event at or after a time, its events so far being in order.

    The running maximum keeps the search sound where an entity goes back in time later on.
    """
    if not len(events.ts_ms):
        return np.zeros(len(entity), dtype=np.int64)
    origin = min(int(events.ts_ms.min()), int(ts_ms.min(initial=0)))
    span = max(int(events.ts_ms.max()), int(ts_ms.max(initial=0))) - origin + 1
    if (int(events.entity.max()) + 1) * span >= 2**62:
        raise ValueError("too many entities over too long a time for one join: split the entities")
    keys = np.maximum.accumulate(events.entity * span + (events.ts_ms - origin))
    found: Ints = np.searchsorted(keys, entity * span + (ts_ms - origin), side="left")
    return found


def _range_sum(values: Ints, low: Ints, stop: Ints) -> Ints:
    total = np.r_[0, np.cumsum(values)]
    summed: Ints = total[stop] - total[low]
    return summed


def _reduce(function: np.ufunc, values: NDArray[Any], low: Ints, stop: Ints) -> NDArray[Any]:
    """`function.reduce` over [low, stop) of `values` for every pair; 0 where the range is empty."""
    padded = np.append(values, 0).astype(values.dtype)
    out: NDArray[Any] = np.zeros(len(low), dtype=values.dtype)
    some = stop > low
    if some.any():
        pairs = np.stack([low[some], stop[some]], axis=1).ravel()
        out[some] = function.reduceat(padded, pairs)[::2]
    return out


def _newest(
    view: View, aggregation: Aggregation, events: History, low: Ints, stop: Ints, ts_ms: Ints
) -> Floats:
    """`last`, `age` or `gap` of the events [low, stop), corrections apart; NaN where there are too few."""
    if not len(events.ts_ms):
        return np.full(len(low), np.nan)
    at = np.arange(len(events.ts_ms))
    newest = np.r_[-1, np.maximum.accumulate(np.where(events.weight > 0, at, -1))]  # before each position
    last = newest[stop]
    before = newest[np.maximum(last, 0)]
    enough = (before if aggregation.function == "gap" else last) >= low
    match aggregation.function:
        case "last":
            value = events.values[last, view.columns.index(aggregation.column or "")].astype(np.float64)
        case "age":
            value = (ts_ms - events.ts_ms[last]) / 1000
        case _:
            value = (events.ts_ms[last] - events.ts_ms[before]) / 1000
    return np.where(enough, value, np.nan)


def _statistic(function: str, column: Ints, low: Ints, stop: Ints, n: Ints) -> Floats:
    match function:
        case "sum":
            return _range_sum(column, low, stop).astype(np.float64)
        case "mean":
            return _range_sum(column, low, stop) / n
        case "min":
            return _reduce(np.minimum, column, low, stop).astype(np.float64)
        case "max":
            return _reduce(np.maximum, column, low, stop).astype(np.float64)
        case _:
            mean = _range_sum(column, low, stop) / n
            squares: Floats = _reduce(np.add, column.astype(np.float64) ** 2, low, stop) / n
            return np.sqrt(np.maximum(squares - mean * mean, 0.0))


def at_moment(
    view: View, aggregation: Aggregation, ts_ms: Ints, weight: Ints, values: Ints, now_ms: int
) -> float:
    """One feature of one entity from its known events, straight from the definition of a window."""
    hop_ms = hop_s(aggregation.window_s) * 1000
    tile, now = ts_ms // hop_ms, now_ms // hop_ms
    settled = np.arange(len(ts_ms)) < len(ts_ms) - view.recent
    head = max(now, int(tile[settled].max(initial=now)))
    chosen = (tile >= head - aggregation.window_s * 1000 // hop_ms) & (tile <= now)
    chosen &= settled | (ts_ms <= now_ms)
    if aggregation.function in STATES:
        chosen &= ~settled & (weight > 0)
        visible = History(
            np.zeros(chosen.sum(), dtype=np.int64), ts_ms[chosen], weight[chosen], values[chosen]
        )
        ends = np.array([0]), np.array([len(visible.ts_ms)]), np.array([now_ms])
        state = float(_newest(view, aggregation, visible, *ends)[0])
        return aggregation.default if np.isnan(state) else state * aggregation.scale
    count = int(weight[chosen].sum())
    if count <= 0:
        return aggregation.default
    if aggregation.function == "count":
        return count * aggregation.scale
    column = values[chosen, view.columns.index(aggregation.column or "")]
    span = np.array([0]), np.array([len(column)]), np.array([count])
    return float(_statistic(aggregation.function, column, *span)[0]) * aggregation.scale
