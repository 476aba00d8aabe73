"""What earns a place, and what resampling does to the training rows of a fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plinth_pipelines.fraud import selection
from plinth_pipelines.fraud.members import BoostedParams
from plinth_pipelines.fraud.protocol import Evaluation, Split
from plinth_pipelines.fraud.selection import Candidate, Comparison, Search, Table

DAYS = 20


def table(seed: int = 0) -> Table:
    draws = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), 300)
    y = (draws.random(len(day)) < 0.05).astype(np.int64)
    X = (draws.normal(size=(len(day), 4)) + y[:, None] * [2, 1, 0, 0]).astype(np.float32)
    return Table(X, y, np.where(y == 1, 1.0, 4.0), draws.integers(200, size=len(day)), day)


def fold(rows: Table, first_test_day: int) -> Split:
    return Split(
        rows.day < first_test_day - 3, (rows.day >= first_test_day) & (rows.day < first_test_day + 4)
    )


def comparison(name: str, precision: float) -> Comparison:
    evaluation = Evaluation(1, 1, 0.5, precision, 0.1, 0.5, 0.5, 0.5)
    return Comparison(name, 0, evaluation)


@pytest.mark.parametrize(
    ("gain", "served"), [(0.0019, ("xgboost",)), (0.0021, ("xgboost", "logistic_regression"))]
)
def test_a_member_must_gain_to_be_served(gain: float, served: tuple[str, ...]) -> None:
    stacks = [
        comparison("stack: xgboost", 0.5),
        comparison("stack: xgboost", 0.7),
        comparison("stack: xgboost + logistic_regression", 0.5 + 2 * gain),
        comparison("stack: xgboost + logistic_regression", 0.7),
        comparison("stack: xgboost + isolation_forest", 0.59),
    ]
    assert selection.earned(stacks) == served


def test_the_best_candidate_of_the_walk_is_taken() -> None:
    rows = table()
    few = BoostedParams(n_estimators=1, max_depth=1)
    many = BoostedParams(n_estimators=30, learning_rate=0.2)
    search = Search(2, (Candidate("few", few), Candidate("many", many)), compare_members=True)
    shares: list[float] = []
    found = selection.select(rows, [fold(rows, 10), fold(rows, 14)], search, 0, shares.append)
    assert found.candidate.name == "many"
    assert {c.test_start for c in found.comparisons} == {10, 14}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    judged = np.concatenate([np.flatnonzero(f.test) for f in (fold(rows, 10), fold(rows, 14))])
    np.testing.assert_array_equal(found.y, rows.y[judged])
    assert len(found.scores) == len(judged)
    assert abs(found.scores.mean() - found.y.mean()) < 0.01


def test_another_seed_gives_other_trees_and_the_same_seed_the_same() -> None:
    rows = table()
    every = np.ones(len(rows.y), dtype=bool)
    first, again, other = (
        selection.fit_lead(rows, every, Candidate("only", BoostedParams(n_estimators=5)), seed).raw(rows.X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_single_candidate_is_taken_as_it_is() -> None:
    rows = table()
    search = Search(1, (Candidate("only", BoostedParams(n_estimators=5)),), compare_members=False)
    found = selection.select(rows, [fold(rows, 12)], search, 0, lambda _: None)
    assert (found.candidate.name, found.served) == ("only", ("xgboost",))
    assert [c.name for c in found.comparisons] == ["only"]


@pytest.mark.parametrize("kind", ["none", "oversample", "smote", "noise"])
def test_resampling_adds_frauds_to_the_training_rows_alone(kind: selection.Resampling) -> None:
    rows = table()
    train = fold(rows, 12).train
    X, y, weight = selection.resample(rows, train, kind, np.random.default_rng(0))
    n = int(train.sum())
    np.testing.assert_array_equal(X[:n], rows.X[train])
    np.testing.assert_array_equal(weight[:n], rows.weight[train])
    frauds = int(rows.y[train].sum())
    genuine = n - frauds
    added = {"none": 0, "noise": frauds}.get(kind, round(0.3 * genuine) - frauds)
    assert (len(X), len(y), len(weight)) == (n + added,) * 3
    assert y[n:].all()
    assert (weight[n:] == 1).all()


def test_training_rows_need_both_classes() -> None:
    rows = table()
    honest = replace(rows, y=np.zeros_like(rows.y))
    with pytest.raises(ValueError, match="training days need"):
        selection.resample(honest, fold(rows, 12).train, "none", np.random.default_rng(0))
