"""Train the fraud model: fit, choose thresholds, evaluate, export, log, register, let it serve.

`python -m plinth_pipelines.fraud.train` against the platform that the environment names.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plinth_features import spec
from plinth_features.spec import FeatureService
from plinth_kit.settings import load
from plinth_pipelines.features import compiled_path
from plinth_pipelines.fraud import curves, dataset, export, models, protocol, simulate
from plinth_pipelines.fraud.dataset import Dataset
from plinth_pipelines.fraud.protocol import Evaluation, Protocol
from plinth_pipelines.settings import PipelineSettings

NAME, ALIAS, EXPERIMENT = "fraud", "champion", "fraud"
FALSE_POSITIVE_RATES = {"monitor": 0.01, "step_up": 0.005, "block": 0.001}
"""Share of genuine transactions that each outcome may touch; the last is the operating point."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on which days. 28 days leave a week inside for choosing thresholds."""

    protocol: Protocol = field(default_factory=lambda: Protocol(train_days=28))
    params: models.CandidateParams = field(default_factory=models.CandidateParams)


@dataclass(frozen=True)
class TrainedModel:
    """A registered version, its thresholds by outcome, and how it did on the test days."""

    version: str
    thresholds: Mapping[str, float]
    evaluation: Evaluation


def run(
    tracking_uri: str,
    transactions: pd.DataFrame,
    service: FeatureService,
    *,
    config: TrainConfig | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> TrainedModel:
    """Train on the transactions and register the result with the alias `champion`.

    Raises ValueError when the exported model does not score as the fitted one does.
    """
    config = config or TrainConfig()
    split = protocol.split(config.protocol, transactions)
    inner = protocol.split(config.protocol.validation(), transactions)
    delay = config.protocol.label_delay
    everything = dataset.build(service, transactions, label_delay=delay, rows=split.train | split.test)
    progress(0.3)
    chosen = split.train | split.test
    thresholds = _thresholds(
        config, everything.where(inner.train[chosen]), everything.where(inner.test[chosen])
    )
    progress(0.45)
    train, test = everything.where(split.train[chosen]), everything.where(split.test[chosen])
    model = models.fit(models.candidate(config.params), train.X, train.y)
    progress(0.65)
    scores = models.scores(model, test.X)
    evaluation = protocol.evaluate(
        scores, test.y, test.frame["customer_id"].to_numpy(), protocol.days(test.frame["event_ts"])
    )
    onnx_model = export.to_onnx(model, train.X.shape[1])
    if (off := export.disagreement(onnx_model, model, test.X)) > export.TOLERANCE:
        raise ValueError(f"the exported model differs from the fitted one by {off:.1e}")
    progress(0.7)
    version = _register(
        tracking_uri,
        onnx_model,
        train,
        metadata={
            "feature_names": list(service.names),
            "feature_fingerprint": service.fingerprint,
            "thresholds": dict(thresholds),
        },
        params=_flat(config) | {"feature_fingerprint": service.fingerprint, "code_revision": _revision()},
        metrics={name: float(value) for name, value in asdict(evaluation).items()} | {"onnx_off_by": off},
        manifest=_manifest(transactions, train, test),
        picture=curves.draw(scores, test.y, evaluation),
    )
    progress(1.0)
    return TrainedModel(version, thresholds, evaluation)


def is_served(tracking_uri: str, service: FeatureService) -> bool:
    """Whether the champion was trained on these features."""
    import mlflow

    mlflow.set_tracking_uri(tracking_uri)
    try:
        metadata = mlflow.models.get_model_info(f"models:/{NAME}@{ALIAS}").metadata or {}
    except mlflow.MlflowException:
        return False
    return bool(metadata.get("feature_fingerprint") == service.fingerprint)


def _thresholds(config: TrainConfig, train: Dataset, validation: Dataset) -> dict[str, float]:
    """Scores that the given shares of genuine validation transactions exceed; the test days stay unseen."""
    model = models.fit(models.candidate(config.params), train.X, train.y)
    genuine: NDArray[np.float64] = models.scores(model, validation.X)[validation.y == 0]
    return {name: float(np.quantile(genuine, 1 - rate)) for name, rate in FALSE_POSITIVE_RATES.items()}


def _register(
    tracking_uri: str,
    onnx_model: Any,
    train: Dataset,
    *,
    metadata: dict[str, Any],
    params: dict[str, Any],
    metrics: dict[str, float],
    manifest: dict[str, Any],
    picture: Any,
) -> str:
    """Log a run with everything that made the model, register it, move the alias; the version."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    inputs = train.X[:5].astype(np.float32)
    with mlflow.start_run() as active, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        mlflow.log_dict(manifest, "data.json")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "evaluation.png"
            picture.savefig(path, dpi=110)
            mlflow.log_artifact(str(path))
        logged = mlflow.onnx.log_model(
            onnx_model,
            name="model",
            signature=mlflow.models.infer_signature(inputs, np.zeros((5, 2), dtype=np.float32)),
            metadata=metadata,
            pip_requirements=["onnxruntime"],
        )
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{NAME}'"):
            client.create_registered_model(NAME, description="Probability that a card payment is fraud.")
        version = client.create_model_version(NAME, logged.model_uri, active.info.run_id)
        client.set_registered_model_alias(NAME, ALIAS, version.version)
    return str(version.version)


def _flat(config: TrainConfig) -> dict[str, Any]:
    return asdict(config.params) | {f"protocol.{name}": v for name, v in asdict(config.protocol).items()}


def _manifest(transactions: pd.DataFrame, train: Dataset, test: Dataset) -> dict[str, Any]:
    """What the model has seen, so that somebody else can tell whether they hold the same data."""
    digest = hashlib.sha256(pd.util.hash_pandas_object(transactions, index=False).to_numpy().tobytes())
    parts = {
        name: {
            "rows": len(part),
            "frauds": int(part.y.sum()),
            "from": str(part.frame["event_ts"].min()),
            "to": str(part.frame["event_ts"].max()),
        }
        for name, part in (("train", train), ("test", test))
    }
    return {
        "source": "simulated card payments",
        "rows": len(transactions),
        "sha256": digest.hexdigest(),
    } | parts


def _revision() -> str:
    """The code's git revision, or `unknown` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def main() -> int:
    """Train on the simulated six months and log to the MLflow that the environment names."""
    settings = load(PipelineSettings)
    trained = run(
        settings.mlflow_url,
        simulate.simulate(),
        spec.load(compiled_path(settings.feature_repo, "fraud")),
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger(__name__).info("version %s: %s", trained.version, trained.evaluation)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
