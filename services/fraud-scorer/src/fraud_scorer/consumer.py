"""Kafka edge: decode transactions, decide them, emit what follows. Idempotent by transaction id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
import redis

from fraud_scorer.events import outgoing
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.model import ModelSource
from fraud_scorer.service import Arrival, FraudScorer
from plinth_contracts import codec
from plinth_contracts.events import TransactionReceived
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing, Unavailable

TOPIC = codec.topic_of(TransactionReceived)
_decode = codec.decoder(TransactionReceived)


class TransactionHandler:
    """Handler of `transaction.received`."""

    def __init__(
        self,
        scorer: FraudScorer,
        models: ModelSource,
        names: Sequence[str],
        metrics: ScorerMetrics,
        model_name: str,
        now: Callable[[], datetime],
    ) -> None:
        self._scorer = scorer
        self._models = models
        self._names = names
        self._metrics = metrics
        self._model_name = model_name
        self._now = now

    def __call__(self, batch: Sequence[Message]) -> Handled:
        """See Handler. Raises Unavailable("model") without a model and Unavailable("redis") without Redis."""
        model = self._models.current
        if model is None:
            raise Unavailable("model")
        arrivals, messages, invalid = [], [], []
        for message in batch:
            try:
                transaction = _decode(message.value)
            except msgspec.DecodeError as error:
                invalid.append(Invalid(message, str(error)))
                continue
            arrivals.append(
                Arrival(transaction, message.partition, message.offset, message.timestamp_ms / 1000)
            )
            messages.append(message)
        if not arrivals:
            return Handled((), invalid)
        try:
            decided = self._scorer.decide(arrivals, model, self._now())
        except redis.RedisError as error:
            raise Unavailable("redis") from error
        self._metrics.decided(decided, model.version)
        out: list[Outgoing] = []
        for one, message in zip(decided, messages, strict=True):
            trace = [header for header in message.headers if header[0] == "traceparent"]
            out += outgoing(one, self._model_name, self._names, trace)
        return Handled(out, invalid)
