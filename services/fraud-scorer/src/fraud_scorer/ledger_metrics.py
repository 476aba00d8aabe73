"""Every metric of labels and cases, and its name."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fraud_scorer.case_rows import Tally
from fraud_scorer.core.cases import TIERS, Case, Resolution, Status
from fraud_scorer.ledger import Judged
from plinth_contracts.events import Outcome

RESOLUTION_BUCKETS = (300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0)


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
