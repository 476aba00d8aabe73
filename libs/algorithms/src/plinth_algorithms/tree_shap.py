"""Contributions of the features to the output of a tree ensemble: path-dependent TreeSHAP, exactly.

A tree whose features outside a set S are averaged out by the training weight (cover) of the branches has

    v(S) = sum over leaves of  value prod_{j in S} o_j prod_{j not in S} z_j

where, over the features j on the way to the leaf, o_j is 1 if x passes all tests on j and else 0, and z_j is
the product of the shares of cover that pass them. The Shapley value of this game is an integral over the
probability t with which a feature is known (Owen 1972, multilinear extension):

    phi_i = sum over leaves of  value (o_i - z_i) int_0^1 prod_{j != i} (t o_j + (1 - t) z_j) dt

The integrand is a polynomial, so Gauss-Legendre quadrature with ceil(features on the way / 2) points is
exact, and one row costs O(leaves x depth^2), with nothing subtracted but o_i - z_i. Contributions sum to
f(x) - expected value.

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

    stop: [leaves] end of each leaf's entries; value: [leaves]; feature; low, high: x passes when
    low <= x < high; zero: z_j; known, weights: [points] t and weight of the
    quadrature; expected_value: mean output over the training weight; n_features:
    least number of columns of a row.
    """

    stop: Ints
    value: Floats
    feature: Ints
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    zero: Floats
    known: Floats
    weights: Floats
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
    return Paths(
        stop=np.array(stop, dtype=np.int64),
        value=np.array(value),
        feature=np.array(feature_of, dtype=np.int64),
        low=np.array(lows, dtype=np.float32),
        high=np.array(highs, dtype=np.float32),
        zero=np.array(zeros),
        known=(points + 1) / 2,
        weights=weights / 2,
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
        explained.value,
        explained.feature,
        explained.low,
        explained.high,
        explained.zero,
        explained.known,
        explained.weights,
        rows,
    )


@numba.njit(cache=True)
def _contributions(
    stop: Ints,
    value: Floats,
    feature: Ints,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    zero: Floats,
    known: Floats,
    weights: Floats,
    rows: NDArray[np.float32],
) -> Floats:
    phi = np.zeros(rows.shape)
    passed = np.empty(rows.shape[1])
    before = np.empty(rows.shape[1])
    for i in range(len(rows)):
        begin = 0
        for leaf in range(len(stop)):
            n = stop[leaf] - begin
            for k in range(n):
                x = rows[i, feature[begin + k]]
                limit = high[begin + k]
                passed[k] = not x < low[begin + k] and (x < limit or limit == np.inf)
            for point in range(len(known)):
                t = known[point]
                product = value[leaf] * weights[point]
                for k in range(n):
                    before[k] = product
                    product *= passed[k] * t + zero[begin + k] * (1 - t)
                after = 1.0
                for k in range(n - 1, -1, -1):
                    share = zero[begin + k]
                    phi[i, feature[begin + k]] += (passed[k] - share) * before[k] * after
                    after *= passed[k] * t + share * (1 - t)
            begin = stop[leaf]
    return phi
