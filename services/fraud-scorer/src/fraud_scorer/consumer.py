"""Kafka edge: decode transactions, decide them, emit what follows. Idempotent by transaction id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from fraud_scorer.events import DECIDED, OTHER_PAYMENT, outgoing
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.service import Arrival, FraudScorer, Serving
from plinth_contracts import codec
from plinth_contracts.events import TransactionReceived, check_not_ahead
from plinth_kit import tracing
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing, sent_at

TOPIC = codec.topic_of(TransactionReceived)
_decode = codec.decoder(TransactionReceived)


class TransactionHandler:
    """Handler of `transaction.received`. `serving` gives the models of the moment."""

    def __init__(
        self,
        scorer: FraudScorer,
        serving: Callable[[], Serving],
        names: Sequence[str],
        metrics: ScorerMetrics,
        now: Callable[[], datetime],
    ) -> None:
        self._scorer = scorer
        self._serving = serving
        self._names = names
        self._metrics = metrics
        self._now = now

    def __call__(self, batch: Sequence[Message]) -> Handled:
        """See Handler."""
        arrivals, messages, invalid = [], [], []
        for message in batch:
            try:
                transaction = _decode(message.value)
                check_not_ahead("event_ts", transaction.event_ts, sent_at(message))
            except (msgspec.DecodeError, ValueError) as error:
                invalid.append(Invalid(message, str(error)))
                continue
            arrival = Arrival(
                transaction,
                message.partition,
                message.offset,
                received=message.timestamp_ms / 1000,
                decided=DECIDED in message.headers,
            )
            arrivals.append(arrival)
            if not arrival.decided:
                messages.append(message)
        if not arrivals:
            return Handled((), invalid)
        serving = self._serving()
        decided = self._scorer.decide(arrivals, serving, self._now())
        self._metrics.decided(decided, serving)
        out: list[Outgoing] = []
        for one, message in zip(decided.decided, messages, strict=True):
            if one.other:
                invalid.append(Invalid(message, OTHER_PAYMENT))
                continue
            out += outgoing(one, self._names, tracing.passed_on(message.headers))
        return Handled(out, invalid)
