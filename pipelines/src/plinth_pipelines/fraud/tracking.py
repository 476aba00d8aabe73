"""A trained model in MLflow: one run with everything about it, one registered version under an alias.

The scoring side reads two files of the version, `MLmodel` (for its metadata) and `model.onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import httpx
import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from plinth_contracts.model import FEATURES, MEMBERS, PROBABILITIES
from plinth_pipelines.errors import PipelineError
from plinth_pipelines.fraud.succession import Present

ALIAS = "champion"
PATIENCE_S = 10.0
FILES = {"MLmodel", "model.onnx"}
_NOBODY = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""MLflow's answers where it knows no such model, and no such alias of it."""


class AwayError(PipelineError):
    """No MLflow answers; the message says where it was looked for."""


@dataclass(frozen=True)
class Record:
    """What a run holds. files: JSON, texts and figures: each by file name; metadata: goes into `MLmodel`."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    texts: Mapping[str, str]
    figures: Mapping[str, Figure]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Registered:
    """Where a model is found again."""

    name: str
    version: int
    run_id: str
    uri: str
    run_name: str = ""


def register(
    tracking_uri: str,
    experiment: str,
    name: str,
    model: Any,
    record: Record,
    alias: str | None = ALIAS,
    *,
    run_name: str | None = None,
) -> Registered:
    """Log a run with its ONNX model, register it as a new version of `name`, point the alias, if any, at it.

    Without `run_name` MLflow makes one up. Sets the process's MLflow tracking URI.

    Raises mlflow.MlflowException when the server refuses or cannot be reached, RuntimeError when the logged
    model lacks a file that the scoring side reads.
    """
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=run_name, tags=dict(record.tags)) as run:
        mlflow.log_params(dict(record.params))
        mlflow.log_metrics(dict(record.metrics))
        for path, content in record.files.items():
            mlflow.log_dict(dict(content), path)
        for path, text in record.texts.items():
            mlflow.log_text(text, path)
        for path, figure in record.figures.items():
            mlflow.log_figure(figure, path, save_kwargs={"dpi": 120})
        logged = mlflow.onnx.log_model(
            model,
            name=name,
            signature=_signature(len(record.metadata["feature_names"]), len(record.metadata["members"])),
            metadata=dict(record.metadata),
            pip_requirements=[f"{package}=={version(package)}" for package in ("onnx", "onnxruntime")],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
    client = mlflow.MlflowClient(tracking_uri)
    missing = FILES - {file.path for file in client.list_logged_model_artifacts(logged.model_id)}
    if missing:
        raise RuntimeError(f"logged model {logged.model_id} lacks {sorted(missing)}")
    registered = mlflow.register_model(logged.model_uri, name)
    if alias is not None:
        client.set_registered_model_alias(name, alias, registered.version)
    return Registered(
        name, int(registered.version), run.info.run_id, logged.model_uri, run.info.run_name or ""
    )


def check(tracking_uri: str) -> None:
    """Raises AwayError unless the server answers at once; MLflow itself would try for minutes."""
    if not tracking_uri.startswith("http"):
        return
    try:
        httpx.get(f"{tracking_uri}/health", timeout=PATIENCE_S).raise_for_status()
    except httpx.HTTPError as error:
        raise AwayError(
            f"MLflow does not answer at {tracking_uri}: {error}; `plinth up mlflow` starts it"
        ) from error


def present(tracking_uri: str, name: str, alias: str) -> Present | None:
    """The version that has the alias; None where nobody has it.

    Sets the process's MLflow tracking URI. Raises mlflow.MlflowException when the server cannot be reached or
    lacks the files of that version.
    """
    mlflow.set_tracking_uri(tracking_uri)
    try:
        found = mlflow.MlflowClient(tracking_uri).get_model_version_by_alias(name, alias)
    except mlflow.MlflowException as error:
        if error.error_code in _NOBODY:
            return None
        raise
    uri = f"models:/{name}/{found.version}"
    metadata = mlflow.models.get_model_info(uri).metadata or {}
    fingerprint = str(metadata.get("feature_fingerprint"))
    return Present(int(found.version), fingerprint, lambda: mlflow.onnx.load_model(uri))


def is_served(tracking_uri: str, name: str, feature_fingerprint: str) -> bool:
    """Whether the version that the alias `champion` points to was trained on these features; see present."""
    serving = present(tracking_uri, name, ALIAS)
    return serving is not None and serving.fingerprint == feature_fingerprint


def _signature(n_features: int, n_members: int) -> Any:
    outputs = ((MEMBERS, n_members), (PROBABILITIES, 2))
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, n_features), FEATURES)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width), name) for name, width in outputs]),
    )
