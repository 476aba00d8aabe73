"""Every metric of the fraud scorer and its name."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fraud_scorer.ledger import Judged
from fraud_scorer.service import Decided
from plinth_contracts.events import Outcome

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
SCORE_BUCKETS = tuple(step / 20 for step in range(1, 21))


class ScorerMetrics:
    """Metrics of one process; `path` is http or kafka."""

    def __init__(self, registry: CollectorRegistry, path: str) -> None:
        decisions = Counter(
            "plinth_fraud_decisions_total",
            "Transactions decided, each once, by outcome.",
            ["path", "outcome"],
            registry=registry,
        )
        self._decisions = {outcome: decisions.labels(path, outcome.value) for outcome in Outcome}
        self._duplicates = Counter(
            "plinth_fraud_duplicates_total",
            "Transactions that had been decided before and got the same answer.",
            ["path"],
            registry=registry,
        ).labels(path)
        self._latency = Histogram(
            "plinth_fraud_decision_seconds",
            "Time from arrival (in Kafka: from the producer's timestamp) to decision.",
            ["path"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        ).labels(path)
        self._score = Histogram(
            "plinth_fraud_score", "Scores given.", buckets=SCORE_BUCKETS, registry=registry
        )
        self._model = Gauge(
            "plinth_fraud_model_version", "Version of the model that is served.", registry=registry
        )

    def decided(self, batch: Sequence[Decided], version: str) -> None:
        """Count a batch. What had been decided before is not counted again."""
        for one in batch:
            if one.duplicate:
                self._duplicates.inc()
                continue
            self._decisions[one.decision.outcome].inc()
            self._latency.observe(one.decision.latency_ms / 1000)
            self._score.observe(one.decision.score)
        if version.isdigit():
            self._model.set(int(version))


class LabelMetrics:
    """How decisions turned out, as labels mature."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._labels = Counter(
            "plinth_fraud_labels_total",
            "First labels of transactions, by the outcome that was decided (none: not decided here).",
            ["outcome", "fraud"],
            registry=registry,
        )
        self._amount = Counter(
            "plinth_fraud_labelled_amount_minor_total",
            "Amount of those transactions in minor units.",
            ["outcome", "fraud"],
            registry=registry,
        )

    def judged(self, labels: Sequence[Judged]) -> None:
        """Count new labels."""
        for label in labels:
            names = (label.outcome or "none", "true" if label.label >= 0.5 else "false")
            self._labels.labels(*names).inc()
            self._amount.labels(*names).inc(label.amount_minor or 0)
