"""The demonstration: history, model, two weeks of live transactions, and what came of it.

`python -m plinth_pipelines.fraud.demo` runs it against a platform that is up; `plinth demo` starts one first.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pandas as pd
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from plinth_features import spec
from plinth_kit import redis
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.settings import load
from plinth_pipelines import features, terminal
from plinth_pipelines.errors import PipelineError
from plinth_pipelines.fraud import (
    backfill,
    demo_view,
    effect,
    protocol,
    replay,
    simulate,
    stream,
    tracking,
    train,
    train_view,
)
from plinth_pipelines.fraud.freshness import Freshness
from plinth_pipelines.fraud.selection import FULL, QUICK, Search
from plinth_pipelines.fraud.watch import Watch
from plinth_pipelines.settings import PipelineSettings
from plinth_pipelines.terminal import Report

DELAY = timedelta(days=7)
START = datetime(2018, 8, 1, tzinfo=UTC)
DAYS = 14
READY_TIMEOUT_S = 120.0


class Plan(NamedTuple):
    """Days of transactions from START, at stream seconds per second (0: as fast as they are decided)."""

    days: int = DAYS
    speed: float = 0.0


def run(settings: PipelineSettings, plan: Plan, console: Console, *, started: float) -> None:
    """Run every step and print the summary. `started` is time.monotonic() of the command's start.

    The console must name its file, because what libraries print meanwhile is kept back.
    """
    with terminal.quiet(), terminal.steps(console) as step:
        service = _apply_features(settings, step("features: register and compile"))
        frame = _transactions(settings.state_dir, step("transactions: generate six months"))
        _train(settings, service, frame, step("model: train, evaluate, register"))
        _backfill(settings, service, frame, step("feature rows: backfill history"))
        report = step("fraud scorer: load the model")
        for share, url in ((0.5, settings.scorer_url), (1.0, settings.scorer_worker_url)):
            _wait_until_complete(url)
            report(share)
    end = START + timedelta(days=plan.days)
    items = stream.merged(frame, start=START, end=end, delay=DELAY)
    total = int(((frame["event_ts"] >= START) & (frame["event_ts"] < end)).sum())
    broker = KafkaBroker(settings.kafka_bootstrap, "replay")
    with demo_view.watching(console, total) as observe:
        watch = replay.replay(
            broker,
            items,
            speed=plan.speed,
            behind=Freshness(settings.engine_url).behind,
            observe=observe,
        )
    console.print(demo_view.table(watch, total, time.monotonic()))
    found = effect.effect(frame, watch.outcome_of)
    console.print(
        demo_view.effect_table(found, watch.let_through, _cases_opened(settings.scorer_recorder_url))
    )
    console.print(demo_view.summary(watch, _detection(frame, watch), started))


def train_only(settings: PipelineSettings, console: Console, *, quick: bool, alias: str, force: bool) -> None:
    """Select, train, evaluate and register a new version under the alias; quick: without selection.

    force: even where the version that has the alias is better.
    """
    tracking.check(settings.mlflow_url)
    service = spec.load(features.compiled_path(settings.feature_repo, "fraud"))
    with terminal.quiet(), terminal.steps(console) as step:
        frame = _transactions(settings.state_dir, step("transactions: generate six months"))
        report = step("model: train, evaluate, register")
        trained = train.run(
            settings.mlflow_url,
            frame,
            config=_config(service, QUICK if quick else FULL, alias, force=force),
            progress=lambda doing, share: report(share, doing),
        )
    console.print(train_view.table(trained, alias))


def _apply_features(settings: PipelineSettings, report: Report) -> spec.FeatureService:
    """Register the declarations; the services read the compiled form that is committed beside them."""
    services = {
        service.name: service for service in features.apply(settings.feature_repo, settings.state_dir)
    }
    report(0.9)
    served = spec.load(features.compiled_path(settings.feature_repo, "fraud"))
    if served != services["fraud"]:
        raise PipelineError("feature_repo/compiled is out of date: run python -m plinth_pipelines.features")
    report(1.0)
    return served


def _transactions(state: Path, report: Report) -> pd.DataFrame:
    """The six simulated months, generated once and kept in the cache."""
    path = state / "cache" / "fraud-transactions.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        simulate.simulate(progress=lambda share: report(0.95 * share)).to_parquet(partial)
        partial.rename(path)
    frame = pd.read_parquet(path)
    report(1.0)
    return frame


def _train(
    settings: PipelineSettings, service: spec.FeatureService, frame: pd.DataFrame, report: Report
) -> None:
    if not tracking.is_served(
        settings.mlflow_url, train.TrainConfig(service).model_name, service.fingerprint
    ):
        train.run(
            settings.mlflow_url,
            frame,
            config=_config(service, QUICK, tracking.ALIAS),
            progress=lambda doing, share: report(share, doing),
        )
    report(1.0)


def _config(
    service: spec.FeatureService, search: Search, alias: str, *, force: bool = False
) -> train.TrainConfig:
    return train.TrainConfig(
        service,
        search=search,
        alias=alias,
        force=force,
        source="plinth_pipelines.fraud.simulate",
        source_config=asdict(simulate.PUBLISHED),
    )


def _backfill(
    settings: PipelineSettings, service: spec.FeatureService, frame: pd.DataFrame, report: Report
) -> None:
    client = redis.connect(settings.redis_url, timeout=10.0)
    for done, view in enumerate(service.views, start=1):
        backfill.write(client, backfill.rows_at(replace(service, views=(view,)), frame, DELAY, START))
        report(done / len(service.views))
    report(1.0)


def _wait_until_complete(url: str) -> None:
    """Until a scorer is ready and lacks nothing: without a model it would let rules decide."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    answer = "no answer"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"{url}/readyz", timeout=5)
            if response.status_code == httpx.codes.OK and "degraded" not in response.json():
                return
            answer = response.text
        except httpx.TransportError as error:
            answer = str(error)
        time.sleep(0.2)
    raise PipelineError(f"the fraud scorer at {url} is not ready after {READY_TIMEOUT_S:.0f} s: {answer}")


def _cases_opened(url: str) -> int:
    """Cases that the recorder has opened since it started."""
    page = httpx.get(f"{url}/metrics", timeout=10).raise_for_status().text
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return round(sum(sample.value for sample in samples if sample.name == "plinth_fraud_cases_opened_total"))


def _detection(frame: pd.DataFrame, watch: Watch) -> protocol.Evaluation | None:
    """The published protocol on the scores seen in Kafka; None unless the test days were replayed."""
    test = protocol.split(protocol.Protocol(), frame).test
    rows = frame[test]
    scores = rows["transaction_id"].astype(str).map(watch.scores)
    if scores.isna().any():
        return None
    return protocol.evaluate(
        scores.to_numpy(dtype=np.float64),
        rows["is_fraud"].to_numpy(dtype=np.int64),
        rows["customer_id"].to_numpy(dtype=np.int64),
        protocol.days(rows["event_ts"]),
    )


def main() -> int:
    """Run against the platform that the environment names."""
    run(load(PipelineSettings), Plan(), terminal.console(), started=time.monotonic())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
