"""A decision as it is remembered, and the events and answers that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from plinth_contracts.events import AlertRaised, DecisionMade, Outcome, PredictionLogged, TransactionReceived

CHAMPION = "champion"
EXPLAINED_FEATURES = 5
"""Contributions kept of a decision: those of the largest size."""
MAX_VARIANT = 27
"""Longest alias of a shadow: with the decision's id it makes the id of a prediction."""


class Version(Struct, frozen=True, array_like=True):
    """What a model is named by: registered name, version, digest of its file, fingerprint of its features."""

    name: str
    version: str
    digest: str
    fingerprint: str


class Shadow(Struct, frozen=True, array_like=True):
    """What a model that does not decide said of the same transaction, and what it would have decided.

    `variant` is its alias.
    """

    variant: str
    model: Version
    score: float
    outcome: Outcome


class Decision(Struct, frozen=True, kw_only=True, array_like=True):
    """What was decided about one transaction. Encoded it is the record by which a repeat is recognised.

    model: what gave `score` and `members` (name, score), None where rules decided alone. rules: names
    of those that fired. features: little-endian float32 in the order of the feature service, empty where they
    could not be read. contributions: (feature, log-odds) of the largest, only of what is not approved.
    propensity: the probability of this outcome under the policy. payment: digest of what was decided about.
    logged: the transaction is known to be in the log; whoever repeats it need not be counted again.
    """

    decision_id: str
    transaction_id: str
    outcome: Outcome
    score: float
    model: Version | None
    members: tuple[tuple[str, float], ...]
    rule_score: float
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    contributions: tuple[tuple[str, float], ...]
    let_through: bool
    propensity: float
    policy: str
    known_ts: datetime
    latency_ms: float
    features: bytes
    shadows: tuple[Shadow, ...] = ()
    degraded: tuple[str, ...] = ()
    payment: bytes = b""
    logged: bool = False

    def values(self) -> list[float]:
        """The features as numbers."""
        values: list[float] = np.frombuffer(self.features, dtype="<f4").tolist()
        return values


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Decision).decode


def decision_id(transaction_id: str, event_ms: int) -> str:
    """A UUIDv7 (RFC 9562) that sorts by event time and is the same whenever this transaction is decided.

    So a transaction that is decided twice, because what remembers decisions was away, has one decision id.
    """
    digest = hashlib.blake2b(transaction_id.encode(), digest_size=10, person=b"decision").hexdigest()
    time = f"{event_ms & 0xFFFF_FFFF_FFFF:012x}"
    variant = "89ab"[int(digest[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"


def payment_digest(transaction: TransactionReceived, event_ms: int) -> bytes:
    """Digest of whose payment it is, where, when and of how much."""
    what = (transaction.customer_id, transaction.terminal_id, transaction.amount_minor, event_ms)
    return hashlib.blake2b(f"{what} {transaction.currency}".encode(), digest_size=8).digest()


def prediction_logs(
    decision: Decision, transaction: TransactionReceived, names: Sequence[str]
) -> list[PredictionLogged]:
    """The prediction records of a decision: the model's, then one of each shadow. None without a model."""
    if decision.model is None:
        return []
    features = dict(zip(names, decision.values(), strict=True))
    logs = [_prediction(decision, transaction, decision.model, features)]
    for shadow in decision.shadows:
        log = _prediction(decision, transaction, shadow.model, features)
        logs.append(
            replace(
                log,
                prediction_id=f"{decision.decision_id}.{shadow.variant}",
                variant=shadow.variant,
                propensity=1.0,
                score=shadow.score,
                decision=shadow.outcome.value,
            )
        )
    return logs


def _prediction(
    decision: Decision, transaction: TransactionReceived, model: Version, features: dict[str, float]
) -> PredictionLogged:
    return PredictionLogged(
        prediction_id=decision.decision_id,
        request_id=transaction.transaction_id,
        entity_id=transaction.customer_id,
        event_ts=transaction.event_ts,
        known_ts=decision.known_ts,
        model_name=model.name,
        model_version=model.version,
        model_digest=model.digest,
        feature_fingerprint=model.fingerprint,
        features=features,
        variant=CHAMPION,
        propensity=decision.propensity,
        score=decision.score,
        decision=decision.outcome.value,
        latency_ms=decision.latency_ms,
        degraded=decision.degraded,
    )


def decision_made(decision: Decision, transaction: TransactionReceived) -> DecisionMade:
    """The event that a payment system waits for."""
    model = decision.model
    return DecisionMade(
        decision_id=decision.decision_id,
        transaction_id=transaction.transaction_id,
        customer_id=transaction.customer_id,
        terminal_id=transaction.terminal_id,
        amount_minor=transaction.amount_minor,
        event_ts=transaction.event_ts,
        outcome=decision.outcome,
        score=decision.score,
        rule_score=decision.rule_score,
        reasons=decision.reasons,
        let_through=decision.let_through,
        propensity=decision.propensity,
        policy=decision.policy,
        rules=decision.rules,
        model_name="" if model is None else model.name,
        model_version="" if model is None else model.version,
        degraded=decision.degraded,
    )


def alert_raised(decision: Decision, transaction: TransactionReceived) -> AlertRaised | None:
    """An alert for a blocked transaction, named after the decision so that a repeat is recognised."""
    if decision.outcome is not Outcome.BLOCK:
        return None
    why = ", ".join(decision.reasons)
    return AlertRaised(
        alert_id=f"block-{decision.decision_id}",
        kind="fraud.blocked",
        severity="warning",
        entity_id=transaction.customer_id,
        summary=f"transaction {transaction.transaction_id} blocked with score {decision.score:.3f}: {why}",
        event_ts=transaction.event_ts,
        prediction_id=decision.decision_id,
    )
