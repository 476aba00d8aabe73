"""The published figures of the Fraud Detection Handbook, and what the platform's own windows change.

Le Borgne, Siblini, Lebichot, Bontempi (2022), chapters 3, 5 and 7: training 2018-07-25 to 07-31, labels after
7 days, test 2018-08-08 to 08-14. The published windows are exact to the second; the platform's begin at whole
hours or days. So every model is fitted twice: on exact windows, worked out here, to reproduce the published
figures, and on the platform's features. Run with -s for the table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace as replace_views
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from plinth_features import spec
from plinth_pipelines.fraud import dataset, models, protocol
from plinth_pipelines.fraud.events import event_ms
from plinth_pipelines.fraud.protocol import PUBLISHED, Evaluation, Split
from plinth_pipelines.fraud.simulate import simulate

Floats = NDArray[np.float64]

FRAUD = spec.load(Path(__file__).parents[3] / "feature_repo/compiled/fraud.json")
HANDBOOK = replace_views(
    FRAUD,
    views=tuple(
        replace_views(v, columns=v.columns[:1], aggregations=v.aggregations[:6]) for v in FRAUD.views
    ),
)
"""The published 15 features, which come first within each view."""

DAY_MS = 86_400_000

TABLE = {
    "logistic regression": (0.871, 0.606, 0.291),
    "random forest": (0.867, 0.658, 0.287),
    "xgboost": (0.862, 0.639, 0.273),
}
"""Published AUC ROC, average precision and card precision@100."""

EXACT_TOLERANCE = 0.002
"""Rounding of the published figures and other versions of the libraries."""

PLATFORM_TOLERANCE = 0.01
"""Beside that, the tails of the windows: up to 0.007 was measured, mostly to the better."""

ISOLATION_FOREST = (0.808, 0.164, 0.190)
ISOLATION_FOREST_SEEDS = 20


class Experiment:
    """Rows of both lengths of training and of the test, with features of both kinds."""

    def __init__(self, table: pd.DataFrame) -> None:
        week = protocol.split(PUBLISHED, table)
        month = protocol.split(replace(PUBLISHED, train_days=28), table)
        used = month.train | month.test
        data = dataset.build(HANDBOOK, table, label_delay=timedelta(days=7), rows=used)
        self.y, self.frame = data.y, data.frame
        self.week, self.month = (Split(s.train[used], s.test[used]) for s in (week, month))
        self.X = {"platform": data.X, "exact": exact_windows(table, np.flatnonzero(used), data.X[:, :3])}

    def evaluate(self, model: Any, windows: str, rows: Split) -> Evaluation:
        X, test = self.X[windows], rows.test
        models.fit(model, X[rows.train], self.y[rows.train])
        scores = models.scores(model, X[test])
        cards = self.frame["customer_id"].to_numpy(np.int64)[test]
        return protocol.evaluate(scores, self.y[test], cards, protocol.days(self.frame["event_ts"][test]))


def exact_windows(table: pd.DataFrame, at: NDArray[np.int64], request: Floats) -> Floats:
    """The published 15 features: windows (t - w, t], for terminals (t - 7 d - w, t - 7 d]."""
    amounts, frauds = table["amount_minor"].to_numpy() / 100, table["is_fraud"].to_numpy(np.float64)
    customers = windows_of(table, "customer_id", amounts, at, delay_ms=0)
    return np.hstack([request, customers, windows_of(table, "terminal_id", frauds, at, delay_ms=7 * DAY_MS)])


def windows_of(
    table: pd.DataFrame, entity: str, values: Floats, at: NDArray[np.int64], *, delay_ms: int
) -> Floats:
    """Count and mean over 1, 7, 30 days; a transaction sees none of the same second after it."""
    ids, times = table[entity].to_numpy(np.int64), event_ms(table)
    order = np.argsort(ids, kind="stable")
    keys = ids[order] * 2**42 + times[order]
    total = np.append(0.0, np.cumsum(values[order]))
    place = np.empty(len(ids), dtype=np.int64)
    place[order] = np.arange(len(ids))
    end = ids[at] * 2**42 + times[at] - delay_ms
    stop = np.searchsorted(keys, end, side="right") if delay_ms else place[at] + 1
    columns = []
    for days in (1, 7, 30):
        start = np.searchsorted(keys, end - days * DAY_MS, side="right")
        count = stop - start
        columns += [count, (total[stop] - total[start]) / np.maximum(count, 1)]
    return np.stack(columns, axis=1).astype(np.float64)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return Experiment(simulate())


@pytest.fixture(scope="module")
def report() -> Iterator[Callable[[str, str, Evaluation], None]]:
    lines = [f"{'model':<22}{'windows':<10}{'AUC':>7}{'AP':>7}{'CP@100':>8}{'recall':>8}{'precision':>11}"]

    def add(name: str, windows: str, e: Evaluation) -> None:
        figures = f"{e.roc_auc:7.3f}{e.average_precision:7.3f}{e.card_precision_100:8.3f}"
        lines.append(f"{name:<22}{windows:<10}{figures}{e.recall:8.3f}{e.precision:11.3f}")

    yield add
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def figures(e: Evaluation) -> tuple[float, float, float]:
    return e.roc_auc, e.average_precision, e.card_precision_100


def test_published_rows(experiment: Experiment) -> None:
    train, test = experiment.week
    assert (train.sum(), experiment.y[train].sum()) == (67_240, 598)
    assert (test.sum(), experiment.y[test].sum()) == (58_264, 385)
    assert (experiment.month.test == test).all()


@pytest.mark.parametrize(
    ("windows", "tolerance"), [("exact", EXACT_TOLERANCE), ("platform", PLATFORM_TOLERANCE)]
)
@pytest.mark.parametrize("name", TABLE)
def test_published_models(
    experiment: Experiment, report: Any, name: str, windows: str, tolerance: float
) -> None:
    found = experiment.evaluate(models.PUBLISHED[name](), windows, experiment.week)
    report(name, windows, found)
    assert figures(found) == pytest.approx(TABLE[name], abs=tolerance)


def test_recall_of_logistic_regression(experiment: Experiment) -> None:
    """0.571 at a false positive rate of at most 0.1 % is its figure at the operating point."""
    found = experiment.evaluate(models.PUBLISHED["logistic regression"](), "exact", experiment.week)
    assert found.recall == pytest.approx(0.571, abs=EXACT_TOLERANCE)


@pytest.mark.parametrize("windows", ["exact", "platform"])
def test_isolation_forest_over_seeds(experiment: Experiment, report: Any, windows: str) -> None:
    """Ten trees of 256 rows are a lottery: the published figures lie within the spread over seeds.

    Average precisions range from 0.04 to 0.34 over 40 seeds, and seed 42 does not give the published figures
    here. So the mean over seeds is compared with them, to one standard deviation of a seed.
    """
    rows = experiment.week
    forests = (IsolationForest(n_estimators=10, random_state=seed) for seed in range(ISOLATION_FOREST_SEEDS))
    found = np.array([figures(experiment.evaluate(forest, windows, rows)) for forest in forests])
    published = experiment.evaluate(models.PUBLISHED["isolation forest"](), windows, rows)
    report("isolation forest, 42", windows, published)
    assert (np.abs(found.mean(axis=0) - ISOLATION_FOREST) < found.std(axis=0)).all()
    assert (np.abs(np.array(figures(published)) - ISOLATION_FOREST) < 3 * found.std(axis=0)).all()


@pytest.mark.parametrize(
    ("windows", "tolerance"), [("exact", EXACT_TOLERANCE), ("platform", PLATFORM_TOLERANCE)]
)
def test_candidate(experiment: Experiment, report: Any, windows: str, tolerance: float) -> None:
    """28 days of training: AP 0.713, recall 0.678, precision 0.842 with exact windows."""
    found = experiment.evaluate(models.PUBLISHED["xgboost, 28 days"](), windows, experiment.month)
    report("candidate, 28 days", windows, found)
    assert found.average_precision == pytest.approx(0.713, abs=tolerance)
    assert found.recall == pytest.approx(0.678, abs=tolerance)
    assert found.precision == pytest.approx(0.842, abs=0.01)
