"""States at many moments, from the order in which events arrived; time plays no part but in ages."""

from __future__ import annotations

import numba
import numpy as np

from plinth_features.offline.history import History, Seen, newest_before, prefix_sums
from plinth_features.spec import Aggregation, View
from plinth_features.words import Floats, Ints


class States:
    """States of entities at moments. Corrections leave them as they are."""

    def __init__(self, view: View, events: History, seen: Seen) -> None:
        self._view, self._events, self._seen = view, events, seen
        self._real = events.weight > 0
        self._newest = newest_before(self._real)

    def of(self, aggregation: Aggregation) -> Floats:
        """Values of one feature, before its scale; NaN where it is not defined."""
        seen, now = self._seen, self._seen.ts_ms
        if not len(self._events.ts_ms):
            return np.full(len(now), np.nan)
        newest = self._known(self._newest[seen.stop])
        match aggregation.function:
            case "age":
                return self._since(newest, now)
            case "gap":
                before = self._known(self._newest[np.maximum(newest, 0)])
                return np.where(newest >= 0, self._since(before, self._events.ts_ms[newest]), np.nan)
            case "last":
                return np.where(newest >= 0, self._column(aggregation)[newest], np.nan)
            case "first":
                first = _firsts(self._events, self._column(aggregation), self._view.distinct)
                return np.where(newest >= 0, first[newest], np.nan)
        positive = self._column(aggregation) > 0
        last_positive = self._known(newest_before(self._real & positive)[seen.stop])
        last_other = self._known(newest_before(self._real & ~positive)[seen.stop])
        if aggregation.function == "age_positive":
            return self._since(last_positive, now)
        if aggregation.function == "age_zero":
            return self._since(last_other, now)
        begin = np.maximum(last_other + 1, seen.start)
        events = prefix_sums(self._real.astype(np.int64))
        run = events[seen.stop] - events[begin]
        if aggregation.function == "run":
            return np.where(newest >= 0, run, np.nan)
        first_of_run = np.searchsorted(events, events[begin], side="right") - 1
        return np.where(run > 0, self._since(first_of_run, now), np.nan)

    def _known(self, at: Ints) -> Ints:
        """-1 in place of events that are not of the moment's entity."""
        return np.where(at >= self._seen.start, at, -1)

    def _since(self, at: Ints, now: Ints) -> Floats:
        inside = np.clip(at, 0, len(self._events.ts_ms) - 1)
        seconds = np.maximum(now - self._events.ts_ms[inside], 0) / 1000
        return np.where(at >= 0, seconds, np.nan)

    def _column(self, aggregation: Aggregation) -> Ints:
        return np.ascontiguousarray(self._events.values[:, self._view.columns.index(aggregation.columns[0])])


def _firsts(events: History, column: Ints, distinct: int) -> Ints:
    """1 for each event whose value is not among the last so many distinct ones of its entity, else 0."""
    real = np.flatnonzero(events.weight > 0)
    entity, value = events.entity[real], column[real]
    order = np.lexsort((value, entity))
    again = (entity[order][1:] == entity[order][:-1]) & (value[order][1:] == value[order][:-1])
    earlier, later = np.full(len(real), -1), np.full(len(real), len(real))
    earlier[order[1:][again]] = order[:-1][again]
    later[order[:-1][again]] = order[1:][again]
    out = np.zeros(len(column), dtype=np.int64)
    out[real] = _beyond(earlier, later, distinct)
    return out


@numba.njit(cache=True, nogil=True)
def _beyond(earlier: Ints, later: Ints, distinct: int) -> Ints:
    """1 where a value came never before, or `distinct` others came since.

    earlier, later: positions of the same value before and after each event. Between two events with the same
    value there are as many others as events whose value does not come again in between.
    """
    out = np.ones(len(earlier), np.int64)
    for i in range(len(earlier)):
        others, j = 0, i - 1
        while j > earlier[i] >= 0 and others < distinct:
            others += later[j] >= i
            j -= 1
        if earlier[i] >= 0 and others < distinct:
            out[i] = 0
    return out
