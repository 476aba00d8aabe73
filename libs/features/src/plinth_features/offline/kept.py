"""Functions of the kept events in a window, for moments that see their events in order of time: sorting."""

from __future__ import annotations

import numpy as np

from plinth_features.offline.windows import Ranges
from plinth_features.spec import Aggregation
from plinth_features.words import Floats, Ints

FUNCTIONS = frozenset({"median", "over_median", "count_high", "share_high"})
CHUNK = 20_000
"""Moments sorted at once, few enough for the processor's cache."""

_NOTHING = np.iinfo(np.int64).max


def of(aggregation: Aggregation, ranges: Ranges) -> Floats:
    """Values of one feature, before its scale; NaN where it is not defined."""
    low, newest = ranges.low(aggregation), ranges.newest(ranges.low(aggregation))
    out = np.full(len(low), np.nan)
    if not len(ranges.events.ts_ms):
        return out
    low = np.maximum(low, ranges.seen.stop - ranges.view.recent)
    values = np.where(ranges.events.weight > 0, ranges.column(aggregation.columns[0]), _NOTHING)
    for first in range(0, len(low), CHUNK):
        part = slice(first, first + CHUNK)
        out[part] = _of_chunk(
            aggregation, values, low[part], newest[part], ranges.seen.stop[part], ranges.view.recent
        )
    return np.where(newest >= 0, out, np.nan)


def _of_chunk(
    aggregation: Aggregation, values: Ints, low: Ints, newest: Ints, stop: Ints, recent: int
) -> Floats:
    at = stop[:, None] - 1 - np.arange(recent)
    kept = np.where(at >= low[:, None], values[np.maximum(at, 0)], _NOTHING)
    if aggregation.function in ("count_high", "share_high"):
        ordered, n = _sorted(kept)
        median = _median(ordered, n)
        least = aggregation.factor * median[:, None]
        is_high = (ordered >= least) & (ordered != _NOTHING) & (median[:, None] > 0)
        high: Floats = is_high.sum(axis=1).astype(np.float64)
        return high if aggregation.function == "count_high" else high / np.maximum(n, 1)
    median = _median(*_sorted(np.where(at == newest[:, None], _NOTHING, kept)))
    if aggregation.function == "median":
        return median
    return np.where(median > 0, values[newest] / np.where(median > 0, median, 1), np.nan)


def _sorted(kept: Ints) -> tuple[Ints, Ints]:
    """Values of each moment, ascending, and how many they are; then comes nothing."""
    ordered = np.sort(kept, axis=1)
    return ordered, (ordered != _NOTHING).sum(axis=1)


def _median(ordered: Ints, n: Ints) -> Floats:
    rows, known = np.arange(len(n)), np.maximum(n, 1)
    below, above = ordered[rows, (known - 1) // 2], ordered[rows, known // 2]
    return np.where(n > 0, (np.where(n > 0, below, 0) + np.where(n > 0, above, 0)) / 2, np.nan)
