"""What a decided batch puts on Kafka. Ids derive from the decision, so that consumers recognise a repeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fraud_scorer.core.decision import alert_raised, decision_made, prediction_logs
from fraud_scorer.records import Extra, message
from fraud_scorer.service import Decided
from plinth_contracts.events import TransactionReceived
from plinth_kit.kafka.message import Outgoing

OTHER_PAYMENT = "this id was decided before, for another customer, terminal, amount, currency or time"
DECIDED = ("plinth_decided", b"1")
"""Header of a transaction whose decision is in the log already: nobody needs to decide it."""


def outgoing(decided: Decided, names: Sequence[str], extra: Extra = ()) -> list[Outgoing]:
    """The decision, its prediction records and, for a block, an alert; all keyed by the customer."""
    decision, transaction = decided.decision, decided.transaction
    key, time = transaction.customer_id.encode(), decision.known_ts
    out = [message(decision_made(decision, transaction), key, decision.decision_id, time, extra)]
    for record in prediction_logs(decision, transaction, names):
        out.append(message(record, key, f"prediction-{record.prediction_id}", time, extra))
    alert = alert_raised(decision, transaction)
    if alert is not None:
        out.append(message(alert, key, alert.alert_id, time, extra))
    return out


def received(transaction: TransactionReceived, known_ts: datetime, extra: Extra = ()) -> Outgoing:
    """A transaction that came over HTTP and is decided."""
    key, event_id = transaction.customer_id.encode(), transaction.transaction_id
    return message(transaction, key, event_id, known_ts, (DECIDED, *extra))
