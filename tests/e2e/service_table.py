"""The platform's services and what they exchange, as the end-to-end tests expect them."""

from __future__ import annotations

from typing import NamedTuple


class Service(NamedTuple):
    """A service: its row in the table of processes, what it reads and writes, what it measures."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    metrics: tuple[str, ...]


class Edge(NamedTuple):
    """A message that makes another appear: topics, and the field of each that holds the transaction's id."""

    cause: str
    effect: str
    field: str
    service: str


RUNNER = (
    "plinth_kafka_consumed_total",
    "plinth_kafka_produced_total",
    "plinth_kafka_invalid_total",
    "plinth_kafka_commits_total",
    "plinth_kafka_handler_seconds_bucket",
    "plinth_kafka_batch_messages_bucket",
    "plinth_kafka_lag_messages",
)
SCORER = (
    "plinth_fraud_decisions_total",
    "plinth_fraud_duplicates_total",
    "plinth_fraud_decision_seconds_bucket",
    "plinth_fraud_score_bucket",
    "plinth_fraud_model_version",
)
LABELS = ("plinth_fraud_labels_total", "plinth_fraud_labelled_amount_minor_total")
CASES = ("plinth_fraud_cases_opened_total", "plinth_fraud_cases_open", "plinth_fraud_cases_overdue")
PROCESS = ("process_resident_memory_bytes", "process_cpu_seconds_total")
DECIDED = ("prediction.logged", "decision.made", "alert.raised")

SERVICES = (
    Service(
        "feature-store-engine",
        ("transaction.received", "label.observed", "feature.update"),
        ("feature.update",),
        (*PROCESS, *RUNNER, "plinth_features_applied_total", "plinth_features_newest_event_seconds"),
    ),
    Service(
        "fraud-scorer-api",
        (),
        ("transaction.received", "label.observed", *DECIDED),
        (*PROCESS, *SCORER, "plinth_http_requests_total", "plinth_http_request_seconds_bucket"),
    ),
    Service("fraud-scorer-worker", ("transaction.received",), DECIDED, (*PROCESS, *RUNNER, *SCORER)),
    Service(
        "fraud-scorer-recorder",
        ("decision.made", "label.observed"),
        ("alert.raised",),
        (*PROCESS, *RUNNER, *LABELS, *CASES),
    ),
)

EDGES = (
    Edge("transaction.received", "prediction.logged", "request_id", "fraud-scorer-worker"),
    Edge("transaction.received", "decision.made", "transaction_id", "fraud-scorer-worker"),
)
