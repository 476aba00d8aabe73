"""Scores as probabilities, learnt from rows that the scorer has not been trained on.

    Platt       P(y = 1 | s) = 1 / (1 + exp(-(a s + b))),  a and b of least log loss, where the targets are
                (N+ + 1) / (N+ + 2) for class 1 and 1 / (N- + 2) for class 0
    isotonic    the non-decreasing step function of least squared error (pool adjacent violators)

Platt's keeps the order of the scores, isotonic regression makes ties.

Sources: Platt (1999) "Probabilistic Outputs for Support Vector Machines", Adv. in Large Margin Classifiers;
Lin, Lin, Weng (2007) "A Note on Platt's Probabilistic Outputs", Machine Learning 68, pp. 267-276 (Newton's
method with backtracking); Zadrozny, Elkan (2002) "Transforming Classifier Scores into Accurate Multiclass
Probability Estimates", KDD, pp. 694-699; Ayer et al. (1955), Annals of Math. Statistics 26, pp. 641-647.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plinth_algorithms._checks import FloatArray, as_binary, as_numbers, check_same_length

ITERATIONS = 100
RIDGE = 1e-12


@dataclass(frozen=True)
class Logistic:
    """P(y = 1 | z) = sigmoid(weights . z + bias); weights (scores,)."""

    weights: FloatArray
    bias: float

    def __call__(self, scores: ArrayLike) -> FloatArray:
        """Probabilities (n,) of scores (n, scores), or (n,) if there is one weight."""
        return sigmoid(self.margin(scores))

    def margin(self, scores: ArrayLike) -> FloatArray:
        """Log-odds (n,)."""
        return _columns(scores) @ self.weights + self.bias


@dataclass(frozen=True)
class Isotonic:
    """A step function through points (score, probability), linear between them, constant outside."""

    score: FloatArray
    probability: FloatArray

    def __call__(self, scores: ArrayLike) -> FloatArray:
        """Probabilities (n,) of scores (n,)."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.score, self.probability)


def platt(scores: ArrayLike, y: ArrayLike) -> Logistic:
    """Logistic calibration of finite scores (n,), or of several at once (n, scores), by Newton's method.

    With several columns it is the combiner of a stack. Raises ValueError unless both classes are present.
    """
    truth = as_binary(y, "y")
    columns = _columns(scores)
    check_same_length(scores=columns, y=truth)
    if not np.isfinite(columns).all():
        raise ValueError("scores contains NaN or infinity")
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        raise ValueError("y must hold both classes")
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, scale = columns.mean(axis=0), columns.std(axis=0)
    scale[scale == 0] = 1.0
    design = np.column_stack([(columns - centre) / scale, np.ones(len(columns))])
    start = np.zeros(design.shape[1])
    start[-1] = np.log((positive + 1) / (negative + 1))
    beta = _newton(design, target, start)
    weights = beta[:-1] / scale
    return Logistic(weights, float(beta[-1] - weights @ centre))


def isotonic(scores: ArrayLike, y: ArrayLike) -> Isotonic:
    """Isotonic calibration of scores (n,); equal scores are one point of their mean label."""
    values, truth = as_numbers(scores, "scores"), as_binary(y, "y")
    check_same_length(scores=values, y=truth)
    points, group = np.unique(values, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    return Isotonic(points, pool_adjacent_violators(np.bincount(group, weights=truth) / size, size))


def pool_adjacent_violators(values: FloatArray, weight: FloatArray) -> FloatArray:
    """The non-decreasing (n,) nearest to values (n,) in weighted squares."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, w in zip(values.tolist(), weight.tolist(), strict=True):
        mean, total, length = value, w, 1
        while pools and pools[-1][0] >= mean:
            before, its_weight, its_length = pools.pop()
            mean = (mean * total + before * its_weight) / (total + its_weight)
            total, length = total + its_weight, length + its_length
        pools.append((mean, total, length))
    return np.repeat([mean for mean, _, _ in pools], [length for _, _, length in pools])


def sigmoid(margin: FloatArray) -> FloatArray:
    """1 / (1 + exp(-margin)), without overflow."""
    return np.exp(-np.logaddexp(0, -margin))


def logit(probability: FloatArray) -> FloatArray:
    """log(p / (1 - p)); infinite at 0 and 1."""
    return np.log(probability) - np.log1p(-probability)


def _newton(design: FloatArray, target: FloatArray, beta: FloatArray) -> FloatArray:
    """Coefficients of least log loss; each step is halved until the loss falls."""
    loss = _loss(design @ beta, target)
    for _ in range(ITERATIONS):
        p = sigmoid(design @ beta)
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + RIDGE * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > RIDGE:
            candidate = beta - size * step
            new = _loss(design @ candidate, target)
            if new < loss:
                break
            size /= 2
        else:
            return beta
        beta, loss = candidate, new
    return beta


def _loss(margin: FloatArray, target: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0, margin) - target * margin))


def _columns(scores: ArrayLike) -> FloatArray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"scores must be a non-empty 1-D or 2-D array, got shape {array.shape}")
    return array[:, None] if array.ndim == 1 else array
