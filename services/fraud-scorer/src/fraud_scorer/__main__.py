"""`python -m fraud_scorer api | worker | recorder`."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime

import httpx
import uuid_utils
from prometheus_client import CollectorRegistry

from fraud_scorer import app
from fraud_scorer.consumer import TOPIC, TransactionHandler
from fraud_scorer.ledger import Ledger
from fraud_scorer.metrics import LabelMetrics, ScorerMetrics
from fraud_scorer.model import ModelSource, Registry
from fraud_scorer.recorder import RecordHandler
from fraud_scorer.service import FraudScorer
from fraud_scorer.settings import ScorerSettings
from fraud_scorer.store import RedisState
from plinth_features import spec
from plinth_kit import http, logs, metrics, redis, server
from plinth_kit.auth import KeyRing
from plinth_kit.health import Health
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.metrics import PrometheusObserver
from plinth_kit.kafka.runner import Runner
from plinth_kit.settings import load
from plinth_kit.worker import run_worker

SERVICE = "fraud-scorer"


def now() -> datetime:
    """Wall clock, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: sorts by time."""
    return str(uuid_utils.uuid7())


def main(role: str) -> int:
    """Run one role until stopped; the exit status."""
    settings = load(ScorerSettings)
    logs.configure(f"{SERVICE}-{role}", settings.log_level)
    registry = metrics.registry()
    broker = KafkaBroker(settings.kafka_bootstrap, f"{SERVICE}-{role}")
    if role == "recorder":
        return record(settings, registry, broker)
    health = Health()
    features = spec.load(settings.feature_spec)
    client = redis.connect(settings.redis_url)
    health.add("redis", redis.check(client))
    mlflow = Registry(httpx.Client(base_url=settings.mlflow_url, timeout=10))
    models = ModelSource(mlflow, settings.model_name, settings.model_alias, features, settings.state_dir)
    models.run(settings.model_poll_seconds)
    state = RedisState(client, features, settings.decision_ttl_seconds)
    scorer = FraudScorer(features, state, new_id, time.time)
    scored = ScorerMetrics(registry, "kafka" if role == "worker" else "http")
    if role == "worker":
        health.add("model", models.missing)
        handler = TransactionHandler(scorer, models, features.names, scored, settings.model_name, now)
        observer = PrometheusObserver(registry)
        runner = Runner(broker, SERVICE, [TOPIC], handler, batch_size=settings.batch_size, observer=observer)
        return run_worker(runner, settings, registry=registry, health=health)
    ledger = Ledger(settings.postgres_url)
    health.add("postgres", ledger.check)
    health.add("model", models.missing)
    log = app.EventLog(broker)
    batcher = app.Batcher(scorer, models, log, scored, features.names, settings.model_name, now)
    application = http.build(
        service=SERVICE,
        settings=settings,
        health=health,
        registry=registry,
        keyring=KeyRing.load(settings.api_keys_file),
        hot=app.hot_routes(batcher, settings.model_name),
        api=app.api(ledger, broker, LabelMetrics(registry)),
    )
    server.serve(application, settings, on_stop=models.stop)
    return 0


def record(settings: ScorerSettings, registry: CollectorRegistry, broker: KafkaBroker) -> int:
    """Run the recorder."""
    ledger = Ledger(settings.postgres_url)
    health = Health()
    health.add("postgres", ledger.check)
    threading.Thread(target=ledger.migrate_when_there, name="migration", daemon=True).start()
    handler = RecordHandler(ledger, LabelMetrics(registry))
    runner = Runner(
        broker,
        f"{SERVICE}-recorder",
        handler.topics,
        handler,
        batch_size=2000,
        observer=PrometheusObserver(registry),
    )
    return run_worker(runner, settings, registry=registry, health=health)


if __name__ == "__main__":
    roles = ("api", "worker", "recorder")
    if len(sys.argv) != 2 or sys.argv[1] not in roles:
        sys.exit(f"usage: python -m fraud_scorer {' | '.join(roles)}")
    sys.exit(main(sys.argv[1]))
