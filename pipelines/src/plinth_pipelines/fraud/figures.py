"""Figures of an evaluation, for people who compare versions of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plinth_algorithms.classification import precision_recall_curve, roc_curve
from plinth_contracts.model import Thresholds
from plinth_pipelines.fraud.protocol import MAX_FPR, Evaluation
from plinth_pipelines.fraud.selection import Comparison

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


def calibration(scores: Floats, y: NDArray[np.int64], bins: int = 12) -> Figure:
    """Share of frauds over mean probability, in bins of equal width in log-odds, with 95 % intervals."""
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = figure.subplots()
    clipped = np.clip(scores, 1e-5, 1 - 1e-5)
    place = np.log(clipped / (1 - clipped))
    edges = np.linspace(place.min(), place.max(), bins + 1)[1:-1]
    bin_of = np.searchsorted(edges, place)
    n = np.bincount(bin_of, minlength=bins).astype(float)
    some = n > 0
    said = np.bincount(bin_of, weights=scores, minlength=bins)[some] / n[some]
    found = np.bincount(bin_of, weights=y, minlength=bins)[some] / n[some]
    low, high = _wilson(found, n[some])
    axes.plot([1e-5, 1], [1e-5, 1], color=POINT, linestyle=":", linewidth=1, label="perfect")
    error = np.stack([np.maximum(found - low, 0), np.maximum(high - found, 0)])
    shown = np.maximum(found, 1e-5)
    axes.errorbar(said, shown, yerr=error, fmt="o", color=GENUINE, capsize=3, label="bins of test rows")
    axes.set_xscale("log")
    axes.set_yscale("log")
    start = max(1e-5, said.min() / 3)
    axes.set(xlim=(start, 1.3), ylim=(start, 1.3), xlabel="Mean probability", ylabel="Share of frauds")
    axes.set_title("Calibration on the test transactions")
    axes.legend(frameon=False)
    _tidy(axes)
    return figure


def importance(mean: Mapping[str, float], shown: int = 20) -> Figure:
    """Mean absolute contribution of the features, greatest on top."""
    names, values = list(mean)[:shown][::-1], list(mean.values())[:shown][::-1]
    figure = Figure(figsize=(8, 0.8 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, values, color=GENUINE)
    axes.set(xlabel="Mean absolute contribution to the log-odds (TreeSHAP)", title="What the model looks at")
    _tidy(axes)
    return figure


def walk_forward(comparisons: Sequence[Comparison]) -> Figure:
    """Average precision of every scorer in every week, and its mean over the weeks, as a table."""
    names = list(dict.fromkeys(comparison.name for comparison in comparisons))
    weeks = sorted({comparison.test_start for comparison in comparisons})
    found = {(c.name, c.test_start): c.evaluation for c in comparisons}
    rows = []
    for name in names:
        values = [found.get((name, week)) for week in weeks]
        precision = [e.average_precision for e in values if e]
        recall = [e.recall for e in values if e]
        cells = [f"{e.average_precision:.4f}" if e else "" for e in values]
        rows.append([*cells, f"{np.mean(precision):.4f}", f"{np.mean(recall):.3f}"])
    figure = Figure(figsize=(5.5 + 1.1 * len(weeks), 1.0 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    days = [f"{date(1970, 1, 1) + timedelta(days=week):%d %b}" for week in weeks]
    table = axes.table(
        cellText=rows,
        rowLabels=names,
        colLabels=[*(f"from {day}" for day in days), "mean", "recall"],
        loc="center",
        cellLoc="center",
    )
    table.scale(1, 1.4)
    figure.suptitle("Average precision by test week; recall at 0.1 % false positives")
    return figure


def _wilson(share: Floats, n: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """Wilson's interval of a share among n."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


def _point(axes: Axes, x: float, y: float, text: str) -> None:
    axes.plot(x, y, "o", color=POINT, markersize=6)
    where: dict[str, Any] = {"textcoords": "offset points", "xytext": (8, -14)}
    axes.annotate(text, (x, y), color=POINT, **where)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
