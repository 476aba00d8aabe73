"""Classification metrics against scikit-learn, brute force and closed forms."""

from collections.abc import Callable
from dataclasses import asdict
from math import inf, isnan, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.calibration import calibration_curve

from plinth_algorithms import classification as ours

Sample = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Both classes, and probabilities on a coarse grid so that ties, 0, 1 and bin edges are common."""
    rows = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=1, max_size=40))
    truth, grid = np.array([*rows, (0, draw(st.integers(0, 12))), (1, draw(st.integers(0, 12)))]).T
    return truth, grid / 12


def a_sample(n: int = 2000) -> Sample:
    rng = np.random.default_rng(7)
    truth = (rng.random(n) < 0.2).astype(np.int64)
    return truth, np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1).round(2)


@given(samples(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_report_equals_scikit_learn(sample: Sample, threshold: float) -> None:
    truth, scores = sample
    report = ours.classification_report(truth, scores, threshold)
    predicted = (scores >= threshold).astype(int)
    assert (report.tn, report.fp, report.fn, report.tp) == tuple(
        metrics.confusion_matrix(truth, predicted, labels=[0, 1]).ravel()
    )
    alerts = predicted.any()
    expected = {
        "precision": metrics.precision_score(truth, predicted) if alerts else nan,
        "recall": metrics.recall_score(truth, predicted),
        "f1": metrics.f1_score(truth, predicted),
        "specificity": metrics.recall_score(truth, predicted, pos_label=0),
        "mcc": metrics.matthews_corrcoef(truth, predicted) if 0 < predicted.sum() < truth.size else nan,
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
        "log_loss": metrics.log_loss(truth, scores),
        "brier_score": metrics.brier_score_loss(truth, scores),
    }
    actual = {name: value for name, value in asdict(report).items() if name in expected}
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@given(samples())
def test_curves_equal_scikit_learn(sample: Sample) -> None:
    truth, scores = sample
    for mine, theirs in zip(
        ours.roc_curve(truth, scores), metrics.roc_curve(truth, scores, drop_intermediate=False), strict=True
    ):
        assert_allclose(mine, theirs)
    for mine, theirs in zip(
        ours.precision_recall_curve(truth, scores),
        metrics.precision_recall_curve(truth, scores),
        strict=True,
    ):
        assert_allclose(mine, theirs)


@given(samples())
def test_roc_auc_is_the_chance_that_a_positive_outranks_a_negative(sample: Sample) -> None:
    truth, scores = sample
    difference = scores[truth == 1][:, None] - scores[truth == 0][None, :]
    assert ours.roc_auc(truth, scores) == pytest.approx(np.mean((difference > 0) + (difference == 0) / 2))


@given(samples(), st.integers(0, 20))
def test_recall_at_fpr_is_the_best_of_all_thresholds(sample: Sample, twentieths: int) -> None:
    truth, scores = sample
    max_fpr = twentieths / 20
    candidates = []
    for threshold in [inf, *scores]:
        alert = scores >= threshold
        fpr, recall = np.mean(alert[truth == 0]), np.mean(alert[truth == 1])
        if fpr <= max_fpr:
            candidates.append((recall, threshold, fpr, np.mean(truth[alert]) if alert.any() else nan))
    recall, threshold, fpr, precision = max(candidates, key=lambda point: point[:2])
    point = ours.recall_at_fpr(truth, scores, max_fpr)
    assert (point.recall, point.threshold, point.false_positive_rate) == (recall, threshold, fpr)
    assert point.precision == pytest.approx(precision, nan_ok=True)


def test_recall_at_fpr_does_not_cut_through_a_tie() -> None:
    truth = [0] * 10 + [1, 1]
    scores = [0.9, 0.9, *[0.1] * 8, 0.9, 0.95]
    assert ours.recall_at_fpr(truth, scores, 0.1) == ours.OperatingPoint(0.95, 0.5, 1.0, 0.0)
    assert ours.recall_at_fpr(truth, scores, 0.2) == ours.OperatingPoint(0.9, 1.0, 0.5, 0.2)


def test_recall_at_fpr_keeps_the_bound_exactly() -> None:
    scores = np.arange(31) / 31
    truth = np.zeros(31)
    truth[0] = 1
    assert ours.recall_at_fpr(truth, scores, 0.999).recall == 0
    truth[0], truth[27] = 0, 1
    point = ours.recall_at_fpr(truth, scores, 0.1)
    assert (point.false_positive_rate, point.recall, point.precision) == (0.1, 1.0, 0.25)


def test_recall_at_fpr_without_a_reachable_positive() -> None:
    point = ours.recall_at_fpr([1, 0, 0], [0.1, 0.9, 0.8], 0.0)
    assert (point.threshold, point.recall, point.false_positive_rate) == (inf, 0.0, 0.0)
    assert isnan(point.precision)


@pytest.mark.parametrize("truth", [[0, 0], [1, 1]])
def test_recall_at_fpr_needs_both_classes(truth: list[int]) -> None:
    with pytest.raises(ValueError, match="y_true must hold both classes"):
        ours.recall_at_fpr(truth, [0.1, 0.2], 0.1)


@pytest.mark.parametrize("max_fpr", [-0.1, 1.1, nan])
def test_recall_at_fpr_rejects_a_bound_that_is_no_rate(max_fpr: float) -> None:
    with pytest.raises(ValueError, match="max_fpr"):
        ours.recall_at_fpr([0, 1], [0.1, 0.2], max_fpr)


@pytest.mark.parametrize("n_bins", [5, 15])
def test_calibration_error_equals_the_gap_of_the_reliability_diagram(n_bins: int) -> None:
    truth, prob = a_sample()
    frequency, confidence = calibration_curve(truth, prob, n_bins=n_bins)
    right_closed = np.maximum(np.ceil(np.round(prob * n_bins, 9)).astype(int), 1)
    counts = np.unique(right_closed, return_counts=True)[1]
    expected = np.average(np.abs(frequency - confidence), weights=counts)
    assert ours.expected_calibration_error(truth, prob, n_bins=n_bins) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # (0, 0.5]: mean 0.3, frequency 0.5; (0.5, 1]: mean 0.8, frequency 1.
    error = ours.expected_calibration_error([0, 1, 1, 1], [0.1, 0.5, 0.7, 0.9], n_bins=2)
    assert error == pytest.approx(0.5 * 0.2 + 0.5 * 0.2)


def test_balanced_accuracy_of_several_classes() -> None:
    rng = np.random.default_rng(3)
    truth = rng.choice(["card", "cash", "wire"], 300, p=[0.7, 0.2, 0.1])
    predicted = np.where(rng.random(300) < 0.6, truth, "card")
    expected = metrics.balanced_accuracy_score(truth, predicted)
    assert ours.balanced_accuracy(truth, predicted) == pytest.approx(expected)
    assert ours.balanced_accuracy([1, 1, 1, 1], [1, 0, 1, 1]) == 0.75


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_accuracy_without_ties_equals_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(5)
    truth, scores = rng.integers(0, 5, 200), rng.random((200, 5))
    expected = metrics.top_k_accuracy_score(truth, scores, k=k)
    assert ours.top_k_accuracy(truth, scores, k=k) == pytest.approx(expected)


def test_top_k_accuracy_of_ties_and_of_all_classes() -> None:
    assert ours.top_k_accuracy([0, 1, 2, 3], np.zeros((4, 4)), k=1) == 0.25
    # Class 0 shares places 2 and 3 with class 2: inside the first two half of the time.
    assert ours.top_k_accuracy([0], [[0.4, 0.9, 0.4]], k=2) == 0.5
    assert ours.top_k_accuracy([2], [[0.4, 0.9, 0.1]], k=7) == 1.0


@pytest.mark.parametrize("truth", [[3], [-1], [0.5]])
def test_top_k_accuracy_rejects_an_unknown_class(truth: list[float]) -> None:
    with pytest.raises(ValueError, match="y_true must hold column numbers"):
        ours.top_k_accuracy(truth, [[0.1, 0.2, 0.7]])


def test_a_single_class_leaves_its_opposite_undefined() -> None:
    normal = ours.classification_report([0, 0, 0], [0.1, 0.2, 0.9])
    assert normal.specificity == normal.balanced_accuracy == pytest.approx(2 / 3)
    assert normal.precision == 0
    assert all(isnan(v) for v in (normal.recall, normal.mcc, normal.roc_auc, normal.average_precision))
    assert normal.log_loss == pytest.approx(-(log(0.9) + log(0.8) + log(0.1)) / 3)
    fraud = ours.classification_report([1, 1], [0.4, 0.8])
    assert (fraud.recall, fraud.average_precision, fraud.precision) == (0.5, 1.0, 1.0)
    assert isnan(fraud.specificity)
    assert isnan(fraud.roc_auc)
    assert np.isnan(ours.roc_curve([1, 1], [0.4, 0.8]).fpr).all()


def test_anomaly_scores_are_ranked_but_are_no_probabilities() -> None:
    truth, scores = [0, 1, 0, 1], [-3.0, 12.5, 0.5, inf]
    report = ours.classification_report(truth, scores, threshold=1.0)
    assert (report.tp, report.tn, report.roc_auc, report.f1) == (2, 2, 1.0, 1.0)
    assert isnan(report.log_loss)
    assert isnan(report.brier_score)
    assert isnan(report.expected_calibration_error)
    with pytest.raises(ValueError, match=r"y_prob must lie in \[0, 1\]"):
        ours.brier_score(truth, scores)


def test_mcc_of_large_counts_does_not_overflow() -> None:
    counts = ours.ConfusionCounts(tn=3_000_000_000, fp=1_000_000, fn=2_000_000, tp=40_000_000)
    tpr, tnr, ppv, npv = 40 / 42, 3000 / 3001, 40 / 41, 3000 / 3002
    expected = (tpr * tnr * ppv * npv) ** 0.5 - ((1 - tpr) * (1 - tnr) * (1 - ppv) * (1 - npv)) ** 0.5
    assert counts.mcc == pytest.approx(expected)


def test_order_of_rows_and_type_of_labels_do_not_matter() -> None:
    truth, scores = a_sample(200)
    shuffled = np.random.default_rng(1).permutation(200)
    report = asdict(ours.classification_report(truth, scores))
    again = asdict(ours.classification_report(truth[shuffled].astype(bool), scores[shuffled].tolist()))
    assert again == pytest.approx(report, rel=1e-12)


BINARY_METRICS: list[Callable[..., object]] = [
    ours.classification_report,
    ours.roc_curve,
    ours.precision_recall_curve,
    ours.roc_auc,
    ours.average_precision,
    lambda truth, scores: ours.recall_at_fpr(truth, scores, 0.1),
]
PROBABILITY_METRICS: list[Callable[..., object]] = [
    ours.log_loss,
    ours.brier_score,
    ours.expected_calibration_error,
]


@pytest.mark.parametrize("metric", BINARY_METRICS + PROBABILITY_METRICS)
def test_bad_input_is_named(metric: Callable[..., object]) -> None:
    scores = "y_prob" if metric in PROBABILITY_METRICS else "scores"
    for truth, values, message in [
        ([0, 1], [0.1, nan], f"{scores} contains NaN"),
        ([0, nan], [0.1, 0.2], "y_true contains NaN"),
        ([], [], "y_true must be a non-empty"),
        ([0, 2], [0.1, 0.2], "y_true must hold only 0 and 1"),
        ([0, 1, 1], [0.1, 0.2], f"differ in length \\(y_true: 3, {scores}: 2\\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(truth, values)


def test_bad_labels_and_tables_are_named() -> None:
    with pytest.raises(ValueError, match="y_pred contains NaN"):
        ours.balanced_accuracy([0.0, 1.0], [0.0, nan])
    with pytest.raises(ValueError, match="y_true must be a non-empty"):
        ours.balanced_accuracy([], [])
    with pytest.raises(ValueError, match="y_pred must hold only 0 and 1"):
        ours.confusion_counts([0, 1], [0, 3])
    with pytest.raises(ValueError, match="y_score contains NaN"):
        ours.top_k_accuracy([0], [[nan, 0.2]])
    with pytest.raises(ValueError, match="y_score must be a non-empty 2-D"):
        ours.top_k_accuracy([0], [0.2])
    with pytest.raises(ValueError, match="k must be at least 1"):
        ours.top_k_accuracy([0], [[0.1, 0.2]], k=0)
    with pytest.raises(ValueError, match="n_bins"):
        ours.expected_calibration_error([0, 1], [0.1, 0.2], n_bins=0)
    with pytest.raises(ValueError, match="threshold is NaN"):
        ours.classification_report([0, 1], [0.1, 0.2], nan)


def test_curves_end_where_they_should() -> None:
    roc = ours.roc_curve([0, 1, 1], [0.2, 0.2, 0.7])
    assert_array_equal(roc.thresholds, [inf, 0.7, 0.2])
    assert_array_equal(roc.fpr, [0, 0, 1])
    assert_array_equal(roc.tpr, [0, 0.5, 1])
    curve = ours.precision_recall_curve([0, 1, 1], [0.2, 0.2, 0.7])
    assert_allclose(curve.precision, [2 / 3, 1, 1])
    assert_array_equal(curve.recall, [1, 0.5, 0])
    assert_array_equal(curve.thresholds, [0.2, 0.7])
