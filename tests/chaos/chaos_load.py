"""Transactions over Kafka and HTTP while something is taken away, and the account of each afterwards."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import msgspec
import psycopg
from confluent_kafka import Consumer, TopicPartition
from fixtures_platform import HOST, RunningPlatform, wait_until

from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, TransactionReceived
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing

RATE = int(os.environ.get("PLINTH_CHAOS_RATE", "300"))
"""Transactions a second; one in HTTP_EVERY over HTTP."""
HTTP_EVERY, HTTP_CLIENTS = 10, 4
CUSTOMERS = 2_000
BY_KAFKA = "k"
PATIENCE_SECONDS = 180.0
"""For anything to happen at all: a loaded machine starts Kafka's JVM in a minute."""
TOPIC, DECISIONS = codec.topic_of(TransactionReceived), codec.topic_of(DecisionMade)
_decode = codec.decoder(DecisionMade)


@dataclass
class Load:
    """Transactions at RATE a second until `finish`, each sent until it is accepted.

    accepted: transactions by customer that Kafka acknowledged or that HTTP answered with 200. decided: the
    distinct decisions in Kafka of each, as (id, outcome, score). degraded: what answers over HTTP lacked.
    """

    platform: RunningPlatform
    prefix: str = field(default_factory=lambda: f"chaos-{uuid.uuid4().hex[:8]}")
    accepted: dict[str, str] = field(default_factory=dict)
    decided: dict[str, set[tuple[str, str, float]]] = field(default_factory=lambda: defaultdict(set))
    published: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._numbers = count()
        self._began = time.time()
        self._lock = threading.Lock()
        self._sent_all, self._seen_all = threading.Event(), threading.Event()
        self._failures: list[BaseException] = []
        self._producer = KafkaBroker(self.platform.bootstrap, "chaos").producer()
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.platform.bootstrap,
                "group.id": self.prefix,
                "enable.auto.commit": False,
                "log_level": 0,
                "reconnect.backoff.max.ms": 1_000,
            }
        )
        parts = self._consumer.list_topics(DECISIONS, timeout=30).topics[DECISIONS].partitions
        ends = [TopicPartition(DECISIONS, part) for part in parts]
        for part in ends:
            part.offset = self._consumer.get_watermark_offsets(part, timeout=30)[1]
        self._consumer.assign(ends)
        self._senders = [
            self._thread(self._produce),
            *(self._thread(self._post) for _ in range(HTTP_CLIENTS)),
        ]
        self._watcher = self._thread(self._watch)

    def checked(self) -> int:
        """Transactions decided so far; raises what ended a sender."""
        if self._failures:
            raise self._failures[0]
        return len(self.decided)

    def wait_for_new(self, what: str) -> float:
        """Seconds until a transaction sent from now on is decided, by Kafka's way."""
        began, first = time.monotonic(), next(self._numbers)
        by_kafka = f"{self.prefix}-{BY_KAFKA}-"

        def is_decided() -> bool:
            self.checked()
            newest = [some_id for some_id in list(self.decided)[-2_000:] if some_id.startswith(by_kafka)]
            return any(_number(some_id) > first for some_id in newest)

        wait_until(is_decided, f"decisions after {what}", PATIENCE_SECONDS)
        return time.monotonic() - began

    def answered_over_http(self) -> int:
        """Transactions that HTTP answered with 200 so far; those of Kafka count as accepted at the end."""
        return len(self.accepted)

    def any_recorded(self) -> str:
        """A transaction of this load that can be looked up."""

        def found() -> str:
            with self.platform.client() as client:
                some_id = next(iter(self.accepted), "")
                answer = client.get(f"/v1/decisions/{some_id}") if some_id else None
            return some_id if answer is not None and answer.status_code == httpx.codes.OK else ""

        return wait_until(found, "a decision is recorded", PATIENCE_SECONDS)

    def finish(self) -> None:
        """Send no more, and wait until all that was sent is accepted and decided."""
        self._sent_all.set()
        for thread in self._senders:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a sender is still not rid of its transactions"
        wait_until(
            lambda: self.checked() >= len(self.accepted) and self.accepted.keys() <= self.decided.keys(),
            "every accepted transaction is decided",
            PATIENCE_SECONDS,
        )

    def close(self) -> None:
        """End the threads."""
        self._sent_all.set()
        self._seen_all.set()
        for thread in (*self._senders, self._watcher):
            thread.join(30)
        self._consumer.close()
        self._producer.abandon()

    def _thread(self, work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _next(self, way: str) -> TransactionReceived:
        with self._lock:
            number = next(self._numbers)
        return TransactionReceived(
            transaction_id=f"{self.prefix}-{way}-{number}",
            customer_id=f"{self.prefix}-c{number % CUSTOMERS}",
            terminal_id=f"{self.prefix}-t{number % 97}",
            amount_minor=(90_000 if number % 20 == 0 else 1_000) + number % 500,
            event_ts=datetime.fromtimestamp(round(self._began * 1000 + number * 1000 / RATE) / 1000, UTC),
        )

    def _produce(self) -> None:
        """Paced by the clock; what Kafka does not take yet stays queued in the producer."""
        sent: list[TransactionReceived] = []
        share = RATE * (HTTP_EVERY - 1) / HTTP_EVERY
        began, number = time.monotonic(), 0
        while not self._sent_all.is_set():
            due = int((time.monotonic() - began) * share) - number
            events = [self._next(BY_KAFKA) for _ in range(min(due, 1_000))]
            self._producer.produce([_outgoing(event) for event in events])
            sent += events
            number += len(events)
            time.sleep(0.02)
        self._producer.flush(PATIENCE_SECONDS)
        self.accepted.update((event.transaction_id, event.customer_id) for event in sent)

    def _post(self) -> None:
        pause = HTTP_EVERY * HTTP_CLIENTS / RATE
        with self.platform.client() as client:
            while not self._sent_all.is_set():
                event = self._next("h")
                while not self._is_accepted(client, event):
                    time.sleep(0.2)
                time.sleep(pause)

    def _is_accepted(self, client: httpx.Client, event: TransactionReceived) -> bool:
        try:
            answer = client.post("/v1/decisions", content=msgspec.json.encode(event))
        except httpx.TransportError as error:
            self.refused[type(error).__name__] += 1
            return False
        if answer.status_code != httpx.codes.OK:
            self.refused[str(answer.status_code)] += 1
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            return False
        self.degraded.update(answer.json()["degraded"])
        self.accepted[event.transaction_id] = event.customer_id
        return True

    def _watch(self) -> None:
        while not self._seen_all.is_set():
            for record in self._consumer.consume(2_000, 0.1):
                if record.error() is not None:
                    continue
                made = _decode(record.value())
                if made.transaction_id.startswith(self.prefix):
                    self.decided[made.transaction_id].add((made.decision_id, made.outcome.value, made.score))
                    self.published += 1


@dataclass
class Account:
    """What became of a load; see `settle`."""

    accepted: int
    published: int
    cases: int


def settle(load: Load, password: str) -> Account:
    """Fails unless each accepted transaction was decided, recorded, filed and counted once, nothing else."""
    load.finish()
    accepted = dict(load.accepted)
    ids = {some_id: {made[0] for made in load.decided[some_id]} for some_id in accepted}
    assert {some_id: of_one for some_id, of_one in ids.items() if len(of_one) != 1} == {}
    assert load.decided.keys() == accepted.keys(), "nothing is decided that was not accepted"
    cases = _recorded(load, password, {some_id: min(of_one) for some_id, of_one in ids.items()})
    _counted(load.platform, Counter(accepted.values()))
    return Account(len(accepted), load.published, cases)


def _recorded(load: Load, password: str, expected: dict[str, str]) -> int:
    """One row a transaction, with the published decision; in cases exactly what is to be; how many are."""
    address = f"postgresql://plinth:{password}@{HOST}:{load.platform.ports['postgres']}/fraud_scorer"
    mine = {"mine": f"{load.prefix}-%"}
    with psycopg.connect(address, autocommit=True) as connection:

        def rows() -> dict[str, str]:
            select = "select transaction_id, decision_id from decisions where transaction_id like %(mine)s"
            return dict(connection.execute(select, mine).fetchall())

        wait_until(lambda: len(rows()) >= len(expected), "every decision is recorded", PATIENCE_SECONDS)
        assert rows() == expected
        wrong = """
            select transaction_id from decisions left join case_decisions using (transaction_id)
            where transaction_id like %(mine)s
              and (outcome <> 'approve' or let_through) <> (case_id is not null)
        """
        assert connection.execute(wrong, mine).fetchall() == []
        filed = "select count(*) from case_decisions where transaction_id like %(mine)s"
        (cases,) = connection.execute(filed, mine).fetchone() or (0,)
        return int(cases)


def _counted(platform: RunningPlatform, expected: Counter[str]) -> None:
    """Every customer's row holds exactly what was accepted of that customer."""
    customers = sorted(expected)

    def counts() -> dict[str, int]:
        rows = platform.rows("customer_transactions", customers, time.time() + 600)
        return {c: int(row["customer_tx_count_30d"]) for c, row in zip(customers, rows, strict=True)}

    with suppress(AssertionError):  # what differs says more than that it took too long
        wait_until(lambda: counts() == expected, "every transaction is in a row", PATIENCE_SECONDS)
    assert counts() == dict(expected)


def _number(transaction_id: str) -> int:
    return int(transaction_id.rpartition("-")[2])


def _outgoing(event: TransactionReceived) -> Outgoing:
    headers = codec.headers(TOPIC, event_id=event.transaction_id, source="chaos", time=event.event_ts)
    return Outgoing(TOPIC, event.customer_id.encode(), codec.encode(event), headers)
