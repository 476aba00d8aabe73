"""The roles that keep the ledger: `recorder` and `migrate`. They need neither Redis nor a model."""

from __future__ import annotations

import threading

from fraud_scorer import start
from fraud_scorer.cases import Cases
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.recorder import CaseWatch, RecordHandler, Teller
from fraud_scorer.records import SERVICE
from fraud_scorer.settings import LedgerSettings, RecorderSettings
from plinth_kit import metrics
from plinth_kit.health import Health, in_background
from plinth_kit.kafka.metrics import PrometheusObserver
from plinth_kit.kafka.runner import Runner
from plinth_kit.settings import load
from plinth_kit.worker import run_worker

PATIENCE_MS = 250
BATCH_SIZE = 2000
POSTGRES_SECONDS = 20.0
"""So long a Postgres that hangs may keep a batch; then the batch waits, and the loop turns."""


def migrate() -> int:
    """Bring the schema up to date as soon as the database answers; the exit status."""
    settings = load(LedgerSettings)
    start.log("migrate", settings)
    Ledger(settings.postgres_url).migrate_when_there()
    return 0


def recorder() -> int:
    """Run the recorder until stopped; the exit status."""
    settings = load(RecorderSettings)
    start.log("recorder", settings)
    registry = metrics.registry()
    broker = start.broker("recorder", settings, PATIENCE_MS)
    ledger = Ledger(settings.postgres_url, POSTGRES_SECONDS)
    health = Health()
    health.add("postgres", in_background(ledger.check))
    threading.Thread(target=ledger.migrate_when_there, name="migration", daemon=True).start()
    cases, case_metrics = Cases(ledger, settings.case_policy, start.new_id), CaseMetrics(registry)
    handler = RecordHandler(ledger, LabelMetrics(registry), cases, case_metrics, start.now)
    watch = CaseWatch(cases, case_metrics, Teller(broker), start.now)
    watch.start(health)
    runner = Runner(
        broker,
        f"{SERVICE}-recorder",
        handler.topics,
        handler,
        batch_size=BATCH_SIZE,
        observer=PrometheusObserver(registry),
    )
    return run_worker(runner, settings, registry=registry, health=health, on_stop=watch.stop)
