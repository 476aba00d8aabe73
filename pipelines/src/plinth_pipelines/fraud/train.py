"""Train, evaluate and register the fraud model: `python -m plinth_pipelines.fraud.train --help`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from plinth_features import spec
from plinth_features.spec import FeatureService
from plinth_pipelines.fraud import dataset, figures, models, onnx_model, protocol, provenance, tracking
from plinth_pipelines.fraud.dataset import Dataset
from plinth_pipelines.fraud.models import CandidateParams
from plinth_pipelines.fraud.protocol import Evaluation, Protocol
from plinth_pipelines.fraud.simulate import PUBLISHED, simulate
from plinth_pipelines.fraud.thresholds import Thresholds, choose, counts
from plinth_pipelines.fraud.tracking import Record, Registered

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what. source and source_config say where the transactions came from."""

    service: FeatureService
    protocol: Protocol = field(default_factory=lambda: Protocol(train_days=28))
    params: CandidateParams = field(default_factory=CandidateParams)
    model_name: str = "fraud"
    experiment: str = "fraud"
    source: str = "unknown"
    source_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedModel:
    """A registered version with its figures on the test days."""

    registered: Registered
    evaluation: Evaluation
    thresholds: Thresholds
    onnx_difference: float


@dataclass(frozen=True)
class Fitted:
    """A model and what it says about the test rows."""

    model: models.Model
    test: Dataset
    scores: Floats


def run(
    tracking_uri: str,
    transactions: pd.DataFrame,
    *,
    config: TrainConfig,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train the candidate and register it under the alias `champion`.

    Thresholds come from a model that was trained and tested inside the training days, so that the test days
    decide nothing. `progress` is called with the name of the step begun and the share of steps done.

    Raises:
        ValueError: if the transactions do not cover the protocol's days, or the ONNX model differs.
        mlflow.MlflowException: if the tracking server cannot be reached or refuses.
    """
    report = progress or (lambda _step, _share: None)
    report("features", 0.0)
    splits = [protocol.split(p, transactions) for p in (config.protocol.validation(), config.protocol)]
    used = np.logical_or.reduce([mask for pair in splits for mask in pair])
    data = dataset.build(config.service, transactions, label_delay=config.protocol.label_delay, rows=used)
    inner, outer = (protocol.Split(pair.train[used], pair.test[used]) for pair in splits)
    report("thresholds", 0.4)
    validation = fit(config.params, data, inner)
    cuts = choose(validation.scores, validation.test.y)
    report("model", 0.5)
    final = fit(config.params, data, outer)
    evaluation = evaluate(final.scores, final.test)
    report("onnx", 0.7)
    converted = onnx_model.convert(final.model, len(config.service.names))
    difference = onnx_model.check(converted, final.test.X, final.scores)
    report("mlflow", 0.8)
    record = _record(config, transactions, final, evaluation, cuts, int(outer.train.sum()), difference)
    registered = tracking.register(tracking_uri, config.experiment, config.model_name, converted, record)
    report("done", 1.0)
    return TrainedModel(registered, evaluation, cuts, difference)


def fit(params: CandidateParams, data: Dataset, split: protocol.Split) -> Fitted:
    """Fit the candidate on the training rows and score the test rows; ValueError unless both hold frauds."""
    train, test = data.where(split.train), data.where(split.test)
    for name, part in (("training", train), ("test", test)):
        if not 0 < part.y.sum() < len(part):
            raise ValueError(f"the {name} days need genuine and fraudulent transactions, of {len(part)} rows")
    model = models.fit(models.candidate(params), train.X, train.y)
    return Fitted(model, test, models.scores(model, test.X))


def evaluate(scores: Floats, test: Dataset) -> Evaluation:
    """The protocol's figures of scores for these rows."""
    cards = test.frame["customer_id"].to_numpy(np.int64)
    return protocol.evaluate(scores, test.y, cards, protocol.days(test.frame["event_ts"]))


def _record(
    config: TrainConfig,
    transactions: pd.DataFrame,
    final: Fitted,
    evaluation: Evaluation,
    cuts: Thresholds,
    train_rows: int,
    difference: float,
) -> Record:
    scores, y = final.scores, final.test.y
    manifest = provenance.manifest(transactions, config.source, dict(config.source_config))
    service = config.service
    return Record(
        params={**asdict(config.params), **asdict(config.protocol), "train_rows": train_rows},
        metrics={
            **{f"test_{name}": float(value) for name, value in asdict(evaluation).items()},
            **_at_thresholds(scores, y, cuts),
            "onnx_max_difference": difference,
        },
        tags={
            "code_revision": provenance.code_revision(Path(__file__).parent),
            "data_sha256": manifest.sha256,
            "feature_fingerprint": service.fingerprint,
            "feature_service": service.name,
        },
        files={"data.json": msgspec.to_builtins(manifest), "features.json": msgspec.to_builtins(service)},
        figures={
            "figures/curves.png": figures.curves(scores, y, evaluation),
            "figures/scores.png": figures.histogram(scores, y, cuts),
        },
        metadata={
            "feature_names": list(service.names),
            "feature_fingerprint": service.fingerprint,
            "thresholds": asdict(cuts),
        },
    )


def _at_thresholds(scores: Floats, y: NDArray[np.int64], cuts: Thresholds) -> dict[str, float]:
    metrics = {}
    for outcome, threshold in asdict(cuts).items():
        at = counts(scores, y, threshold)
        metrics[f"test_{outcome}_recall"] = at.recall
        metrics[f"test_{outcome}_false_positive_rate"] = 1 - at.specificity
        if at.tp + at.fp:
            metrics[f"test_{outcome}_precision"] = at.precision
    return metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the fraud model, on simulated transactions unless a file of them is given."""
    parser = argparse.ArgumentParser(prog="python -m plinth_pipelines.fraud.train", description=main.__doc__)
    parser.add_argument("--tracking-uri", default="http://127.0.0.1:5000")
    parser.add_argument("--transactions", type=Path, help="parquet file with the columns of the simulation")
    parser.add_argument("--features", type=Path, default=Path("feature_repo/compiled/fraud.json"))
    parser.add_argument("--test-start", type=date.fromisoformat, default=Protocol().test_start)
    parser.add_argument("--train-days", type=int, default=28)
    options = parser.parse_args(arguments)
    console = Console()
    source = str(options.transactions) if options.transactions else "simulate"
    config = TrainConfig(
        service=spec.load(options.features),
        protocol=Protocol(test_start=options.test_start, train_days=options.train_days),
        source=source,
        source_config={} if options.transactions else msgspec.to_builtins(asdict(PUBLISHED)),
    )
    table = pd.read_parquet(options.transactions) if options.transactions else simulate(PUBLISHED)
    trained = run(options.tracking_uri, table, config=config, progress=lambda step, _: console.log(step))
    console.print(msgspec.to_builtins(trained))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
