"""Every metric of the fraud scorer and its name."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fraud_scorer.case_rows import Tally
from fraud_scorer.core.cases import TIERS, Case, Resolution, Status
from fraud_scorer.core.decision import CHAMPION
from fraud_scorer.ledger import Judged
from fraud_scorer.service import Batch, Serving
from plinth_contracts.events import Outcome
from plinth_kit.metrics import BatchHistogram

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
RESOLUTION_BUCKETS = (300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0)
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


class LabelMetrics:
    """How decisions turned out, as labels mature."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"plinth_fraud_{name}_total", text, labels, registry=registry)

        self._labels = counter(
            "labels",
            "First labels of transactions, by the outcome that was decided (none: no decision is recorded; "
            "such a label counts once more, under its outcome, when its decision is).",
            "outcome",
            "fraud",
        )
        self._amount = counter(
            "labelled_amount_minor", "Amount of those transactions in minor units.", "outcome", "fraud"
        )
        self._blocked = counter(
            "blocked_estimated",
            "Transactions blocked or let through by chance, estimated from labels of the latter "
            "(each counts 1 / propensity).",
            "fraud",
        )
        self._blocked_amount = counter(
            "blocked_estimated_amount_minor", "Amount of those transactions in minor units.", "fraud"
        )
        # Each starts at 0, so that the first labels already are an increase.
        for fraud in ("true", "false"):
            self._blocked.labels(fraud)
            self._blocked_amount.labels(fraud)
            for outcome in (*Outcome, "none"):
                self._labels.labels(outcome, fraud)
                self._amount.labels(outcome, fraud)

    def judged(self, labels: Sequence[Judged]) -> None:
        """Count new labels."""
        for label in labels:
            fraud, amount = "true" if label.label >= 0.5 else "false", label.amount_minor or 0
            self._labels.labels(label.outcome or "none", fraud).inc()
            self._amount.labels(label.outcome or "none", fraud).inc(amount)
            if label.let_through and label.propensity:
                self._blocked.labels(fraud).inc(1 / label.propensity)
                self._blocked_amount.labels(fraud).inc(amount / label.propensity)


class CaseMetrics:
    """Investigation cases: the recorder opens them and knows how many wait, the API resolves them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._opened = Counter(
            "plinth_fraud_cases_opened_total",
            "Cases opened, by the tier that they were opened at.",
            ["tier"],
            registry=registry,
        )
        self._resolved = Counter(
            "plinth_fraud_cases_resolved_total",
            "Cases resolved, by what they turned out to be.",
            ["resolution"],
            registry=registry,
        )
        self._seconds = Histogram(
            "plinth_fraud_case_resolution_seconds",
            "Time from opening a case to its resolution.",
            buckets=RESOLUTION_BUCKETS,
            registry=registry,
        )
        self._open = Gauge(
            "plinth_fraud_cases_open",
            "Cases that are not resolved; every recorder reports the same.",
            ["status", "tier"],
            registry=registry,
        )
        self._overdue = Gauge(
            "plinth_fraud_cases_overdue",
            "Cases past their deadline; every recorder reports the same.",
            ["tier"],
            registry=registry,
        )
        for tier in TIERS:
            self._opened.labels(tier)
        for resolution in Resolution:
            self._resolved.labels(resolution)

    def opened(self, cases: Sequence[Case]) -> None:
        """Count new cases."""
        for case in cases:
            self._opened.labels(case.tier).inc()

    def resolved(self, case: Case) -> None:
        """Count a case that was just resolved."""
        if case.resolution is not None and case.resolved_ts is not None:
            self._resolved.labels(case.resolution.value).inc()
            self._seconds.observe((case.resolved_ts - case.opened_ts).total_seconds())

    def backlog(self, tallies: Sequence[Tally]) -> None:
        """Report how many cases wait; what is not in the tallies is none."""
        found = {(tally.status, tally.tier): tally for tally in tallies}
        for tier in TIERS:
            overdue = 0
            for status in (Status.OPEN, Status.INVESTIGATING):
                tally = found.get((status, tier))
                self._open.labels(status.value, tier).set(tally.cases if tally else 0)
                overdue += tally.overdue if tally else 0
            self._overdue.labels(tier).set(overdue)
