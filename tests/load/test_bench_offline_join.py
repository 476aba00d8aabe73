"""The offline join: count and mean over 1, 7 and 30 days at every transaction, beside pandas' rolling."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from bench_report import REPO, Report
from bench_timing import median_ms
from numpy.typing import NDArray

from plinth_features import offline, spec
from plinth_features.offline import moment
from plinth_pipelines.fraud import events
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

WORLD = SimulationConfig(customers=1_000, terminals=2_000, days=60)
SPEC: Path = REPO / "feature_repo" / "compiled" / "fraud.json"
WINDOWS = ("1D", "7D", "30D")
SAMPLE = 300


def test_offline_join(report: Report) -> None:
    frame = simulate(WORLD)
    declared = spec.load(SPEC).view("customer_transactions")
    view = msgspec.structs.replace(
        declared, columns=("amount_minor",), aggregations=declared.aggregations[:6]
    )
    history, moments = _inputs(frame)

    ours = offline.join(view, history, moments)
    theirs = _rolling(frame)

    ours_s = median_ms(lambda: offline.join(view, history, moments), repeat=3, warm_up=0) / 1000
    their_s = median_ms(lambda: _rolling(frame), repeat=3, warm_up=0) / 1000
    report.rate("rows joined, 6 windows each", len(frame) / ours_s, "rows/s")
    report.rate("pandas rolling, the same windows", len(frame) / their_s, "rows/s")
    report.rate("pandas' time over ours", their_s / ours_s, "x")
    assert len(theirs) == len(frame)
    _assert_defined_values(view, history, moments, ours)


def _inputs(frame: pd.DataFrame) -> tuple[offline.History, offline.Moments]:
    customer = frame["customer_id"].to_numpy(np.int64)
    ts_ms = events.event_ms(frame)
    values = frame[["amount_minor"]].to_numpy(np.int64)
    history = offline.History(customer, ts_ms, np.ones(len(frame), dtype=np.int64), values)
    return history, offline.Moments(customer, ts_ms, np.arange(1, len(frame) + 1))


def _rolling(frame: pd.DataFrame) -> pd.DataFrame:
    """Windows that slide by the millisecond; those of the platform move their tail in hops."""
    grouped = frame.set_index("event_ts").groupby("customer_id")["amount_minor"]
    return pd.concat([grouped.rolling(window).agg(["count", "mean"]) for window in WINDOWS], axis=1)


def _assert_defined_values(
    view: spec.View, history: offline.History, moments: offline.Moments, joined: NDArray[np.float64]
) -> None:
    """A sample against the definition of a window, one moment at a time."""
    for i in np.random.default_rng(5).choice(len(joined), SAMPLE, replace=False):
        mine = np.flatnonzero(history.entity[: moments.known[i]] == moments.entity[i])
        expected = [
            moment.value(
                view,
                aggregation,
                history.ts_ms[mine],
                history.weight[mine],
                history.values[mine],
                int(moments.ts_ms[i]),
            )
            * aggregation.scale
            for aggregation in view.aggregations
        ]
        np.testing.assert_array_equal(joined[i], expected)
