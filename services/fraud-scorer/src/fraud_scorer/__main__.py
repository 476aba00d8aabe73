"""`python -m fraud_scorer api | worker | recorder | migrate`."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial

import httpx
import uuid_utils
from prometheus_client import CollectorRegistry

from fraud_scorer import app, cases_api, policy_file
from fraud_scorer.cases import Cases
from fraud_scorer.consumer import TOPIC, TransactionHandler
from fraud_scorer.core.answer import Answers
from fraud_scorer.ledger import Ledger
from fraud_scorer.metrics import CaseMetrics, LabelMetrics, ScorerMetrics
from fraud_scorer.recorder import CaseWatch, RecordHandler, Teller
from fraud_scorer.registry import ModelSource, Registry
from fraud_scorer.service import FraudScorer
from fraud_scorer.settings import ScorerSettings
from fraud_scorer.store import RedisState
from plinth_features import spec
from plinth_features.rows import warm
from plinth_kit import http, logs, metrics, redis, server
from plinth_kit.auth import KeyRing
from plinth_kit.health import Health, in_background
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.metrics import PrometheusObserver, measure_outbox
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.kafka.runner import Runner
from plinth_kit.settings import load
from plinth_kit.worker import run_worker

SERVICE = "fraud-scorer"
FLUSH_SECONDS = 0.5
REDIS_SECONDS = {"api": 0.3, "worker": 1.0}
"""So long Redis may take before rules decide alone: a caller of the API waits, a stream waits less badly."""
PATIENCE_MS = {"worker": 10, "recorder": 250}


def now() -> datetime:
    """Wall clock, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: sorts by time."""
    return str(uuid_utils.uuid7())


def main(role: str) -> int:
    """Run one role until stopped, or until the schema is up to date; the exit status."""
    settings = load(ScorerSettings)
    logs.configure(f"{SERVICE}-{role}", settings.log_level)
    if role == "migrate":
        Ledger(settings.postgres_url).migrate_when_there()
        return 0
    registry = metrics.registry()
    broker = KafkaBroker(
        settings.kafka_bootstrap,
        f"{SERVICE}-{role}",
        settings.kafka_instance_id,
        patience_ms=PATIENCE_MS.get(role, 0),
    )
    if role == "recorder":
        return record(settings, registry, broker)
    health = Health()
    features = spec.load(settings.feature_spec)
    judge = policy_file.judge(
        settings.policy_file, features.names, settings.let_through_key.get_secret_value().encode()
    )
    warm()
    client = redis.connect(settings.redis_url, timeout=REDIS_SECONDS[role])
    mlflow = Registry(httpx.Client(base_url=settings.mlflow_url, timeout=10))
    aliases = settings.model_alias, settings.shadow_prefix
    models = ModelSource(mlflow, settings.model_name, *aliases, features, settings.state_dir)
    models.run(settings.model_poll_seconds)
    health.add_degraded("redis", redis.check(client))
    health.add_degraded("model", models.missing)
    state = RedisState(client, features, settings.decision_ttl_seconds)
    scorer = FraudScorer(features, judge, state, time.time)
    scored = ScorerMetrics(registry, "kafka" if role == "worker" else "http")
    if role == "worker":
        handler = TransactionHandler(scorer, lambda: models.serving, features.names, scored, now)
        observer = PrometheusObserver(registry)
        runner = Runner(broker, SERVICE, [TOPIC], handler, batch_size=settings.batch_size, observer=observer)
        return run_worker(runner, settings, registry=registry, health=health, on_stop=models.stop)
    outbox = Outbox(
        broker,
        settings.state_dir / "outbox",
        flush_seconds=FLUSH_SECONDS,
        max_bytes=settings.outbox_max_bytes,
    )
    measure_outbox(outbox, registry)
    health.add_degraded("kafka", outbox.note)
    outbox.start()
    ledger = Ledger(settings.postgres_url)
    health.add_degraded("postgres", in_background(ledger.check))
    decider = app.Decider(scorer, lambda: models.serving, outbox, scored, features.names, now)
    cases, judged = Cases(ledger, settings.case_policy, new_id), LabelMetrics(registry)
    case_routes = cases_api.router(cases, partial(app.publish, outbox), CaseMetrics(registry), judged, now)
    application = http.build(
        service=SERVICE,
        settings=settings,
        health=health,
        registry=registry,
        keyring=KeyRing.load(settings.api_keys_file),
        hot=app.hot_routes(decider, Answers(judge, len(features.request))),
        api=app.api(ledger, outbox, judged, [case_routes]),
    )

    def stop() -> None:
        models.stop()
        outbox.stop()

    server.serve(application, settings, on_stop=stop)
    return 0


def record(settings: ScorerSettings, registry: CollectorRegistry, broker: KafkaBroker) -> int:
    """Run the recorder."""
    ledger = Ledger(settings.postgres_url)
    health = Health()
    health.add("postgres", ledger.check)
    threading.Thread(target=ledger.migrate_when_there, name="migration", daemon=True).start()
    cases, case_metrics = Cases(ledger, settings.case_policy, new_id), CaseMetrics(registry)
    handler = RecordHandler(ledger, LabelMetrics(registry), cases, case_metrics, now)
    watch = CaseWatch(cases, case_metrics, Teller(broker), now)
    watch.start(health)
    runner = Runner(
        broker,
        f"{SERVICE}-recorder",
        handler.topics,
        handler,
        batch_size=2000,
        observer=PrometheusObserver(registry),
    )

    return run_worker(runner, settings, registry=registry, health=health, on_stop=watch.stop)


if __name__ == "__main__":
    roles = ("api", "worker", "recorder", "migrate")
    if len(sys.argv) != 2 or sys.argv[1] not in roles:
        sys.exit(f"usage: python -m fraud_scorer {' | '.join(roles)}")
    sys.exit(main(sys.argv[1]))
