"""What training leaves behind: parameters, figures, pictures, the model card, the model's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure
from msgspec import structs

from plinth_algorithms import tree_shap
from plinth_algorithms.classification import brier_score, expected_calibration_error, log_loss
from plinth_contracts.model import Thresholds
from plinth_features.spec import FeatureService
from plinth_pipelines.fraud import figures, model_card, provenance
from plinth_pipelines.fraud.ensemble import Ensemble
from plinth_pipelines.fraud.members import Boosted, Floats, Labels, Rows
from plinth_pipelines.fraud.protocol import Evaluation
from plinth_pipelines.fraud.provenance import Manifest
from plinth_pipelines.fraud.selection import Comparison, Selection
from plinth_pipelines.fraud.succession import Succession
from plinth_pipelines.fraud.thresholds import counts
from plinth_pipelines.fraud.tracking import Record

EXPLAINED_ROWS = 1000


@dataclass(frozen=True)
class Result:
    """A trained ensemble, what it was made of, and what it says of the test rows X, y.

    alone: figures of each member on the test rows, the ones that are not served among them.
    """

    service: FeatureService
    manifest: Manifest
    params: Mapping[str, Any]
    selection: Selection
    ensemble: Ensemble
    thresholds: Thresholds
    evaluation: Evaluation
    alone: Mapping[str, Evaluation]
    X: Rows
    y: Labels
    scores: Floats
    onnx_difference: float
    succession: Succession


def of(result: Result) -> Record:
    """The record of a result, for `tracking.register`."""
    service = result.service
    metrics = _metrics(result)
    importance = feature_importance(result)
    environment = provenance.environment()
    revision = provenance.code_revision(Path(__file__).parent)
    walk = _walk(result.selection.comparisons)
    return Record(
        params=result.params,
        metrics=metrics,
        tags={
            "code_revision": revision,
            "data_sha256": result.manifest.sha256,
            "feature_fingerprint": service.fingerprint,
            "feature_service": service.name,
            "python": environment["python"],
            "succession": ("taken: " if result.succession.takes else "refused: ") + result.succession.why,
        },
        files={
            "data.json": msgspec.to_builtins(result.manifest),
            "features.json": msgspec.to_builtins(service),
            "environment.json": environment,
            "walk_forward.json": {"weeks": walk},
            "importance.json": importance,
        },
        texts={
            "model_card.md": model_card.write(
                model_card.Facts(
                    params=result.params,
                    metrics=metrics,
                    manifest=result.manifest,
                    thresholds=result.thresholds,
                    evaluation=result.evaluation,
                    alone=result.alone,
                    served=result.ensemble.names,
                    comparisons=result.selection.comparisons,
                    importance=importance,
                    features=service.names,
                    fingerprint=service.fingerprint,
                    revision=revision,
                    ordinary_minor=_ordinary_minor(service),
                )
            )
        },
        figures=_figures(result, importance),
        metadata={
            "feature_names": list(service.names),
            "feature_fingerprint": service.fingerprint,
            "members": list(result.ensemble.names),
            "explained": _lead(result).name,
            "thresholds": structs.asdict(result.thresholds),
        },
    )


def _ordinary_minor(service: FeatureService) -> int | None:
    declared = (view.ordinary_minor for view in service.views)
    return next((amount for amount in declared if amount is not None), None)


def _lead(result: Result) -> Boosted:
    """The member whose trees explain a score."""
    return next(member for member in result.ensemble.members if isinstance(member, Boosted))


def feature_importance(result: Result) -> dict[str, float]:
    """Mean absolute contribution to the log-odds of the boosted trees, by feature, greatest first.

    Half of the explained rows are those with the highest scores, so that it is not genuine rows alone.
    """
    lead = _lead(result)
    highest = np.argsort(-result.scores, kind="stable")[: EXPLAINED_ROWS // 2]
    spread = np.linspace(0, len(result.X) - 1, EXPLAINED_ROWS // 2).astype(np.int64)
    rows = result.X[np.concatenate([highest, spread])]
    mean = np.abs(tree_shap.contributions(tree_shap.paths(lead.trees), rows)).mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    return {result.service.names[i]: round(float(mean[i]), 4) for i in order}


def _metrics(result: Result) -> dict[str, float]:
    scores, y = result.scores, result.y
    metrics = {f"test_{name}": float(value) for name, value in asdict(result.evaluation).items()}
    for name, alone in result.alone.items():
        metrics |= {f"test_{name}_{figure}": float(value) for figure, value in asdict(alone).items()}
    for outcome, threshold in structs.asdict(result.thresholds).items():
        at = counts(scores, y, threshold)
        metrics[f"test_{outcome}_recall"] = at.recall
        metrics[f"test_{outcome}_false_positive_rate"] = 1 - at.specificity
        if at.tp + at.fp:
            metrics[f"test_{outcome}_precision"] = at.precision
    metrics["test_log_loss"] = log_loss(y, scores)
    metrics["test_brier_score"] = brier_score(y, scores)
    metrics["test_calibration_error"] = expected_calibration_error(y, scores)
    if result.succession.present_precision is not None:
        metrics["test_present_average_precision"] = result.succession.present_precision
    metrics["onnx_max_difference"] = result.onnx_difference
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _figures(result: Result, importance: Mapping[str, float]) -> dict[str, Figure]:
    scores, y = result.scores, result.y
    return {
        "figures/curves.png": figures.curves(scores, y, result.evaluation),
        "figures/scores.png": figures.histogram(scores, y, result.thresholds),
        "figures/calibration.png": figures.calibration(scores, y),
        "figures/importance.png": figures.importance(importance),
        "figures/walk_forward.png": figures.walk_forward(result.selection.comparisons),
    }


def _walk(comparisons: tuple[Comparison, ...]) -> list[dict[str, Any]]:
    return [
        {
            "scorer": comparison.name,
            "test_start": str(date(1970, 1, 1) + timedelta(days=comparison.test_start)),
            **{name: _finite(value) for name, value in asdict(comparison.evaluation).items()},
        }
        for comparison in comparisons
    ]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
