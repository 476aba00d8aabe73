"""Calibration against scikit-learn, whose Platt scaling minimises the same loss with another optimiser."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from plinth_algorithms import calibration as ours
from plinth_algorithms.classification import expected_calibration_error


def sample(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    y = draws.random(n) < 0.05
    return draws.normal(size=n) + 2 * y, y


@pytest.mark.parametrize("seed", range(3))
def test_platt_equals_scikit_learn(seed: int) -> None:
    s, y = sample(seed)
    theirs = _SigmoidCalibration().fit(s, y)
    np.testing.assert_allclose(ours.platt(s, y)(s), theirs.predict(s), atol=1e-5)


def test_the_combiner_of_several_scores_is_the_best_there_is() -> None:
    draws = np.random.default_rng(4)
    y = draws.random(3000) < 0.1
    S = draws.normal(size=(3000, 3)) * [1, 100, 0.01] + np.outer(y, [1, 50, 0.0])
    found = ours.platt(S, y)
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(beta: np.ndarray) -> float:
        m = S / [1, 100, 0.01] @ beta[:3] + beta[3]
        return float(np.sum(np.logaddexp(0, m) - target * m))

    best = minimize(loss, np.zeros(4), tol=1e-12)
    np.testing.assert_allclose(found.weights * [1, 100, 0.01], best.x[:3], atol=1e-3)
    assert found.bias == pytest.approx(best.x[3], abs=1e-3)


def test_separable_scores_stay_finite_and_in_order() -> None:
    s, y = np.array([0.0, 1.0, 10.0, 11.0]), np.array([0, 0, 1, 1])
    p = ours.platt(s, y)(s)
    assert (np.diff(p) > 0).all()
    np.testing.assert_allclose(p[[0, -1]], [0.25, 0.75], atol=0.05)


def test_calibrated_scores_are_probabilities() -> None:
    (s, y), (later, truth) = sample(5, 40_000), sample(6, 40_000)
    for calibrated in (ours.platt(s, y), ours.isotonic(s, y)):
        assert expected_calibration_error(truth, calibrated(later)) < 0.005


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=1, max_size=40))
def test_isotonic_equals_scikit_learn(rows: list[tuple[int, int]]) -> None:
    s, y = np.array(rows).T
    theirs = IsotonicRegression(out_of_bounds="clip").fit(s, y)
    grid = np.linspace(-1, 9, 41)
    np.testing.assert_allclose(ours.isotonic(s, y)(grid), theirs.predict(grid), atol=1e-9)


def test_sigmoid_and_logit_are_inverse_and_safe() -> None:
    m = np.array([-800.0, -5.0, 0.0, 5.0, 800.0])
    p = ours.sigmoid(m)
    assert (p[0], p[2], p[-1]) == (0.0, 0.5, 1.0)
    np.testing.assert_allclose(ours.logit(p[1:4]), m[1:4])


def test_one_class_and_missing_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        ours.platt([0.1, 0.2], [0, 0])
    with pytest.raises(ValueError, match="NaN"):
        ours.platt([0.1, np.nan], [0, 1])
    with pytest.raises(ValueError, match="scores: 1, y: 2"):
        ours.platt([0.1], [0, 1])
