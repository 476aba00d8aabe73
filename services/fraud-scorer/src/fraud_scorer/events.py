"""What a decided batch puts on Kafka. Ids derive from the decision, so that consumers recognise a repeat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fraud_scorer.core.decision import alert_raised, decision_made, prediction_logged
from fraud_scorer.service import Decided
from plinth_contracts import codec
from plinth_contracts.events import Event
from plinth_kit.kafka.message import Outgoing

SERVICE = "fraud-scorer"
Extra = Iterable[tuple[str, bytes]]


def outgoing(decided: Decided, model: str, names: Sequence[str], extra: Extra = ()) -> list[Outgoing]:
    """Prediction record, decision and, for a block, an alert; all keyed by the customer."""
    decision, transaction = decided.decision, decided.transaction
    events: list[Event | None] = [
        prediction_logged(decision, transaction, model, names),
        decision_made(decision, transaction),
        alert_raised(decision, transaction),
    ]
    key = transaction.customer_id.encode()
    return [
        message(event, key, decision.decision_id, decision.known_ts, extra)
        for event in events
        if event is not None
    ]


def message(event: Event, key: bytes, event_id: str, time: datetime, extra: Extra = ()) -> Outgoing:
    """One event as a Kafka record."""
    topic = codec.topic_of(type(event))
    headers = codec.headers(topic, event_id=event_id, source=SERVICE, time=time, extra=extra)
    return Outgoing(topic, key, codec.encode(event), headers)
