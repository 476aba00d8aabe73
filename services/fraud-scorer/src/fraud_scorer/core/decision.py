"""A decision as it is remembered, and the events and answers that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
from msgspec import Struct

from plinth_contracts.events import AlertRaised, DecisionMade, Outcome, PredictionLogged, TransactionReceived


class Decision(Struct, frozen=True, kw_only=True, array_like=True):
    """What was decided about one transaction. Encoded it is the record by which a repeat is recognised.

    `features` are little-endian float64 in the order of the feature service.
    """

    decision_id: str
    transaction_id: str
    outcome: Outcome
    score: float
    model_version: str
    model_digest: str
    feature_fingerprint: str
    known_ts: datetime
    latency_ms: float
    features: bytes
    degraded: tuple[str, ...] = ()

    def values(self) -> list[float]:
        """The features as numbers."""
        return [float(value) for value in np.frombuffer(self.features, dtype="<f8")]


class Answer(Struct, frozen=True, kw_only=True):
    """What the caller of the HTTP API is told."""

    decision_id: str
    transaction_id: str
    outcome: Outcome
    score: float
    model: str
    model_version: str
    features_fingerprint: str
    latency_ms: float
    duplicate: bool
    degraded: tuple[str, ...]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Decision).decode


def answer(decision: Decision, model: str, *, duplicate: bool) -> Answer:
    """The answer for a decision; `duplicate` when the transaction had been decided before."""
    return Answer(
        decision_id=decision.decision_id,
        transaction_id=decision.transaction_id,
        outcome=decision.outcome,
        score=decision.score,
        model=model,
        model_version=decision.model_version,
        features_fingerprint=decision.feature_fingerprint,
        latency_ms=decision.latency_ms,
        duplicate=duplicate,
        degraded=decision.degraded,
    )


def prediction_logged(
    decision: Decision, transaction: TransactionReceived, model: str, names: Sequence[str]
) -> PredictionLogged:
    """The prediction record of a decision."""
    return PredictionLogged(
        prediction_id=decision.decision_id,
        request_id=transaction.transaction_id,
        entity_id=transaction.customer_id,
        event_ts=transaction.event_ts,
        known_ts=decision.known_ts,
        model_name=model,
        model_version=decision.model_version,
        model_digest=decision.model_digest,
        feature_fingerprint=decision.feature_fingerprint,
        features=dict(zip(names, decision.values(), strict=True)),
        score=decision.score,
        decision=decision.outcome.value,
        latency_ms=decision.latency_ms,
        degraded=decision.degraded,
    )


def decision_made(decision: Decision, transaction: TransactionReceived) -> DecisionMade:
    """The event that a payment system waits for."""
    return DecisionMade(
        decision_id=decision.decision_id,
        transaction_id=transaction.transaction_id,
        customer_id=transaction.customer_id,
        terminal_id=transaction.terminal_id,
        amount_minor=transaction.amount_minor,
        event_ts=transaction.event_ts,
        outcome=decision.outcome,
        score=decision.score,
        degraded=decision.degraded,
    )


def alert_raised(decision: Decision, transaction: TransactionReceived) -> AlertRaised | None:
    """An alert for a blocked transaction, named after the decision so that a repeat is recognised."""
    if decision.outcome is not Outcome.BLOCK:
        return None
    return AlertRaised(
        alert_id=f"block-{decision.decision_id}",
        kind="fraud.blocked",
        severity="warning",
        entity_id=transaction.customer_id,
        summary=f"transaction {transaction.transaction_id} blocked with score {decision.score:.3f}",
        event_ts=transaction.event_ts,
        prediction_id=decision.decision_id,
    )
