"""More rows of a rare class, fewer of a common one, noisy copies, products of columns.

    SMOTE            x_new = x + u (x_nn - x),  u ~ U(0, 1),  x_nn one of the k nearest rows of the same class
    oversampling     rows of the rare class drawn with replacement
    undersampling    rows of the common class drawn without replacement; kept rows stand for n / kept each
    noise            x + scale sd(x) e,  e ~ N(0, 1) independently for each value
    polynomial       products of `degree` columns with repetition, after the columns themselves

Resampling belongs into the training part of a fold, never before a split: a copy of a training row in the
test part is a known answer. Probabilities learnt from resampled rows are off by the factor of the odds,
unless the rows carry the weights that `undersample` returns.

Sources: Chawla et al. (2002) "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 16, pp. 321-357;
Elkan (2001) "The Foundations of Cost-Sensitive Learning", IJCAI, theorem 2 (effect on probabilities);
Bishop (1995) "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation 7(1).
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plinth_algorithms._checks import BoolArray, FloatArray, as_binary, check_k, check_same_length

Indices = NDArray[np.int64]

BLOCK = 1024
"""Rows whose distances are worked out at once."""


class Resampled(NamedTuple):
    """Rows, with their labels, the original ones first."""

    X: FloatArray
    y: Indices


class Kept(NamedTuple):
    """Rows to train on, ascending, and the weight of each that restores the shares of the classes."""

    rows: Indices
    weight: FloatArray


def smote(
    X: ArrayLike, y: ArrayLike, *, ratio: float = 1.0, k: int = 5, rng: np.random.Generator
) -> Resampled:
    """Add synthetic rows of class 1 until there are `ratio` times as many as of class 0.

    X (n, features), y 0/1 (n,). Each starts at a random row of class 1 and ends at a random point on the line
    to one of its k nearest (Euclidean) of that class: scale the columns first. Raises ValueError unless class
    1 has more than k rows, and if it would have to shrink.
    """
    check_k(k)
    rows, truth = _rows(X, y)
    rare = rows[truth]
    missing = _missing(truth, ratio)
    if len(rare) <= k:
        raise ValueError(f"k = {k} neighbours need more than {len(rare)} rows of class 1")
    neighbours = nearest(rare, k)
    start = rng.integers(len(rare), size=missing)
    end = neighbours[start, rng.integers(k, size=missing)]
    step = rng.random((missing, 1))
    return _append(rows, truth, rare[start] + step * (rare[end] - rare[start]))


def oversample(X: ArrayLike, y: ArrayLike, *, ratio: float = 1.0, rng: np.random.Generator) -> Resampled:
    """Add copies of random rows of class 1 until there are `ratio` times as many as of class 0.

    Raises ValueError without a row of class 1, and if the class would have to shrink.
    """
    rows, truth = _rows(X, y)
    rare = rows[truth]
    missing = _missing(truth, ratio)
    if not len(rare):
        raise ValueError("y has no row of class 1")
    return _append(rows, truth, rare[rng.integers(len(rare), size=missing)])


def undersample(y: ArrayLike, *, keep: float, rng: np.random.Generator) -> Kept:
    """Keep every row of class 1 and a random share `keep`, in (0, 1], of class 0, at least one row.

    Raises ValueError on a share outside (0, 1].
    """
    truth = as_binary(y, "y")
    if not 0 < keep <= 1:
        raise ValueError(f"keep must lie in (0, 1], got {keep}")
    common = np.flatnonzero(~truth)
    chosen = rng.choice(common, size=min(len(common), max(1, round(keep * len(common)))), replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(truth), chosen]))
    weight = np.where(truth[rows], 1.0, len(common) / max(len(chosen), 1))
    return Kept(rows.astype(np.int64), weight)


def add_noise(X: ArrayLike, *, scale: float, rng: np.random.Generator) -> FloatArray:
    """X (n, features) with Gaussian noise of `scale` standard deviations of each column."""
    rows = _matrix(X)
    if scale < 0:
        raise ValueError(f"scale must not be negative, got {scale}")
    noisy: FloatArray = rows + scale * rows.std(axis=0) * rng.standard_normal(rows.shape)
    return noisy


def polynomial_terms(n_features: int, degree: int) -> list[tuple[int, ...]]:
    """Columns multiplied in each column of `polynomial`, e.g. (0,), (1,), (0, 0), (0, 1), (1, 1)."""
    if n_features < 1 or degree < 1:
        raise ValueError(f"n_features and degree must be at least 1, got {n_features} and {degree}")
    orders = range(1, degree + 1)
    return [term for order in orders for term in combinations_with_replacement(range(n_features), order)]


def polynomial(X: ArrayLike, degree: int = 2) -> FloatArray:
    """All products of 1 to `degree` columns of X (n, features), in the order of `polynomial_terms`."""
    rows = _matrix(X)
    terms = polynomial_terms(rows.shape[1], degree)
    return np.stack([rows[:, list(term)].prod(axis=1) for term in terms], axis=1)


def nearest(X: ArrayLike, k: int) -> Indices:
    """The k nearest other rows (n, k) of each row, nearest first; of equally near ones the earlier."""
    check_k(k)
    rows = _matrix(X)
    if k >= len(rows):
        raise ValueError(f"k = {k} neighbours need more than {len(rows)} rows")
    squares = (rows**2).sum(axis=1)
    found = np.empty((len(rows), k), dtype=np.int64)
    for begin in range(0, len(rows), BLOCK):
        block = slice(begin, begin + BLOCK)
        distance = squares[block, None] - 2 * rows[block] @ rows.T + squares
        own = np.arange(len(distance))
        distance[own, begin + own] = np.inf
        found[block] = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return found


def _append(rows: FloatArray, truth: BoolArray, new: FloatArray) -> Resampled:
    labels = np.concatenate([truth.astype(np.int64), np.ones(len(new), dtype=np.int64)])
    return Resampled(np.concatenate([rows, new]), labels)


def _missing(truth: BoolArray, ratio: float) -> int:
    rare = int(truth.sum())
    wanted = round(ratio * (len(truth) - rare))
    if wanted < rare:
        raise ValueError(f"ratio {ratio} asks for {wanted} rows of class 1, there are {rare} already")
    return wanted - rare


def _rows(X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, BoolArray]:
    rows, truth = _matrix(X), as_binary(y, "y")
    check_same_length(X=rows, y=truth)
    return rows, truth


def _matrix(X: ArrayLike) -> FloatArray:
    rows = np.asarray(X, dtype=np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"X must be a non-empty 2-D array, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("X contains NaN or infinity")
    return rows
