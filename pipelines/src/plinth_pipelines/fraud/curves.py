"""Evaluation of one scorer as pictures."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plinth_algorithms.classification import precision_recall_curve, roc_curve
from plinth_pipelines.fraud.protocol import Evaluation


def draw(scores: NDArray[np.float64], y: NDArray[np.int64], found: Evaluation) -> Figure:
    """ROC curve, precision-recall curve and score histogram side by side, the operating point marked."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    fpr, tpr, _ = roc_curve(y, scores)
    left.plot(fpr, tpr, color="#1f5fa8")
    left.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="recall")
    left.axvline(1e-3, color="#999999", linestyle=":", linewidth=1)
    left.plot([1e-3], [found.recall], "o", color="#c0392b")
    left.set_title(f"ROC, AUC {found.roc_auc:.3f}")
    precision, recall, _ = precision_recall_curve(y, scores)
    middle.plot(recall, precision, color="#1f5fa8")
    middle.plot([found.recall], [found.precision], "o", color="#c0392b")
    middle.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    middle.set_title(f"precision and recall, average precision {found.average_precision:.3f}")
    bins = np.linspace(0, 1, 41).tolist()
    for label, name, colour in ((0, "genuine", "#7f8c8d"), (1, "fraud", "#c0392b")):
        right.hist(scores[y == label], bins=bins, label=name, color=colour, alpha=0.7, log=True)
    right.axvline(found.threshold, color="black", linestyle=":", linewidth=1)
    right.set(xlabel="score", ylabel="transactions", title="scores")
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
