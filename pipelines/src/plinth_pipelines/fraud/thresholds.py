"""Where a score is cut: three outcomes, each with its share of genuine transactions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plinth_algorithms.classification import ConfusionCounts, confusion_counts
from plinth_contracts.model import Thresholds

FALSE_POSITIVE_RATES = {"monitor": 0.01, "step_up": 0.005, "block": 0.001}


def choose(scores: NDArray[np.float64], y: NDArray[np.int64]) -> Thresholds:
    """Lowest thresholds that keep the rates of `FALSE_POSITIVE_RATES` on the genuine rows of (n,) scores.

    A score at or above a threshold counts. Raises ValueError without genuine rows.
    """
    genuine = np.sort(scores[y == 0])[::-1]
    if not len(genuine):
        raise ValueError("thresholds need genuine transactions")
    cut = {
        outcome: float(np.nextafter(genuine[int(rate * len(genuine))], np.inf))
        for outcome, rate in FALSE_POSITIVE_RATES.items()
    }
    return Thresholds(**cut)


def counts(scores: NDArray[np.float64], y: NDArray[np.int64], threshold: float) -> ConfusionCounts:
    """What a threshold does to these scores."""
    return confusion_counts(y, scores >= threshold)
