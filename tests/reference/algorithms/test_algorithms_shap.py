"""Contributions against all coalitions by brute force, package shap and XGBoost's own."""

import json
import warnings
from collections.abc import Callable
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from plinth_algorithms.kernel_shap import kernel_shap
from plinth_algorithms.tree_shap import contributions, paths
from plinth_algorithms.trees import LEAF, Trees, predict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # matplotlib warns of how shap makes its colours
    import shap

Floats = NDArray[np.float64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shapley(value: Callable[[frozenset[int]], float], m: int) -> Floats:
    """Shapley values of a game of m players, from their definition."""
    phi = np.zeros(m)
    for i in range(m):
        others = [j for j in range(m) if j != i]
        for size in range(m):
            weight = factorial(size) * factorial(m - size - 1) / factorial(m)
            for chosen in combinations(others, size):
                phi[i] += weight * (value(frozenset((*chosen, i))) - value(frozenset(chosen)))
    return phi


def masked_output(trees: Trees, x: Floats, known: frozenset[int]) -> float:
    """Output of an ensemble that asks only for known features and averages over cover elsewhere."""

    def below(node: int) -> float:
        feature = int(trees.feature[node])
        if feature == LEAF:
            return float(trees.value[node])
        left, right = int(trees.left[node]), int(trees.right[node])
        if feature in known:
            return below(left if np.float32(x[feature]) < trees.threshold[node] else right)
        return float(
            (trees.cover[left] * below(left) + trees.cover[right] * below(right)) / trees.cover[node]
        )

    return trees.base + sum(below(int(root)) for root in trees.roots)


def random_trees(draws: np.random.Generator, *, trees: int, depth: int, features: int) -> Trees:
    """Complete trees that test the same few features again and again."""
    size = 2 ** (depth + 1) - 1
    inner = np.tile(np.arange(size) < size // 2, trees)
    child = np.tile(np.arange(size), trees)
    shift = np.repeat(np.arange(trees) * size, size)
    cover = np.ones(trees * size)
    left, right = np.where(inner, shift + 2 * child + 1, 0), np.where(inner, shift + 2 * child + 2, 0)
    for node in range(trees * size):
        if inner[node]:
            share = draws.uniform(0.05, 0.95)
            cover[left[node]], cover[right[node]] = cover[node] * share, cover[node] * (1 - share)
    return Trees(
        roots=np.arange(trees) * size,
        feature=np.where(inner, draws.integers(features, size=trees * size), LEAF),
        threshold=draws.normal(size=trees * size).astype(np.float32),
        left=left,
        right=right,
        value=np.where(inner, 0.0, draws.normal(size=trees * size)),
        cover=cover,
        base=0.7,
    )


@pytest.mark.parametrize(("depth", "features"), [(0, 1), (1, 2), (2, 2), (4, 3), (5, 6), (6, 8)])
def test_tree_shap_equals_all_coalitions(depth: int, features: int) -> None:
    draws = rng(depth)
    trees = random_trees(draws, trees=3, depth=depth, features=features)
    explained = paths(trees)
    assert explained.expected_value == pytest.approx(masked_output(trees, np.zeros(8), frozenset()))
    X = draws.normal(size=(5, features + 1))
    found = contributions(explained, X)
    for x, phi in zip(X, found, strict=True):
        expected = shapley(lambda known, x=x: masked_output(trees, x, known), features)  # type: ignore[misc]
        np.testing.assert_allclose(phi[:-1], expected, atol=1e-12)
    assert (found[:, -1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1) + explained.expected_value, predict(trees, X))


def test_values_at_and_beyond_the_thresholds() -> None:
    trees = Trees(
        roots=np.array([0]),
        feature=np.array([0, LEAF, LEAF]),
        threshold=np.array([1.5, 0, 0], dtype=np.float32),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        value=np.array([0.0, 10.0, 20.0]),
        cover=np.array([4.0, 1.0, 3.0]),
    )
    X = np.array([[1.4999999], [1.5], [np.inf], [-np.inf], [np.nan]])
    np.testing.assert_array_equal(predict(trees, X), [10, 20, 20, 10, 20])
    np.testing.assert_allclose(contributions(paths(trees), X)[:, 0] + 17.5, predict(trees, X))


def boosted() -> tuple[Any, Trees, NDArray[np.float32]]:
    draws = rng(1)
    X = draws.normal(size=(3000, 12)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] + X[:, 2] + draws.normal(size=3000) > 1).astype(int)
    model = xgboost.XGBClassifier(n_estimators=40, max_depth=5, base_score=0.5, n_jobs=1).fit(X, y)
    saved = json.loads(bytes(model.get_booster().save_raw("json")))
    parts = saved["learner"]["gradient_booster"]["model"]["trees"]
    sizes = [len(part["left_children"]) for part in parts]
    shift = np.repeat(np.r_[0, np.cumsum(sizes)[:-1]], sizes)
    names = ("left_children", "right_children", "split_indices", "split_conditions", "sum_hessian")
    column = {name: np.concatenate([part[name] for part in parts]) for name in names}
    leaf = column["left_children"] < 0
    trees = Trees(
        roots=np.r_[0, np.cumsum(sizes)[:-1]],
        feature=np.where(leaf, LEAF, column["split_indices"]).astype(np.int64),
        threshold=column["split_conditions"].astype(np.float32),
        left=np.where(leaf, 0, column["left_children"] + shift).astype(np.int64),
        right=np.where(leaf, 0, column["right_children"] + shift).astype(np.int64),
        value=np.where(leaf, column["split_conditions"], 0.0),
        cover=column["sum_hessian"].astype(np.float64),
    )
    return model, trees, X


def test_tree_shap_equals_package_shap_and_xgboost() -> None:
    model, trees, X = boosted()
    explained = paths(trees)
    found = contributions(explained, X[:200])
    np.testing.assert_allclose(found, shap.TreeExplainer(model).shap_values(X[:200]), atol=1e-5)
    own = model.get_booster().predict(xgboost.DMatrix(X[:200]), pred_contribs=True)
    np.testing.assert_allclose(found, own[:, :-1], atol=1e-5)
    np.testing.assert_allclose(explained.expected_value, own[0, -1], atol=1e-5)
    np.testing.assert_allclose(
        found.sum(axis=1) + explained.expected_value, model.predict(X[:200], output_margin=True), atol=1e-5
    )


def test_ensembles_that_cannot_be_are_refused() -> None:
    trees = random_trees(rng(), trees=1, depth=1, features=1)
    bare = Trees(**{**vars(trees), "cover": np.zeros(3)})
    with pytest.raises(ValueError, match="positive cover"):
        paths(bare)
    with pytest.raises(ValueError, match="at least 1 columns"):
        contributions(paths(trees), np.empty((1, 0)))
    with pytest.raises(ValueError, match="the root of a tree or the child of one"):
        Trees(**{**vars(trees), "right": trees.left})
    with pytest.raises(ValueError, match="value has 2 entries for 3 nodes"):
        Trees(**{**vars(trees), "value": trees.value[:2]})


def curved(X: Floats) -> Floats:
    return np.asarray(X[:, 0] * X[:, 1] + np.sin(X[:, 2]) - X[:, 3] ** 2 * X[:, 0], dtype=np.float64)


def test_kernel_shap_with_all_coalitions_equals_brute_force() -> None:
    draws = rng(2)
    x, background = draws.normal(size=4), draws.normal(size=(20, 4))

    def value(known: frozenset[int]) -> float:
        rows = background.copy()
        rows[:, list(known)] = x[list(known)]
        return float(curved(rows).mean())

    found = kernel_shap(curved, x, background, rng=draws)
    np.testing.assert_allclose(found, shapley(value, 4), atol=1e-10)


def test_kernel_shap_from_a_sample_of_coalitions() -> None:
    """A linear function is known: w (x - mean); with interactions the sampled values come near the exact."""
    draws = rng(3)
    x, background, w = draws.normal(size=20), draws.normal(size=(30, 20)), draws.normal(size=20)
    found = kernel_shap(lambda X: X @ w, x, background, coalitions=200, rng=draws)
    np.testing.assert_allclose(found, w * (x - background.mean(axis=0)), atol=1e-8)
    x, background = draws.normal(size=12), draws.normal(size=(10, 12))
    exact = kernel_shap(curved, x, background, coalitions=5000, rng=draws)
    near = kernel_shap(curved, x, background, coalitions=1500, rng=draws)
    assert near.sum() == pytest.approx(exact.sum())
    np.testing.assert_allclose(near, exact, atol=0.1)


def test_kernel_shap_of_one_feature_is_all_there_is() -> None:
    found = kernel_shap(lambda X: X[:, 0] ** 2, np.array([3.0]), np.array([[0.0], [2.0]]), rng=rng())
    np.testing.assert_allclose(found, [9 - 2])


def test_kernel_shap_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        kernel_shap(curved, np.zeros(4), np.zeros((2, 3)), rng=rng())
    with pytest.raises(ValueError, match="30 coalitions are too few for 20 features"):
        kernel_shap(curved, np.zeros(20), np.zeros((2, 20)), coalitions=30, rng=rng())
