"""Every metric of deciding, and its name."""

from __future__ import annotations

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge

from fraud_scorer.core.decision import CHAMPION
from fraud_scorer.service import Batch, Serving
from plinth_contracts.events import Outcome
from plinth_kit.metrics import BatchHistogram

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
SCORE_BUCKETS = tuple(step / 20 for step in range(1, 21))


class ScorerMetrics:
    """Metrics of one process; `path` is http or kafka."""

    def __init__(self, registry: CollectorRegistry, path: str) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"plinth_fraud_{name}_total", text, labels, registry=registry)

        decisions = counter("decisions", "Transactions decided, each once, by outcome.", "path", "outcome")
        self._decisions = {outcome: decisions.labels(path, outcome.value) for outcome in Outcome}
        duplicates = "Transactions that had been decided before and got the same answer."
        self._duplicates = counter("duplicates", duplicates, "path").labels(path)
        self._degraded = counter("degraded", "Decisions made without features or without a model.", "lacking")
        self._rules = counter("rules_fired", "Rules that fired.", "rule")
        self._let_through = counter("let_through", "Transactions to be blocked that chance let pass.")
        self._rows = counter("feature_rows_read", "Feature rows read.", "view")
        self._empty = counter("feature_rows_empty", "Feature rows read of which nothing was known.", "view")
        self._lacked = counter(
            "feature_events_lacked", "Events that rows lacked when read, added by the scorer itself.", "view"
        )
        self._ahead = counter(
            "feature_rows_ahead",
            "Transactions whose row had counted later ones already, as after a pause of the scorer.",
            "view",
        )
        for lacking in ("features", "model"):
            self._degraded.labels(lacking)
        self._latency = BatchHistogram(
            "plinth_fraud_decision_seconds",
            "Time from arrival (in Kafka: from the producer's timestamp) to decision.",
            buckets=LATENCY_BUCKETS,
            labels={"path": path},
            registry=registry,
        )
        self._score = BatchHistogram(
            "plinth_fraud_score", "Scores given.", buckets=SCORE_BUCKETS, registry=registry
        )
        self._model = Gauge(
            "plinth_fraud_model_version", "Version served under an alias.", ["alias"], registry=registry
        )
        self._stream = Gauge(
            "plinth_fraud_stream_seconds",
            "Time of the newest transaction decided, as Unix time; how far features are behind is its "
            "distance to the feature engine's.",
            registry=registry,
        )
        self._newest = 0.0
        self._served: dict[str, int] = {}

    def decided(self, batch: Batch, serving: Serving) -> None:
        """Count a batch. What had been decided before is not counted again."""
        new = [one.decision for one in batch.decided if not one.duplicate]
        self._duplicates.inc(len(batch.decided) - len(new))
        for outcome, count in Counts([decision.outcome for decision in new]).items():
            self._decisions[outcome].inc(count)
        self._latency.observe([decision.latency_ms / 1000 for decision in new])
        self._score.observe([decision.score for decision in new if decision.model is not None])
        for rule, count in Counts([rule for decision in new for rule in decision.rules]).items():
            self._rules.labels(rule).inc(count)
        for lacking, count in Counts([part for decision in new for part in decision.degraded]).items():
            self._degraded.labels(lacking).inc(count)
        self._let_through.inc(sum([decision.let_through for decision in new]))
        for view, reads in batch.reads.items():
            self._rows.labels(view).inc(reads.rows)
            self._empty.labels(view).inc(reads.empty)
            self._lacked.labels(view).inc(reads.lacked)
            self._ahead.labels(view).inc(reads.ahead)
        newest = max([one.transaction.event_ts.timestamp() for one in batch.decided], default=0.0)
        self._newest = max(self._newest, newest)
        self._stream.set(self._newest)
        self._serve(serving)

    def _serve(self, serving: Serving) -> None:
        served = {
            alias: int(model.version.version)
            for alias, model in ((CHAMPION, serving.champion), *serving.shadows)
            if model is not None and model.version.version.isdigit()
        }
        if served == self._served:
            return
        for alias in self._served.keys() - served.keys():
            self._model.remove(alias)
        for alias, version in served.items():
            self._model.labels(alias).set(version)
        self._served = served
