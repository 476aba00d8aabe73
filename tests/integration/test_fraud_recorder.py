"""The recorder over a real Postgres: batches become rows and cases once, whatever is away when they come."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sql
from fraud_cases import HOUR, NOW, Clock, chargeback, consumed, decision, ids
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from fraud_scorer.case_rows import Wanted
from fraud_scorer.cases import Act, Cases, Ruling
from fraud_scorer.core.cases import EscalationPolicy, Resolution
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.recorder import CaseWatch, RecordHandler
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, Outcome
from plinth_kit.health import Health
from plinth_kit.kafka.message import Outgoing, Unavailable
from plinth_kit.kafka.ports import DeliveryPending


@dataclass
class Recorder:
    """A recorder's parts and what it measures."""

    ledger: Ledger
    clock: Clock = field(default_factory=Clock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    sent: list[Outgoing] = field(default_factory=list)
    kafka_is_away: bool = False

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.cases = Cases(self.ledger, EscalationPolicy(), lambda: f"case-{next(numbers)}")
        metrics = CaseMetrics(self.registry)
        self.handler = RecordHandler(
            self.ledger, LabelMetrics(self.registry), self.cases, metrics, self.clock
        )
        self.watch = CaseWatch(self.cases, metrics, self.publish, self.clock)

    def publish(self, events: Sequence[Outgoing]) -> None:
        if self.kafka_is_away:
            raise DeliveryPending("alert.raised", "not acknowledged in time")
        self.sent += events

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"plinth_fraud_{name}", labels)


@pytest.fixture
def recorder(ledger: Ledger) -> Recorder:
    return Recorder(ledger)


@dataclass
class Later:
    """A ledger whose database does not exist until it is created."""

    server: str
    name: str
    ledger: Ledger

    def create(self) -> None:
        engine = sql.create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sql.text(f"create database {self.name}"))
        engine.dispose()


@pytest.fixture
def later(postgres_url: str) -> Iterator[Later]:
    name = f"later_{uuid.uuid4().hex}"
    ledger = Ledger(f"{postgres_url.rpartition('/')[0]}/{name}")
    yield Later(postgres_url, name, ledger)
    ledger.close()


def test_a_batch_of_decisions_and_labels_with_a_message_that_cannot_be_read(recorder: Recorder) -> None:
    batch = consumed(decision(1), decision(2, Outcome.APPROVE), chargeback(1))
    broken = replace(batch[0], offset=7, value=b'{"decision_id": 3}')
    handled = recorder.handler([*batch, broken])
    assert [one.message for one in handled.invalid] == [broken]
    assert recorder.ledger.find(transaction_id="tx-2") is not None
    (case,) = recorder.cases.queue(Wanted(), NOW, 10)
    assert (case.decisions, case.opened_ts) == (1, NOW)
    assert recorder.metric("cases_opened_total", tier="2") == 1
    assert recorder.metric("labels_total", outcome="block", fraud="true") == 1


def test_a_label_before_its_decision_counts_under_the_outcome_when_that_is_recorded(
    recorder: Recorder,
) -> None:
    recorder.handler(consumed(chargeback(1)))
    assert recorder.metric("labels_total", outcome="none", fraud="true") == 1
    for _ in range(2):
        recorder.handler(consumed(decision(1)))
    assert recorder.metric("labels_total", outcome="block", fraud="true") == 1
    assert recorder.metric("labelled_amount_minor_total", outcome="block", fraud="true") == 1_000


def test_a_batch_that_comes_again_is_counted_once(recorder: Recorder) -> None:
    for _ in range(2):
        recorder.handler(consumed(decision(1), decision(2, card="c-2"), chargeback(1)))
    assert recorder.metric("cases_opened_total", tier="2") == 2
    assert recorder.metric("labels_total", outcome="block", fraud="true") == 1


def test_a_database_that_is_away_or_without_its_schema_is_waited_for(later: Later) -> None:
    recorder, batch = Recorder(later.ledger), consumed(decision(1), decision(2), chargeback(2))
    for come_nearer in (later.create, later.ledger.migrate):
        with pytest.raises(Unavailable, match="postgres"):
            recorder.handler(batch)
        recorder.watch.turn()
        come_nearer()
    recorder.handler(batch)
    recorder.watch.turn()
    (case,) = recorder.cases.queue(Wanted(), NOW, 10)
    assert (case.decisions, case.version) == (2, 1)
    assert recorder.metric("cases_opened_total", tier="2") == 1
    assert recorder.metric("cases_open", status="open", tier="2") == 1


def test_a_watch_escalates_tells_and_reports(recorder: Recorder) -> None:
    recorder.handler(consumed(decision(1, Outcome.MONITOR), decision(2, Outcome.MONITOR, "c-2")))
    (case, other) = recorder.cases.queue(Wanted(), NOW, 10)
    recorder.cases.resolve(other.case_id, Act("ana", NOW), Ruling(Resolution.GENUINE), 3)
    recorder.clock.time = NOW + 25 * HOUR
    recorder.watch.turn()
    recorder.watch.turn()
    assert ids(recorder.sent) == [f"case-{case.case_id}-tier-2"]
    assert [recorder.metric("cases_open", status="open", tier=tier) for tier in "123"] == [0, 1, 0]
    recorder.cases.escalate(case.case_id, Act("ana", NOW), "looks bad")
    recorder.clock.time = NOW + 60 * HOUR
    recorder.watch.turn()
    assert [recorder.metric("cases_overdue", tier=tier) for tier in "123"] == [0, 0, 1]
    assert ids(recorder.sent)[1:] == [f"case-{case.case_id}-tier-3"]


def test_while_kafka_is_away_cases_rise_all_the_same_and_are_told_of_later(recorder: Recorder) -> None:
    recorder.handler(consumed(decision(1, Outcome.MONITOR)))
    recorder.clock.time = NOW + 25 * HOUR
    recorder.kafka_is_away = True
    recorder.watch.turn()
    assert recorder.metric("cases_open", status="open", tier="2") == 1
    recorder.kafka_is_away = False
    recorder.watch.turn()
    (case,) = recorder.cases.queue(Wanted(), NOW, 10)
    assert ids(recorder.sent) == [f"case-{case.case_id}-tier-2"]


def test_a_watch_looks_until_it_is_stopped_and_counts_as_dead_afterwards(recorder: Recorder) -> None:
    health, looked = Health(), threading.Event()
    recorder.watch.turn = looked.set  # type: ignore[method-assign]
    recorder.watch.start(health, every_s=0.001)
    assert looked.wait(30)
    assert health.dead_because() == []
    recorder.watch.stop()
    deadline = time.monotonic() + 30
    while not health.dead_because():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_postgres_cannot_hold_becomes_a_dead_letter_and_the_rest_is_recorded(recorder: Recorder) -> None:
    batch = [decision(1), decision(2, policy="\x00"), decision(3)]
    handled = recorder.handler(consumed(*batch))
    assert [codec.decoder(DecisionMade)(i.message.value).transaction_id for i in handled.invalid] == ["tx-2"]
    assert [recorder.ledger.find(transaction_id=f"tx-{n}") is not None for n in (1, 2, 3)] == [
        True,
        False,
        True,
    ]
