"""The roles that decide: `api` and `worker`."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import NamedTuple

import httpx

from fraud_scorer import app, cases_api, policy_file, start
from fraud_scorer.cases import Cases
from fraud_scorer.consumer import TOPIC, TransactionHandler
from fraud_scorer.core.answer import Answers
from fraud_scorer.core.policy import Judge
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.records import SERVICE
from fraud_scorer.registry import ModelSource, Registry
from fraud_scorer.service import FraudScorer
from fraud_scorer.settings import ApiSettings, ScorerSettings, WorkerSettings
from fraud_scorer.store import RedisState
from plinth_features import spec
from plinth_features.rows import warm
from plinth_features.spec import FeatureService
from plinth_kit import http, metrics, redis, server
from plinth_kit.auth import KeyRing
from plinth_kit.health import Health, in_background
from plinth_kit.kafka.metrics import PrometheusObserver, measure_outbox
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.kafka.runner import Runner
from plinth_kit.settings import SettingsError, load
from plinth_kit.worker import run_worker

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
API_REDIS_SECONDS, WORKER_REDIS_SECONDS = 0.3, 1.0
"""So long Redis may take before rules decide alone: a caller of the API waits, a stream waits less badly."""
POSTGRES_SECONDS = 5.0
"""So long one query of a caller may wait for a Postgres that hangs."""
PATIENCE_MS = 10
"""Of the worker, for a batch to fill."""


class Scoring(NamedTuple):
    """What deciding needs, the same in both roles."""

    features: FeatureService
    judge: Judge
    models: ModelSource
    scorer: FraudScorer


def worker() -> int:
    """Decide what comes from Kafka until stopped; the exit status."""
    settings = load(WorkerSettings)
    start.log("worker", settings)
    registry, health = metrics.registry(), Health()
    broker = start.broker("worker", settings, PATIENCE_MS)
    features, _, models, scorer = _scoring(settings, health, WORKER_REDIS_SECONDS)
    scored = ScorerMetrics(registry, "kafka")
    handler = TransactionHandler(scorer, lambda: models.serving, features.names, scored, start.now)
    observer = PrometheusObserver(registry)
    runner = Runner(broker, SERVICE, [TOPIC], handler, batch_size=settings.batch_size, observer=observer)
    return run_worker(runner, settings, registry=registry, health=health, on_stop=models.stop)


def api() -> int:
    """Decide what comes over HTTP, and serve the other routes, until stopped; the exit status."""
    settings = load(ApiSettings)
    start.log("api", settings)
    registry, health = metrics.registry(), Health()
    broker = start.broker("api", settings)
    features, judge, models, scorer = _scoring(settings, health, API_REDIS_SECONDS)
    outbox = Outbox(
        broker,
        settings.state_dir / "outbox",
        flush_seconds=FLUSH_SECONDS,
        max_bytes=settings.outbox_max_bytes,
    )
    measure_outbox(outbox, registry)
    health.add_degraded("kafka", outbox.note)
    outbox.start()
    ledger = Ledger(settings.postgres_url, POSTGRES_SECONDS)
    health.add_degraded("postgres", in_background(ledger.check))
    scored = ScorerMetrics(registry, "http")
    decider = app.Decider(scorer, lambda: models.serving, outbox, scored, features.names, start.now)
    cases, judged = Cases(ledger, settings.case_policy, start.new_id), LabelMetrics(registry)
    publish = partial(app.publish, outbox)
    case_routes = cases_api.router(cases, publish, CaseMetrics(registry), judged, start.now)
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


def _let_through_key(settings: ScorerSettings) -> bytes:
    if settings.let_through_key_file is None:
        logger.warning("PLINTH_LET_THROUGH_KEY_FILE is not set: callers can choose ids that chance lets pass")
        return b""
    try:
        return settings.let_through_key_file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"PLINTH_LET_THROUGH_KEY_FILE: {error}") from error


def _scoring(settings: ScorerSettings, health: Health, redis_seconds: float) -> Scoring:
    """Features, policy, models and state of a role; what may be missing is added to its health."""
    features = spec.load(settings.feature_spec)
    judge = policy_file.judge(settings.policy_file, features.names, _let_through_key(settings))
    warm()
    client = redis.connect(settings.redis_url, timeout=redis_seconds)
    mlflow = Registry(httpx.Client(base_url=settings.mlflow_url, timeout=10))
    aliases = settings.model_alias, settings.shadow_prefix
    models = ModelSource(mlflow, settings.model_name, *aliases, features, settings.state_dir)
    models.run(settings.model_poll_seconds)
    health.add_degraded("redis", redis.check(client))
    health.add_degraded("model", models.missing)
    state = RedisState(client, features, settings.decision_ttl_seconds)
    return Scoring(features, judge, models, FraudScorer(features, judge, state, time.time))
