"""Resampling against imbalanced-learn, scikit-learn and closed forms."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imblearn.over_sampling import SMOTE
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import PolynomialFeatures

from plinth_algorithms import resampling as ours


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table(rare: int, common: int, features: int = 3, seed: int = 1) -> tuple[Any, Any]:
    draws = rng(seed)
    y = draws.permutation(np.r_[np.ones(rare), np.zeros(common)]).astype(np.int64)
    return draws.normal(size=(rare + common, features)) + y[:, None], y


def test_neighbours_equal_scikit_learn_across_blocks() -> None:
    X = rng(2).normal(size=(ours.BLOCK + 300, 4))
    theirs = NearestNeighbors(n_neighbors=6).fit(X).kneighbors(X, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(ours.nearest(X, 5), theirs)


def test_smote_keeps_the_rows_and_reaches_the_ratio() -> None:
    X, y = table(40, 400)
    made = ours.smote(X, y, ratio=0.5, rng=rng())
    np.testing.assert_array_equal(made.X[: len(X)], X)
    np.testing.assert_array_equal(made.y[: len(X)], y)
    assert (made.y == 1).sum() == 200
    assert made.y[len(X) :].all()


def test_synthetic_rows_lie_between_neighbours_of_the_rare_class() -> None:
    X, y = table(30, 300)
    rare, k = X[y == 1], 4
    neighbours = ours.nearest(rare, k)
    starts = np.repeat(rare, k, axis=0)
    directions = rare[neighbours.ravel()] - starts
    for new in ours.smote(X, y, k=k, rng=rng(3)).X[len(X) : len(X) + 50]:
        along = ((new - starts) * directions).sum(axis=1) / (directions**2).sum(axis=1)
        gap = np.linalg.norm(starts + along[:, None] * directions - new, axis=1)
        assert ((gap < 1e-9) & (along >= 0) & (along <= 1)).any()


def test_smote_has_the_distribution_of_imbalanced_learn() -> None:
    X, y = table(25, 8000, features=2, seed=5)
    mine = ours.smote(X, y, k=5, rng=rng(6)).X[len(X) :]
    theirs = SMOTE(k_neighbors=5, random_state=7).fit_resample(X, y)[0][len(X) :]
    assert len(mine) == len(theirs)
    error = np.sqrt(2 / len(mine))
    np.testing.assert_allclose(mine.mean(axis=0), theirs.mean(axis=0), atol=5 * error * X[y == 1].std())
    np.testing.assert_allclose(np.cov(mine.T), np.cov(theirs.T), atol=0.06)


def test_oversampling_draws_rare_rows_evenly() -> None:
    X, y = table(4, 4000)
    made = ours.oversample(X, y, rng=rng(8))
    copies, count = np.unique(made.X[len(X) :], axis=0, return_counts=True)
    np.testing.assert_array_equal(copies, np.unique(X[y == 1], axis=0))
    assert (made.y == 1).sum() == 4000
    assert count.sum() == 3996
    assert np.abs(count - 999).max() < 5 * np.sqrt(999)


@given(rare=st.integers(0, 20), common=st.integers(1, 60), keep=st.floats(0.01, 1), seed=st.integers(0, 9))
def test_undersampling_keeps_the_weight_of_each_class(rare: int, common: int, keep: float, seed: int) -> None:
    _, y = table(rare, common)
    kept = ours.undersample(y, keep=keep, rng=rng(seed))
    assert (np.diff(kept.rows) > 0).all()
    assert set(np.flatnonzero(y)) <= set(kept.rows)
    assert (y[kept.rows] == 0).sum() == max(1, round(keep * common))
    totals = np.bincount(y[kept.rows], weights=kept.weight, minlength=2)
    np.testing.assert_allclose(totals, [common, rare])


def test_every_common_row_is_kept_equally_often() -> None:
    y = np.zeros(20)
    times = sum(
        np.bincount(ours.undersample(y, keep=0.25, rng=draws).rows, minlength=20) for draws in [rng(9)] * 4000
    )
    assert np.abs(times - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_noise_has_the_stated_scale_a_column() -> None:
    X = rng(10).normal(size=(20_000, 2)) * [1, 50]
    noise = ours.add_noise(X, scale=0.1, rng=rng(11)) - X
    np.testing.assert_allclose(noise.std(axis=0), 0.1 * X.std(axis=0), rtol=0.03)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.03
    np.testing.assert_array_equal(ours.add_noise(X, scale=0, rng=rng()), X)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_polynomial_equals_scikit_learn(degree: int) -> None:
    X = rng(12).normal(size=(10, 4))
    theirs = PolynomialFeatures(degree, include_bias=False).fit_transform(X)
    np.testing.assert_allclose(ours.polynomial(X, degree), theirs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: ours.smote(X, y, k=5, rng=rng()), "k = 5 neighbours need more than 3 rows"),
        (lambda X, y: ours.smote(X, y, k=1, ratio=0.1, rng=rng()), "asks for 1 rows of class 1, there are 3"),
        (lambda X, y: ours.smote(X, y[:-1], rng=rng()), "differ in length"),
        (lambda X, y: ours.smote(X * np.nan, y, rng=rng()), "X contains NaN"),
        (lambda X, y: ours.oversample(X, np.zeros(len(y)), rng=rng()), "no row of class 1"),
        (lambda X, y: ours.undersample(y, keep=0, rng=rng()), r"keep must lie in \(0, 1\]"),
        (lambda X, y: ours.add_noise(X, scale=-1, rng=rng()), "scale must not be negative"),
        (lambda X, y: ours.polynomial(X, 0), "degree must be at least 1"),
        (lambda X, y: ours.nearest(X, 13), "k = 13 neighbours need more than 13 rows"),
    ],
)
def test_impossible_requests_are_named(call: Any, message: str) -> None:
    X, y = table(3, 10)
    with pytest.raises(ValueError, match=message):
        call(X, y)
