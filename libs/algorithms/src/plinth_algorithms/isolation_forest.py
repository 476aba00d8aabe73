"""Isolation forest: rows that random cuts separate early are anomalies.

    tree         a column and a threshold between its least and greatest value, both uniform, until a row is
                 alone, all rows are equal, or the depth is ceil(log2(subsample))
    h(x)         depth of x's leaf + c(rows in that leaf)
    c(n)         2 H(n-1) - 2 (n-1) / n,  H(i) = 1 + 1/2 + ... + 1/i: mean depth of an unsuccessful search in
                 a binary search tree of n rows; c(1) = 0
    score(x)     2 ** (-mean h(x) / c(subsample)): towards 1 for anomalies, below 0.5 for ordinary rows

A forest is an additive ensemble whose leaves hold h / trees, so it is served like one.

Source: Liu, Ting, Zhou (2008) "Isolation Forest", ICDM, pp. 413-422 (algorithms 1-3, equations 1 and 2; c(n)
with the exact harmonic number instead of its logarithm).
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from plinth_algorithms.trees import LEAF, Floats, Ints, Trees, predict

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class IsolationForest:
    """Trees whose leaf values sum to the mean path length; path_length of an average row: c(subsample)."""

    trees: Trees
    average_path: float


def average_path_length(n: ArrayLike) -> Floats:
    """c(n) for each n >= 1."""
    counts = np.asarray(n, dtype=np.int64)
    if counts.size and counts.min() < 1:
        raise ValueError(f"n must be at least 1, got {counts.min()}")
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, max(int(counts.max(initial=1)), 2)))])
    return np.asarray(2 * harmonic[counts - 1] - 2 * (counts - 1) / counts, dtype=np.float64)


def fit(
    X: NDArray[np.floating], *, trees: int = 100, subsample: int = 256, rng: np.random.Generator
) -> IsolationForest:
    """A forest over rows X (n, features), compared in float32; each tree sees min(subsample, n) of them.

    Raises ValueError on fewer than two rows, values that are not finite and impossible sizes.
    """
    rows = np.ascontiguousarray(X, dtype=np.float32)
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise ValueError(f"X must be 2-D, finite, with at least two rows, got shape {rows.shape}")
    if trees < 1 or subsample < 2:
        raise ValueError(f"trees must be at least 1 and subsample 2, got {trees} and {subsample}")
    size = min(subsample, len(rows))
    limit = int(np.ceil(np.log2(size)))
    grown = []
    for _ in range(trees):
        sample = rng.choice(len(rows), size=size, replace=False)
        grown.append(_grow(rows, sample, limit, int(rng.integers(2**32))))
    return IsolationForest(_join(grown), float(average_path_length(size)))


def path_lengths(forest: IsolationForest, X: NDArray[np.floating]) -> Floats:
    """Mean h(x) over the trees, for each row."""
    return predict(forest.trees, X)


def scores(forest: IsolationForest, X: NDArray[np.floating]) -> Floats:
    """Anomaly score in (0, 1] of each row, higher meaning more unusual."""
    return np.asarray(2 ** (-path_lengths(forest, X) / forest.average_path), dtype=np.float64)


Grown = tuple[Ints, Rows, Ints, Ints, Ints, Ints]  # feature, threshold, left, right, rows, depth


@numba.njit(cache=True)
def _grow(rows: Rows, sample: Ints, limit: int, seed: int) -> Grown:
    """One tree over the rows of a sample; the seed is that of numba's own generator."""
    np.random.seed(seed)
    capacity = 2 * len(sample) - 1
    feature, left, right = np.full(capacity, LEAF), np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    threshold = np.zeros(capacity, dtype=np.float32)
    depth, begin, end = (
        np.zeros(capacity, np.int64),
        np.zeros(capacity, np.int64),
        np.zeros(capacity, np.int64),
    )
    order = sample.copy()
    columns = np.arange(rows.shape[1])
    end[0] = len(sample)
    nodes = 1
    node = 0
    while node < nodes:
        members = order[begin[node] : end[node]]
        if len(members) > 1 and depth[node] < limit:
            np.random.shuffle(columns)
            for column in columns:
                low, high = rows[members[0], column], rows[members[0], column]
                for member in members:
                    low, high = min(low, rows[member, column]), max(high, rows[member, column])
                cut = np.float32(low + (high - low) * (1 - np.random.random()))  # in (low, high]
                if not low < cut <= high:
                    continue
                middle = begin[node]
                for at in range(begin[node], end[node]):
                    if rows[order[at], column] < cut:
                        order[at], order[middle] = order[middle], order[at]
                        middle += 1
                feature[node], threshold[node] = column, cut
                left[node], right[node] = nodes, nodes + 1
                begin[nodes], end[nodes], begin[nodes + 1], end[nodes + 1] = (
                    begin[node],
                    middle,
                    middle,
                    end[node],
                )
                depth[nodes] = depth[nodes + 1] = depth[node] + 1
                nodes += 2
                break
        node += 1
    count = end - begin
    return feature[:nodes], threshold[:nodes], left[:nodes], right[:nodes], count[:nodes], depth[:nodes]


def _join(grown: list[Grown]) -> Trees:
    """Trees with h / trees at the leaves and the rows of the sample as cover."""
    feature, threshold, left, right, count, depth = (
        np.concatenate(part) for part in zip(*grown, strict=True)
    )
    sizes = np.array([len(tree[0]) for tree in grown])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    shift = np.repeat(roots, sizes)
    inner = feature != LEAF
    return Trees(
        roots=roots,
        feature=feature,
        threshold=threshold,
        left=np.where(inner, left + shift, 0),
        right=np.where(inner, right + shift, 0),
        value=np.where(inner, 0.0, (depth + average_path_length(count)) / len(grown)),
        cover=count.astype(np.float64),
    )
