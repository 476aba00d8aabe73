"""Train, evaluate and register the fraud model: `python -m plinth_pipelines.fraud.train --help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from plinth_algorithms import resampling
from plinth_contracts.model import Thresholds
from plinth_features import spec
from plinth_features.spec import FeatureService
from plinth_pipelines import terminal
from plinth_pipelines.errors import PipelineError
from plinth_pipelines.fraud import (
    dataset,
    onnx_model,
    protocol,
    provenance,
    record,
    selection,
    succession,
    tracking,
    train_view,
)
from plinth_pipelines.fraud.ensemble import Ensemble
from plinth_pipelines.fraud.members import Member
from plinth_pipelines.fraud.protocol import Evaluation, Protocol, Split
from plinth_pipelines.fraud.selection import FULL, QUICK, Search, Selection, Table
from plinth_pipelines.fraud.simulate import PUBLISHED, simulate
from plinth_pipelines.fraud.succession import Succession
from plinth_pipelines.fraud.thresholds import choose
from plinth_pipelines.fraud.tracking import Registered

Progress = Callable[[str, float], None]

TRAIN_DAYS = 115
"""All that was known before August 2018 but the first week, whose transactions have no terminal labels."""

KEEP = 0.2
"""Share of genuine training rows that are learnt from; each counts for five. A tenth costs 0.002 of average
precision in the walk, three tenths gain 0.001 for half as much time again."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what. source and source_config say where the transactions came from.

    seed: of every random choice: rows thinned, rows made by resampling, rows and columns of each tree.
    force: take the alias even from a better version. Any alias but `champion` is taken without asking.
    """

    service: FeatureService
    protocol: Protocol = field(default_factory=lambda: Protocol(train_days=TRAIN_DAYS))
    search: Search = FULL
    keep: float = KEEP
    seed: int = 0
    model_name: str = "fraud"
    alias: str = tracking.ALIAS
    force: bool = False
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
    succession: Succession


@dataclass(frozen=True)
class Prepared:
    """Rows of training, folds and test, and where each is."""

    table: Table
    folds: tuple[Split, ...]
    final: Split


def run(
    tracking_uri: str,
    transactions: pd.DataFrame,
    *,
    config: TrainConfig,
    progress: Progress | None = None,
) -> TrainedModel:
    """Select, train and register a model under the alias, unless the version that has it is better.

    Selection, calibration and thresholds come from weeks inside the training days, so that the test days
    decide nothing. `progress` is called with the name of the step begun and the share of steps done.

    Raises:
        ValueError: if the transactions do not cover the protocol's days, or the ONNX model differs.
        mlflow.MlflowException: if the tracking server cannot be reached or refuses.
    """
    report = progress or (lambda _step, _share: None)
    contested = config.alias == tracking.ALIAS and not config.force
    serving = tracking.present(tracking_uri, config.model_name, config.alias) if contested else None
    report("features", 0.0)
    data = prepare(config, transactions)
    report("selection", 0.3)
    chosen = selection.select(
        data.table, data.folds, config.search, config.seed, lambda done: report("selection", 0.3 + 0.4 * done)
    )
    thresholds = choose(chosen.scores, chosen.y)
    report("model", 0.7)
    ensemble, rest = fit(data, chosen, config)
    X = data.table.X[data.final.test]
    scores = ensemble.scores(X)
    evaluation = data.table.evaluate(scores, data.final.test)
    report("onnx", 0.8)
    converted = onnx_model.convert(ensemble, X.shape[1])
    difference = onnx_model.check(converted, ensemble, X)
    report("mlflow", 0.85)
    heir = (
        succession.decide(
            serving,
            config.service.fingerprint,
            evaluation.average_precision,
            X,
            lambda scores: data.table.evaluate(scores, data.final.test).average_precision,
        )
        if contested
        else succession.forced()
    )
    result = record.Result(
        service=config.service,
        manifest=provenance.manifest(transactions, config.source, dict(config.source_config)),
        params={
            **asdict(chosen.candidate.params),
            **asdict(config.protocol),
            "candidate": chosen.candidate.name,
            "resampling": chosen.candidate.resample,
            "genuine_rows_kept": config.keep,
            "members": ",".join(ensemble.names),
            "folds": config.search.folds,
            "seed": config.seed,
            "train_rows": int(data.final.train.sum()),
        },
        selection=chosen,
        ensemble=ensemble,
        thresholds=thresholds,
        evaluation=evaluation,
        alone={
            member.name: data.table.evaluate(member.raw(X), data.final.test)
            for member in (*ensemble.members, *rest)
        },
        X=X,
        y=data.table.y[data.final.test],
        scores=scores,
        onnx_difference=difference,
        succession=heir,
    )
    registered = tracking.register(
        tracking_uri,
        config.experiment,
        config.model_name,
        converted,
        record.of(result),
        config.alias if heir.takes else None,
        run_name=f"{config.model_name} {config.protocol.test_start} {'+'.join(ensemble.names)}",
    )
    report("done", 1.0)
    return TrainedModel(registered, evaluation, thresholds, difference, heir)


def prepare(config: TrainConfig, transactions: pd.DataFrame) -> Prepared:
    """Features of the rows that training looks at; ValueError unless training and test days hold frauds.

    Genuine training rows are thinned before their features are worked out, test rows never.
    """
    final = protocol.split(config.protocol, transactions)
    folds = [protocol.split(p, transactions) for p in config.protocol.folds(config.search.folds)]
    y = transactions["is_fraud"].to_numpy(np.int64)
    for name, mask in (("training", final.train), ("test", final.test)):
        if not 0 < y[mask].sum() < mask.sum():
            raise ValueError(
                f"the {name} days need genuine and fraudulent transactions, of {mask.sum()} rows"
            )
    weight = np.zeros(len(y))
    days = np.flatnonzero(final.train)
    kept = resampling.undersample(y[days], keep=config.keep, rng=np.random.default_rng(config.seed))
    weight[days[kept.rows]] = kept.weight
    learn = weight > 0
    used = np.logical_or.reduce([learn, final.test, *(fold.test for fold in folds)])
    data = dataset.build(config.service, transactions, label_delay=config.protocol.label_delay, rows=used)
    table = Table(
        X=data.X.astype(np.float32),
        y=data.y,
        weight=weight[used],
        cards=data.frame["customer_id"].to_numpy(np.int64),
        day=protocol.days(data.frame["event_ts"]),
    )

    def among_used(split: Split) -> Split:
        return Split((split.train & learn)[used], split.test[used])

    return Prepared(table, tuple(among_used(fold) for fold in folds), among_used(final))


def fit(data: Prepared, chosen: Selection, config: TrainConfig) -> tuple[Ensemble, tuple[Member, ...]]:
    """The ensemble fitted on all training days, and the members that were compared but not taken."""
    lead = selection.fit_lead(data.table, data.final.train, chosen.candidate, config.seed)
    others: tuple[Member, ...] = ()
    if config.search.compare_members or len(chosen.served) > 1:
        others = selection.fit_others(data.table, data.final.train, config.seed)
    by_name = {member.name: member for member in (lead, *others)}
    served = tuple(by_name.pop(name) for name in chosen.served)
    return Ensemble(served, chosen.calibration), tuple(by_name.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the fraud model, on simulated transactions unless a file of them is given."""
    parser = argparse.ArgumentParser(prog="python -m plinth_pipelines.fraud.train", description=main.__doc__)
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("PLINTH_MLFLOW_URL", "http://127.0.0.1:5000"),
        help="MLflow server (%(default)s); also PLINTH_MLFLOW_URL",
    )
    parser.add_argument("--transactions", type=Path, help="parquet file with the columns of the simulation")
    parser.add_argument("--features", type=Path, default=Path("feature_repo/compiled/fraud.json"))
    parser.add_argument("--test-start", type=date.fromisoformat, default=Protocol().test_start)
    parser.add_argument("--train-days", type=int, default=TRAIN_DAYS)
    parser.add_argument("--alias", default=tracking.ALIAS, help="which one is moved to the new version")
    parser.add_argument("--force", action="store_true", help="move it even from a better version")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice of the run")
    parser.add_argument("--quick", action="store_true", help="take the chosen parameters, select nothing")
    options = parser.parse_args(arguments)
    source = str(options.transactions) if options.transactions else "simulate"
    config = TrainConfig(
        service=spec.load(options.features),
        protocol=Protocol(test_start=options.test_start, train_days=options.train_days),
        search=QUICK if options.quick else FULL,
        seed=options.seed,
        alias=options.alias,
        force=options.force,
        source=source,
        source_config={} if options.transactions else msgspec.to_builtins(asdict(PUBLISHED)),
    )
    console = terminal.console()
    try:
        tracking.check(options.tracking_uri)
        with terminal.quiet(), terminal.steps(console) as step:
            read = step("transactions: read" if options.transactions else "transactions: generate six months")
            table = pd.read_parquet(options.transactions) if options.transactions else simulate(progress=read)
            read(1.0)
            report = step("model: train, evaluate, register")
            trained = run(
                options.tracking_uri, table, config=config, progress=lambda doing, share: report(share, doing)
            )
    except (PipelineError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    console.print(train_view.table(trained, options.alias))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
