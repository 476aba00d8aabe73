"""Functions of a window for moments that see their events in order of time: ranges and prefix sums."""

from __future__ import annotations

import numba
import numpy as np

from plinth_features.offline.history import History, Seen, newest_before, prefix_sums
from plinth_features.spec import Aggregation, View, hop_s
from plinth_features.words import Floats, Ints

EARTH_RADIUS_KM = 6371.0088


class Ranges:
    """Windows of moments as ranges of a sorted history. Results are NaN where a function is not defined."""

    def __init__(self, view: View, events: History, seen: Seen) -> None:
        self.view, self.events, self.seen = view, events, seen
        self.newest_event = newest_before(events.weight > 0)
        self._totals: dict[str, Ints] = {}
        self._lows: dict[int, Ints] = {}

    def of(self, aggregation: Aggregation) -> Floats:
        """Values of one feature, before its scale."""
        low, stop = self.low(aggregation), self.seen.stop
        weights = prefix_sums(self.events.weight)
        count = weights[stop] - weights[low]
        match aggregation.function:
            case "count":
                value = count.astype(np.float64)
            case "sum":
                value = self._sum(aggregation.columns[0], low).astype(np.float64)
            case "mean":
                value = self._sum(aggregation.columns[0], low) / np.maximum(count, 1)
            case "std":
                column = self.column(aggregation.columns[0])
                value = _deviations(column, self.events.weight, low, stop, count)
            case "min" | "max":
                value = self._extreme(aggregation, low)
            case "over_mean":
                return self._over_mean(aggregation, low, count)
            case _:
                return self._distance(aggregation, low)
        return np.where(count > 0, value, np.nan)

    def low(self, aggregation: Aggregation) -> Ints:
        """Where each moment's window begins, as it ends at the moment's `stop`."""
        window_s = aggregation.window_s or 0
        if window_s not in self._lows:
            hop_ms = hop_s(window_s) * 1000
            tail = (self.seen.ts_ms // hop_ms - window_s * 1000 // hop_ms) * hop_ms
            found = _first_at_or_after(self.events, self.seen, tail)
            self._lows[window_s] = np.clip(found, self.seen.start, self.seen.stop)
        return self._lows[window_s]

    def column(self, name: str) -> Ints:
        """One column of the events."""
        return np.ascontiguousarray(self.events.values[:, self.view.columns.index(name)])

    def newest(self, low: Ints) -> Ints:
        """Position of the newest event in each window that its row keeps; -1 without one."""
        newest = self.newest_event[self.seen.stop]
        return np.where(newest >= np.maximum(low, self.seen.stop - self.view.recent), newest, -1)

    def _sum(self, name: str, low: Ints) -> Ints:
        if name not in self._totals:
            self._totals[name] = prefix_sums(self.column(name))
        summed: Ints = self._totals[name][self.seen.stop] - self._totals[name][low]
        return summed

    def _extreme(self, aggregation: Aggregation, low: Ints) -> Floats:
        least = aggregation.function == "min"
        nothing = np.iinfo(np.int64).max if least else np.iinfo(np.int64).min
        values = np.where(self.events.weight > 0, self.column(aggregation.columns[0]), nothing)
        out = np.full(len(low), nothing)
        some = self.seen.stop > low
        if some.any():
            pairs = np.stack([low[some], self.seen.stop[some]], axis=1).ravel()
            reduce = np.minimum if least else np.maximum
            out[some] = reduce.reduceat(np.append(values, nothing), pairs)[::2]
        return out.astype(np.float64)

    def _over_mean(self, aggregation: Aggregation, low: Ints, count: Ints) -> Floats:
        newest = self.newest(low)
        if not len(self.events.ts_ms):
            return np.full(len(low), np.nan)
        value = self.column(aggregation.columns[0])[newest]
        total = self._sum(aggregation.columns[0], low) - value
        defined = (newest >= 0) & (count > 1) & (total > 0)
        return np.where(defined, value * (count - 1) / np.where(defined, total, 1), np.nan)

    def _distance(self, aggregation: Aggregation, low: Ints) -> Floats:
        newest = self.newest(low)
        if not len(self.events.ts_ms):
            return np.full(len(low), np.nan)
        here = [self.column(name)[newest] for name in aggregation.columns]
        before = [self._sum(name, low) - own for name, own in zip(aggregation.columns, here, strict=True)]
        defined = (newest >= 0) & (here[2] > 0) & (before[2] > 0)
        places = np.where(defined, before[2], 1)
        distance = great_circle_km(
            here[0] / 1e6, here[1] / 1e6, before[0] / places / 1e6, before[1] / places / 1e6
        )
        return np.where(defined, distance, np.nan)


def great_circle_km(latitude: Floats, longitude: Floats, to_latitude: Floats, to_longitude: Floats) -> Floats:
    """Distances in kilometres on a sphere of the Earth's mean radius; degrees."""
    phi, to_phi = np.radians(latitude), np.radians(to_latitude)
    along = np.radians(to_longitude - longitude)
    haversine = np.sin((to_phi - phi) / 2) ** 2 + np.cos(phi) * np.cos(to_phi) * np.sin(along / 2) ** 2
    distance: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(haversine, 1.0)))
    return distance


def _first_at_or_after(events: History, seen: Seen, ts_ms: Ints) -> Ints:
    """Position of an entity's first event at or after a time, its events so far being in order.

    The running maximum keeps the search sound where an entity goes back in time later on.
    """
    if not len(events.ts_ms):
        return np.zeros(len(ts_ms), dtype=np.int64)
    origin = min(int(events.ts_ms.min()), int(ts_ms.min(initial=0)))
    span = max(int(events.ts_ms.max()), int(ts_ms.max(initial=0))) - origin + 1
    if (int(events.entity.max()) + 1) * span >= 2**62:
        raise ValueError("too many entities over too long a time for one join: split the entities")
    keys = np.maximum.accumulate(events.entity * span + (events.ts_ms - origin))
    found: Ints = np.searchsorted(keys, seen.entity * span + (ts_ms - origin), side="left")
    return found


@numba.njit(cache=True, nogil=True)
def _deviations(column: Ints, weight: Ints, low: Ints, stop: Ints, count: Ints) -> Floats:
    """Population standard deviation of each range, corrections left out, in two passes."""
    out = np.full(len(low), np.nan)
    for i in range(len(low)):
        if count[i] <= 0:
            continue
        total = 0
        for j in range(low[i], stop[i]):
            total += column[j] if weight[j] > 0 else 0
        centre = total // count[i]  # whole numbers, so that nothing is lost of values far from 0
        off, spread = (total - centre * count[i]) / count[i], 0.0
        for j in range(low[i], stop[i]):
            if weight[j] > 0:
                spread += (column[j] - centre - off) ** 2
        out[i] = np.sqrt(spread / count[i])
    return out
