"""Figures of an evaluation, for people who compare versions of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plinth_algorithms.classification import precision_recall_curve, roc_curve
from plinth_pipelines.fraud.protocol import MAX_FPR, Evaluation
from plinth_pipelines.fraud.thresholds import Thresholds

Floats = NDArray[np.float64]

GENUINE, FRAUD, POINT = "#4c78a8", "#e45756", "#222222"
OUTCOMES = {"monitor": ":", "step_up": "--", "block": "-"}


def curves(scores: Floats, y: NDArray[np.int64], evaluation: Evaluation) -> Figure:
    """ROC curve over a logarithmic rate of false alarms, and precision over recall; both with the point."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    roc = roc_curve(y, scores)
    left.step(roc.fpr, roc.tpr, where="post", color=GENUINE, linewidth=2)
    left.axvline(MAX_FPR, color=POINT, linestyle=":", linewidth=1)
    _point(left, MAX_FPR, evaluation.recall, f"recall {evaluation.recall:.3f} at {MAX_FPR:.1%}")
    left.set_xscale("log")
    left.set(xlim=(1e-5, 1), xlabel="False positive rate", ylabel="Recall")
    left.set_title(f"ROC, area {evaluation.roc_auc:.3f}")
    curve = precision_recall_curve(y, scores)
    right.step(curve.recall, curve.precision, where="post", color=FRAUD, linewidth=2)
    _point(right, evaluation.recall, evaluation.precision, f"precision {evaluation.precision:.3f}")
    right.set(xlim=(0, 1), xlabel="Recall", ylabel="Precision")
    right.set_title(f"Precision over recall, average {evaluation.average_precision:.3f}")
    for axes in (left, right):
        _tidy(axes)
        axes.set_ylim(0, 1.03)
    return figure


def histogram(scores: Floats, y: NDArray[np.int64], cuts: Thresholds) -> Figure:
    """How the scores of both classes are spread, with the thresholds."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 51).tolist()
    axes.hist(scores[y == 0], bins=bins, color=GENUINE, alpha=0.75, label="genuine")
    axes.hist(scores[y == 1], bins=bins, color=FRAUD, alpha=0.75, label="fraud")
    for outcome, style in OUTCOMES.items():
        at = getattr(cuts, outcome)
        axes.axvline(at, color=POINT, linestyle=style, linewidth=1.3, label=f"{outcome} from {at:.3f}")
    axes.set_yscale("log")
    axes.set(xlim=(0, 1), xlabel="Score", ylabel="Transactions", title="Scores of the test transactions")
    axes.legend(frameon=False)
    _tidy(axes)
    return figure


def _point(axes: Axes, x: float, y: float, text: str) -> None:
    axes.plot(x, y, "o", color=POINT, markersize=6)
    where: dict[str, Any] = {"textcoords": "offset points", "xytext": (8, -14)}
    axes.annotate(text, (x, y), color=POINT, **where)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
