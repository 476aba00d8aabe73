"""Metrics of classifiers: counts at a threshold, curves over thresholds, quality of probabilities.

    precision = TP/(TP+FP)    recall = TPR = TP/(TP+FN)    specificity = TN/(TN+FP)    F1 = 2TP/(2TP+FP+FN)
    MCC       = (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    ROC AUC   = P(score of a positive > score of a negative) + P(equal)/2
    AP        = sum_n (R_n - R_{n-1}) P_n, over the distinct scores, highest first
    log loss  = -mean(y ln p + (1-y) ln(1-p))    Brier = mean((p - y)^2)
    ECE       = sum_m |B_m|/n |mean(y in B_m) - mean(p in B_m)|, B_m = ((m-1)/M, m/M]

Sources: Fawcett (2006) "An introduction to ROC analysis", Pattern Recognition Letters 27, sections 2-7;
Brodersen et al. (2010) "The balanced accuracy and its posterior distribution", ICPR, pp. 3121-3124;
Matthews (1975), BBA Protein Structure 405, pp. 442-451 (MCC);
Manning, Raghavan, Schuetze (2008) "Introduction to Information Retrieval", section 8.4 (AP);
Brier (1950), Monthly Weather Review 78, pp. 1-3 (its sum over both classes is twice the score here);
Guo et al. (2017) "On Calibration of Modern Neural Networks", ICML, eq. 3, for the probability of class 1.

Everywhere a score >= threshold is a positive prediction, equal scores are never told apart, and a value that
the data do not define (a rate of an absent class, a precision without alerts) is NaN.
"""

from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plinth_algorithms._checks import (
    BoolArray,
    FloatArray,
    as_binary,
    as_numbers,
    as_probabilities,
    check_k,
    check_same_length,
)


@dataclass(frozen=True)
class ConfusionCounts:
    """Numbers of true negatives, false positives, false negatives and true positives, with their ratios."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> float:
        margins = (self.tp + self.fp) * (self.tp + self.fn) * (self.tn + self.fp) * (self.tn + self.fn)
        return _ratio(self.tp * self.tn - self.fp * self.fn, sqrt(margins))


class RocCurve(NamedTuple):
    """Rates at each threshold, thresholds descending from infinity."""

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray


class PrecisionRecallCurve(NamedTuple):
    """Values at each threshold, thresholds ascending; precision and recall end with one more point (1, 0)."""

    precision: FloatArray
    recall: FloatArray
    thresholds: FloatArray


@dataclass(frozen=True)
class OperatingPoint:
    """What a classifier does when cut at `threshold`."""

    threshold: float
    recall: float
    precision: float
    false_positive_rate: float


@dataclass(frozen=True)
class ClassificationReport:
    """All metrics of one set of scores; the probability metrics are NaN if a score is outside [0, 1]."""

    threshold: float
    tn: int
    fp: int
    fn: int
    tp: int
    precision: float
    recall: float
    f1: float
    specificity: float
    mcc: float
    balanced_accuracy: float
    roc_auc: float
    average_precision: float
    log_loss: float
    brier_score: float
    expected_calibration_error: float


def confusion_counts(y_true: ArrayLike, y_pred: ArrayLike) -> ConfusionCounts:
    """Count the outcomes of binary predictions; both arguments are 0/1 of shape (n,)."""
    truth, predicted = as_binary(y_true, "y_true"), as_binary(y_pred, "y_pred")
    check_same_length(y_true=truth, y_pred=predicted)
    tn, fp, fn, tp = np.bincount(2 * truth + predicted, minlength=4).tolist()
    return ConfusionCounts(tn, fp, fn, tp)


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean recall, in [0, 1], over the classes present in `y_true`; labels (n,) of any comparable type."""
    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    for name, labels in (("y_true", truth), ("y_pred", predicted)):
        if labels.ndim != 1 or labels.size == 0:
            raise ValueError(f"{name} must be a non-empty 1-D array, got shape {labels.shape}")
        if labels.dtype.kind == "f" and np.isnan(labels).any():
            raise ValueError(f"{name} contains NaN")
    check_same_length(y_true=truth, y_pred=predicted)
    _, classes = np.unique(truth, return_inverse=True)
    return float(np.mean(np.bincount(classes, weights=truth == predicted) / np.bincount(classes)))


def top_k_accuracy(y_true: ArrayLike, y_score: ArrayLike, *, k: int = 2) -> float:
    """Share of rows, in [0, 1], whose class is among the k with the highest scores.

    `y_true` (n,) holds column numbers of `y_score` (n, classes). Where the true class ties with others at the
    k-th place, the row counts with the probability that a random order puts it inside, so constant scores get
    k/classes. With k >= classes the result is 1. Raises ValueError on NaN, empty input or an unknown class.
    """
    check_k(k)
    truth, scores = as_numbers(y_true, "y_true"), np.asarray(y_score, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"y_score must be a non-empty 2-D array, got shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("y_score contains NaN")
    check_same_length(y_true=truth, y_score=scores)
    if not np.isin(truth, np.arange(scores.shape[1])).all():
        raise ValueError(f"y_true must hold column numbers of y_score, 0 to {scores.shape[1] - 1}")
    own = np.take_along_axis(scores, truth.astype(np.intp)[:, None], axis=1)
    above, tied = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    return float(np.mean(np.clip((k - above) / tied, 0, 1)))


def roc_curve(y_true: ArrayLike, scores: ArrayLike) -> RocCurve:
    """Receiver operating characteristic, one point a distinct score, from (0, 0) at infinity to (1, 1)."""
    tp, fp, thresholds = _counts_by_threshold(*_binary_and_scores(y_true, scores))
    return RocCurve(_share(fp, fp[-1]), _share(tp, tp[-1]), thresholds)


def precision_recall_curve(y_true: ArrayLike, scores: ArrayLike) -> PrecisionRecallCurve:
    """Precision and recall, one point a distinct score; shapes (m + 1,), (m + 1,) and (m,)."""
    tp, fp, thresholds = _counts_by_threshold(*_binary_and_scores(y_true, scores))
    precision = np.append((tp[1:] / (tp[1:] + fp[1:]))[::-1], 1.0)
    recall = np.append(_share(tp[1:], tp[-1])[::-1], 0.0)
    return PrecisionRecallCurve(precision, recall, thresholds[:0:-1])


def roc_auc(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve in [0, 1]; NaN with a single class."""
    tp, fp, _ = _counts_by_threshold(*_binary_and_scores(y_true, scores))
    doubled_area = np.sum(np.diff(fp) * (tp[1:] + tp[:-1]))
    return _ratio(float(doubled_area), 2.0 * float(tp[-1]) * float(fp[-1]))


def average_precision(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Area under the stepwise precision-recall curve in [0, 1]; NaN without positives."""
    tp, fp, _ = _counts_by_threshold(*_binary_and_scores(y_true, scores))
    return _ratio(float(np.sum(np.diff(tp) * tp[1:] / (tp[1:] + fp[1:]))), float(tp[-1]))


def recall_at_fpr(y_true: ArrayLike, scores: ArrayLike, max_fpr: float) -> OperatingPoint:
    """Best recall at a false positive rate of at most `max_fpr`, in [0, 1].

    The threshold is one of the scores, so equal scores fall on the same side; of several with the same
    recall it is the highest, which raises the fewest false alarms. If no positive can be reached within
    `max_fpr` the threshold is infinite, recall 0 and precision NaN. Raises ValueError unless both classes
    are present.
    """
    if not 0 <= max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in [0, 1], got {max_fpr}")
    tp, fp, thresholds = _counts_by_threshold(*_binary_and_scores(y_true, scores))
    if tp[-1] == 0 or fp[-1] == 0:
        raise ValueError("y_true must hold both classes")
    allowed = np.searchsorted(fp / fp[-1], max_fpr, side="right") - 1
    at = np.searchsorted(tp, tp[allowed], side="left")
    hits, alarms = int(tp[at]), int(fp[at])
    return OperatingPoint(
        threshold=float(thresholds[at]),
        recall=hits / int(tp[-1]),
        precision=_ratio(hits, hits + alarms),
        false_positive_rate=alarms / int(fp[-1]),
    )


def log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept one float64 epsilon away from 0 and 1."""
    truth, prob = _binary_and_probabilities(y_true, y_prob)
    epsilon = float(np.finfo(np.float64).eps)
    clipped = np.clip(prob, epsilon, 1 - epsilon)
    return float(-np.mean(np.log(np.where(truth, clipped, 1 - clipped))))


def brier_score(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Mean squared error of the probabilities, in [0, 1]."""
    truth, prob = _binary_and_probabilities(y_true, y_prob)
    return float(np.mean((prob - truth) ** 2))


def expected_calibration_error(y_true: ArrayLike, y_prob: ArrayLike, *, n_bins: int = 15) -> float:
    """Weighted mean distance, in [0, 1], between confidence and frequency in `n_bins` bins of equal width."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    truth, prob = _binary_and_probabilities(y_true, y_prob)
    bins = np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], prob)
    return float(np.abs(np.bincount(bins, weights=prob - truth)).sum() / prob.size)


def classification_report(
    y_true: ArrayLike, scores: ArrayLike, threshold: float = 0.5
) -> ClassificationReport:
    """Every metric of this module for binary `y_true` (n,) and `scores` (n,), cut at `threshold`.

    Scores may be probabilities or unbounded anomaly scores. Raises ValueError on NaN or empty input.
    """
    truth, values = _binary_and_scores(y_true, scores)
    if np.isnan(threshold):
        raise ValueError("threshold is NaN")
    predicted = values >= threshold
    counts = confusion_counts(truth, predicted)
    is_probability = bool(values.min() >= 0 and values.max() <= 1)
    return ClassificationReport(
        threshold=threshold,
        tn=counts.tn,
        fp=counts.fp,
        fn=counts.fn,
        tp=counts.tp,
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        specificity=counts.specificity,
        mcc=counts.mcc,
        balanced_accuracy=balanced_accuracy(truth, predicted),
        roc_auc=roc_auc(truth, values),
        average_precision=average_precision(truth, values),
        log_loss=log_loss(truth, values) if is_probability else nan,
        brier_score=brier_score(truth, values) if is_probability else nan,
        expected_calibration_error=expected_calibration_error(truth, values) if is_probability else nan,
    )


def _counts_by_threshold(
    truth: BoolArray, scores: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """True and false positives at each distinct score, highest first, after a first point (0, 0, inf)."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    tp = np.cumsum(truth[order], dtype=np.int64)[last_of_ties]
    fp = np.flatnonzero(last_of_ties) + 1 - tp
    return np.append(0, tp), np.append(0, fp), np.append(inf, ranked[last_of_ties])


def _binary_and_scores(y_true: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, FloatArray]:
    truth, values = as_binary(y_true, "y_true"), as_numbers(scores, "scores")
    check_same_length(y_true=truth, scores=values)
    return truth, values


def _binary_and_probabilities(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[BoolArray, FloatArray]:
    truth, prob = as_binary(y_true, "y_true"), as_probabilities(y_prob, "y_prob")
    check_same_length(y_true=truth, y_prob=prob)
    return truth, prob


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else nan


def _share(parts: NDArray[np.int64], whole: np.int64) -> FloatArray:
    return parts / whole if whole else np.full(parts.shape, nan)
