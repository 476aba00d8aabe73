"""One feature of one entity at one moment, straight from the definition of a window; for late events."""

from __future__ import annotations

import math
from statistics import median, pstdev

import numpy as np

from plinth_features.offline.windows import great_circle_km
from plinth_features.spec import Aggregation, View, hop_s
from plinth_features.words import Ints


def value(
    view: View, aggregation: Aggregation, ts_ms: Ints, weight: Ints, values: Ints, now_ms: int
) -> float:
    """A windowed feature from the known events of an entity in order of arrival, before its scale.

    NaN where the function is not defined.
    """
    hop_ms = hop_s(aggregation.window_s or 0) * 1000
    tile, now = ts_ms // hop_ms, now_ms // hop_ms
    settled = np.arange(len(ts_ms)) < len(ts_ms) - view.recent
    head = max(now, int(tile[settled].max(initial=now)))
    chosen = (tile >= head - (aggregation.window_s or 0) * 1000 // hop_ms) & (tile <= now)
    chosen &= settled | (ts_ms <= now_ms)
    columns = [values[chosen, view.columns.index(name)] for name in aggregation.columns]
    kept = np.flatnonzero((~settled & (weight > 0))[chosen])
    count = int(weight[chosen].sum())
    if aggregation.function in ("median", "over_median", "count_high", "share_high"):
        return _of_kept(aggregation, columns[0][kept].tolist())
    if aggregation.function in ("over_mean", "distance_km"):
        return _of_newest(aggregation, [column.tolist() for column in columns], kept.tolist(), count)
    if count <= 0:
        return math.nan
    if aggregation.function == "count":
        return float(count)
    if aggregation.function in ("sum", "mean"):
        total = int(columns[0].sum())
        return float(total) if aggregation.function == "sum" else total / count
    events = columns[0][weight[chosen] > 0].tolist()
    if aggregation.function == "std":
        return float(pstdev(events))
    return float(min(events) if aggregation.function == "min" else max(events))


def _of_kept(aggregation: Aggregation, kept: list[int]) -> float:
    if not kept:
        return math.nan
    if aggregation.function in ("count_high", "share_high"):
        middle = median(kept)
        high = sum(middle > 0 and value >= aggregation.factor * middle for value in kept)
        return float(high) if aggregation.function == "count_high" else high / len(kept)
    if len(kept) == 1:
        return math.nan
    middle = median(kept[:-1])
    if aggregation.function == "median":
        return float(middle)
    return kept[-1] / middle if middle > 0 else math.nan


def _of_newest(aggregation: Aggregation, columns: list[list[int]], kept: list[int], count: int) -> float:
    if not kept:
        return math.nan
    newest = [column[kept[-1]] for column in columns]
    before = [sum(column) - own for column, own in zip(columns, newest, strict=True)]
    if aggregation.function == "over_mean":
        return newest[0] * (count - 1) / before[0] if count > 1 and before[0] > 0 else math.nan
    if newest[2] <= 0 or before[2] <= 0:
        return math.nan
    places = np.array([[newest[0], newest[1], before[0] / before[2], before[1] / before[2]]]) / 1e6
    return float(great_circle_km(*places.T)[0])
