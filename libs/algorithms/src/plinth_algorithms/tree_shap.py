"""Contributions of the features to the output of a tree ensemble: path-dependent TreeSHAP, exactly.

A tree whose features outside a set S are averaged out by the training weight (cover) of the branches has

    v(S) = sum over leaves of  value prod_{j in S} o_j prod_{j not in S} z_j

where, over the features j on the way to the leaf, o_j is 1 if x passes all tests on j and else 0, and z_j is
the product of the shares of cover that pass them. The Shapley value of this game is an integral over the
probability t with which a feature is known (Owen 1972, multilinear extension):

    phi_i = sum over leaves of  value (o_i - z_i) int_0^1 prod_{j != i} (t o_j + (1 - t) z_j) dt

The integrand is a polynomial, so Gauss-Legendre quadrature with ceil(features on the way / 2) points is
exact. At each point it is the product over all j divided by the factor of i, which is never 0 inside (0, 1):
so one row costs O(leaves x depth x points), and what does not depend on x is tabulated beforehand.
Contributions sum to f(x) - expected value.

Sources: Lundberg, Erion, Lee (2018) "Consistent Individualized Feature Attribution for Tree Ensembles",
arXiv:1802.03888 (the game, called tree_path_dependent in package shap); Owen (1972) "Multilinear Extensions
of Games", Management Science 18(5), pp. 64-79.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from plinth_algorithms.trees import LEAF, Floats, Ints, Trees, as_rows


@dataclass(frozen=True)
class Paths:
    """The ways to all leaves, made once by `paths`; one entry a (leaf, feature on its way) unless said.

    stop: [leaves] end of each leaf's entries; feature; low, high: x passes when low <= x < high; start:
    [leaves, points] value times weight of the quadrature; factor: [entries, 2, points] t o + (1 - t) z for
    o = 0 and 1; share: the same shape, (o - z) / factor; expected_value: mean output over the training
    weight; n_features: least number of columns of a row.
    """

    stop: Ints
    feature: Ints
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    start: Floats
    factor: Floats
    share: Floats
    expected_value: float
    n_features: int


def paths(trees: Trees) -> Paths:
    """What `contributions` needs of an ensemble; ValueError if a node has no cover."""
    if not (trees.cover > 0).all():
        raise ValueError("every node needs a positive cover")
    stop: list[int] = []
    value: list[float] = []
    entries: list[tuple[int, float, float, float]] = []
    expected = trees.base
    longest = 1
    for root in trees.roots.tolist():
        waiting: list[tuple[int, dict[int, tuple[float, float, float]]]] = [(root, {})]
        while waiting:
            node, way = waiting.pop()
            feature = int(trees.feature[node])
            if feature == LEAF:
                entries += [(f, *bounds) for f, bounds in way.items()]
                stop.append(len(entries))
                value.append(float(trees.value[node]))
                expected += value[-1] * float(np.prod([zero for _, _, zero in way.values()]))
                longest = max(longest, len(way))
                continue
            low, high, zero = way.get(feature, (-np.inf, np.inf, 1.0))
            cut = float(trees.threshold[node])
            left, right = int(trees.left[node]), int(trees.right[node])
            share = trees.cover[[left, right]] / trees.cover[node]
            waiting.append((right, {**way, feature: (max(low, cut), high, zero * float(share[1]))}))
            waiting.append((left, {**way, feature: (low, min(high, cut), zero * float(share[0]))}))
    feature_of, lows, highs, zeros = zip(*entries, strict=True) if entries else ((), (), (), ())
    points, weights = np.polynomial.legendre.leggauss((longest + 1) // 2)
    t, z = (points + 1) / 2, np.array(zeros)[:, None]
    factor = np.stack([(1 - t) * z, t + (1 - t) * z], axis=1)
    return Paths(
        stop=np.array(stop, dtype=np.int64),
        feature=np.array(feature_of, dtype=np.int64),
        low=np.array(lows, dtype=np.float32),
        high=np.array(highs, dtype=np.float32),
        start=np.outer(value, weights / 2),
        factor=factor,
        share=np.stack([np.broadcast_to(-1 / (1 - t), (len(z), len(t))), (1 - z) / factor[:, 1]], axis=1),
        expected_value=expected,
        n_features=int(trees.feature.max()) + 1,
    )


def contributions(explained: Paths, X: NDArray[np.floating]) -> Floats:
    """SHAP values [n, features] of rows X [n, features]; each row sums to f(x) - expected_value.

    Raises ValueError if X has fewer columns than the trees test.
    """
    rows = as_rows(X, explained.n_features)
    return _contributions(
        explained.stop,
        explained.feature,
        explained.low,
        explained.high,
        explained.start,
        explained.factor,
        explained.share,
        rows,
    )


@numba.njit(cache=True)
def _contributions(
    stop: Ints,
    feature: Ints,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    start: Floats,
    factor: Floats,
    share: Floats,
    rows: NDArray[np.float32],
) -> Floats:
    phi = np.zeros(rows.shape)
    passed = np.empty(rows.shape[1], dtype=np.int64)
    product = np.empty(start.shape[1])
    for i in range(len(rows)):
        begin = 0
        for leaf in range(len(stop)):
            for point in range(len(product)):
                product[point] = start[leaf, point]
            for entry in range(begin, stop[leaf]):
                x, limit = rows[i, feature[entry]], high[entry]
                o = np.int64((not x < low[entry]) & ((x < limit) | (limit == np.inf)))
                passed[entry - begin] = o
                for point in range(len(product)):
                    product[point] *= factor[entry, o, point]
            for entry in range(begin, stop[leaf]):
                o, added = passed[entry - begin], 0.0
                for point in range(len(product)):
                    added += product[point] * share[entry, o, point]
                phi[i, feature[entry]] += added
            begin = stop[leaf]
    return phi
