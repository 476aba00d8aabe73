"""Kafka edge of the ledger: writes decisions and labels to SQL, and counts how decisions turned out.

Idempotent by decision id and by label id.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.exc import OperationalError, ProgrammingError

from fraud_scorer.ledger import Ledger
from fraud_scorer.metrics import LabelMetrics
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, LabelObserved
from plinth_kit.kafka.message import Handled, Invalid, Message, Unavailable

DECISIONS, LABELS = codec.topic_of(DecisionMade), codec.topic_of(LabelObserved)
_decode_decision = codec.decoder(DecisionMade)
_decode_label = codec.decoder(LabelObserved)


class RecordHandler:
    """Handler of `decision.made` and `label.observed`."""

    topics = (DECISIONS, LABELS)

    def __init__(self, ledger: Ledger, metrics: LabelMetrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    def __call__(self, batch: Sequence[Message]) -> Handled:
        """See Handler. Raises Unavailable("postgres") while the database is away."""
        decisions: list[DecisionMade] = []
        labels: list[LabelObserved] = []
        invalid: list[Invalid] = []
        for message in batch:
            try:
                if message.topic == DECISIONS:
                    decisions.append(_decode_decision(message.value))
                else:
                    labels.append(_decode_label(message.value))
            except msgspec.DecodeError as error:
                invalid.append(Invalid(message, str(error)))
        try:
            self._ledger.record_decisions(decisions)
            judged = self._ledger.record_labels(labels)
        except (OperationalError, ProgrammingError) as error:  # away, or its schema is not there yet
            raise Unavailable("postgres") from error
        self._metrics.judged(judged)
        return Handled((), invalid)
