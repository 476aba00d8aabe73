"""Members, their combination and its graph, on rows whose answers the libraries work out too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression

from plinth_algorithms import onnx_trees, tree_shap
from plinth_algorithms import trees as tree_arrays
from plinth_algorithms.calibration import Logistic, sigmoid
from plinth_pipelines.fraud import members, onnx_model
from plinth_pipelines.fraud.ensemble import Calibration, Ensemble, calibrate
from plinth_pipelines.fraud.members import BoostedParams

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(4000, 6)) * [1, 100, 1e6, 1, 0.01, 1]).astype(np.float32)
Y = (X[:, 0] + X[:, 1] / 100 * X[:, 3] + RNG.normal(size=4000) > 3).astype(np.int64)
ONES = np.ones(len(Y))


@pytest.fixture(scope="module")
def fitted() -> tuple[Any, ...]:
    boosted = members.fit_boosted(BoostedParams(n_estimators=60, max_depth=5), X, Y, ONES)
    return boosted, members.fit_linear(X, Y, ONES), members.fit_isolation(X, np.random.default_rng(1))


def ensemble(chosen: tuple[Any, ...]) -> Ensemble:
    raw = {member.name: member.raw(X) for member in chosen}
    return Ensemble(chosen, calibrate(raw, tuple(raw), Y))


def test_trees_as_arrays_sum_to_the_margin_of_xgboost(fitted: tuple[Any, ...]) -> None:
    boosted = fitted[0]
    np.testing.assert_allclose(tree_arrays.predict(boosted.trees, X), boosted.raw(X), atol=1e-5)


def test_a_base_score_is_part_of_the_trees() -> None:
    params = BoostedParams(n_estimators=3, base_score=0.01)
    boosted = members.fit_boosted(params, X, Y, ONES)
    assert boosted.trees.base == pytest.approx(np.log(0.01 / 0.99))
    np.testing.assert_allclose(tree_arrays.predict(boosted.trees, X), boosted.raw(X), atol=1e-5)


def test_the_linear_member_is_the_regression_on_clipped_columns() -> None:
    weight = RNG.uniform(0.5, 2, len(Y))
    linear = members.fit_linear(X, Y, weight)
    Z = np.clip((X - X.mean(axis=0, dtype=float)) / X.std(axis=0, dtype=float), -5, 5)
    theirs = LogisticRegression(max_iter=1000).fit(Z, Y, sample_weight=weight)
    np.testing.assert_allclose(linear.raw(X), theirs.decision_function(Z), atol=1e-6)


def test_short_ways_are_suspicious(fitted: tuple[Any, ...]) -> None:
    isolated = fitted[2]
    far = np.abs(X).max(axis=0, keepdims=True)
    assert isolated.raw(far)[0] > np.quantile(isolated.raw(X), 0.99)


@pytest.mark.parametrize("chosen", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_the_graph_says_what_the_ensemble_says(fitted: tuple[Any, ...], chosen: tuple[int, ...]) -> None:
    whole = ensemble(tuple(fitted[i] for i in chosen))
    model = onnx_model.convert(whole, X.shape[1])
    found, probabilities = onnx_model.run(model, X)
    assert found.shape == (len(X), len(chosen))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, whole.member_scores(X), atol=1e-6)
    np.testing.assert_allclose(probabilities[:, 1], whole.scores(X), atol=1e-6)
    assert onnx_model.check(model, whole, X) <= onnx_model.TOLERANCE


def test_a_graph_that_differs_is_refused(fitted: tuple[Any, ...]) -> None:
    whole = ensemble(fitted[:1])
    model = onnx_model.convert(whole, X.shape[1])
    moved = Logistic(whole.calibration.combined.weights, whole.calibration.combined.bias + 1e-3)
    other = Ensemble(whole.members, Calibration(whole.calibration.members, moved))
    with pytest.raises(ValueError, match="ONNX differs"):
        onnx_model.check(model, other, X)


def test_the_combination_is_a_weighted_sum_of_raw_scores(fitted: tuple[Any, ...]) -> None:
    whole = ensemble(fitted)
    combined = whole.calibration.combined
    expected = sigmoid(
        sum(w * member.raw(X) for w, member in zip(combined.weights, fitted, strict=True)) + combined.bias
    )
    np.testing.assert_allclose(whole.scores(X), expected)


def test_contributions_from_the_file_sum_to_the_margin(fitted: tuple[Any, ...]) -> None:
    whole = ensemble(fitted)
    file = onnx_model.convert(whole, X.shape[1]).SerializeToString()
    trees = onnx_trees.read(onnx.load_from_string(file).graph, "xgboost")
    paths = tree_shap.paths(trees)
    shares = tree_shap.contributions(paths, X[:200])
    np.testing.assert_allclose(shares.sum(axis=1) + paths.expected_value, fitted[0].raw(X[:200]), atol=1e-5)
    own = tree_shap.contributions(tree_shap.paths(fitted[0].trees), X[:200])
    np.testing.assert_allclose(shares, own, atol=1e-6)
