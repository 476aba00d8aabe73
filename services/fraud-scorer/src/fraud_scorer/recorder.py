"""Kafka edge of the ledger: writes decisions and labels to SQL, and counts how decisions turned out.

Idempotent by decision id and by label id. Decisions that a person should look at go into cases, which are
escalated when they are overdue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy.exc import DataError, OperationalError, ProgrammingError

from fraud_scorer.cases import Cases, Publish
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, LabelObserved
from plinth_kit.health import Health
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing, Unavailable
from plinth_kit.kafka.ports import Broker, DeliveryFailed

logger = logging.getLogger(__name__)

WATCH_SECONDS = 5.0
TELL_SECONDS = 5.0
DECISIONS, LABELS = codec.topic_of(DecisionMade), codec.topic_of(LabelObserved)
_decode_decision = codec.decoder(DecisionMade)
_decode_label = codec.decoder(LabelObserved)


class RecordHandler:
    """Handler of `decision.made` and `label.observed`."""

    topics = (DECISIONS, LABELS)

    def __init__(
        self,
        ledger: Ledger,
        metrics: LabelMetrics,
        cases: Cases,
        case_metrics: CaseMetrics,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._cases = cases
        self._case_metrics = case_metrics
        self._now = now

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
            recorded = self._cases.record(decisions, self._now())
            self._case_metrics.opened(recorded.opened)
            self._metrics.judged(recorded.judged)
            self._metrics.judged(self._ledger.record_labels(labels))
        except (OperationalError, ProgrammingError) as error:  # away, or its schema is not there yet
            raise Unavailable("postgres") from error
        except DataError as error:
            if len(batch) == 1:
                return Handled((), [Invalid(batch[0], str(error.orig))])
            parts = [self([message]) for message in batch]
            return Handled((), [one for part in parts for one in part.invalid])
        return Handled((), invalid)


class Teller:
    """Sends events and returns when Kafka has them; DeliveryFailed when it does not take them in time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer = broker.producer()

    def __call__(self, events: Sequence[Outgoing]) -> None:
        """See Teller."""
        try:
            self._producer.produce(events)
            self._producer.flush(TELL_SECONDS)
        except DeliveryFailed:
            self._producer.abandon()
            self._producer = self._broker.producer()
            raise


class CaseWatch:
    """Escalates overdue cases, tells of higher tiers, reports how many wait. Several may run at once."""

    def __init__(
        self, cases: Cases, metrics: CaseMetrics, publish: Publish, now: Callable[[], datetime]
    ) -> None:
        self._cases = cases
        self._metrics = metrics
        self._publish = publish
        self._now = now
        self._stopped = threading.Event()

    def turn(self) -> None:
        """One look; while the database or Kafka is away the next one has more to do."""
        now = self._now()
        try:
            self._cases.escalate_overdue(now)
            self._metrics.backlog(self._cases.backlog(now))
            self._cases.tell(self._publish)
        except (OperationalError, ProgrammingError, DeliveryFailed) as error:
            logger.warning("cases not looked after: %s", str(error).partition("\n")[0])

    def start(self, health: Health, every_s: float = WATCH_SECONDS) -> None:
        """Look every `every_s` seconds in a thread, without which the process is not alive."""

        def run() -> None:
            while not self._stopped.wait(every_s):
                self.turn()

        thread = threading.Thread(target=run, name="cases", daemon=True)
        thread.start()
        health.add_liveness("cases", lambda: None if thread.is_alive() else "nobody looks after cases")

    def stop(self) -> None:
        """End the thread after its present look."""
        self._stopped.set()
