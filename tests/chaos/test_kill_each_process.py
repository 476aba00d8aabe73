"""Every process is killed once under load; afterwards every transaction is accounted for, once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import pytest
from fixtures_platform import HOST, RunningPlatform, wait_until
from kafka_tail import Tail, as_json

from plinth_cli.config import load
from plinth_cli.platform import Platform
from plinth_contracts import codec
from plinth_contracts.events import TransactionReceived
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing
from plinth_pipelines.fraud import replay
from plinth_pipelines.fraud.stream import Item

RATE = 300
CUSTOMERS = 150
RECOVERY_SECONDS = 90.0
TOPIC = codec.topic_of(TransactionReceived)
VICTIMS = (
    "kafka",
    "redis",
    "feature-store-engine",
    "fraud-scorer-worker",
    "fraud-scorer-api",
    "fraud-scorer-recorder",
)


@dataclass
class Load:
    """Transactions at RATE a second until told to stop, through the pipelines' own replay."""

    bootstrap: str
    prefix: str = field(default_factory=lambda: f"chaos-{uuid.uuid4().hex[:8]}")
    sent: Counter[str] = field(default_factory=Counter)
    watch: replay.Watch = field(default_factory=replay.Watch)
    failure: BaseException | None = None
    _finished: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send and wait for every decision; meant for a thread of its own."""
        try:
            broker = KafkaBroker(self.bootstrap, "chaos")
            replay.replay(broker, self._items(), speed=1.0, observe=self._observe)
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        """Send no more."""
        self._finished.set()

    def decided(self) -> int:
        """Transactions decided so far; raises what ended the load."""
        if self.failure is not None:
            raise self.failure
        return self.watch.decided

    def _observe(self, watch: replay.Watch) -> None:
        self.watch = watch

    def _items(self) -> Iterator[Item]:
        began_ms = round(time.time() * 1000)
        number = 0
        while not self._finished.is_set():
            ts_ms = began_ms + number * 1000 // RATE
            customer = f"{self.prefix}-c{number % CUSTOMERS}"
            event = TransactionReceived(
                transaction_id=f"{self.prefix}-{number}",
                customer_id=customer,
                terminal_id=f"{self.prefix}-t{number % 97}",
                amount_minor=1_000 + number % 500,
                event_ts=datetime.fromtimestamp(ts_ms / 1000, UTC),
            )
            self.sent[customer] += 1
            headers = codec.headers(TOPIC, event_id=event.transaction_id, source="chaos", time=event.event_ts)
            yield Item(
                ts_ms, event.transaction_id, Outgoing(TOPIC, customer.encode(), codec.encode(event), headers)
            )
            number += 1


@pytest.mark.timeout(400)
def test_nothing_is_lost_or_counted_twice(platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PATIENCE_S", RECOVERY_SECONDS)
    processes = Platform(load(platform.local_environ()))
    load_ = Load(platform.bootstrap)
    thread = threading.Thread(target=load_.run, name="load", daemon=True)
    thread.start()
    try:
        wait_until(lambda: load_.decided() > RATE, "the load is decided")
        recoveries = [_kill(processes, load_, name) for name in VICTIMS]
    finally:
        load_.finish()
        thread.join(RECOVERY_SECONDS)
    sent = load_.sent.total()
    assert (load_.failure, thread.is_alive()) == (None, False)
    assert load_.decided() == sent

    decisions = _decisions(platform, load_.prefix)
    recorded = _recorded(platform, processes, load_.prefix, sent)
    assert len(decisions) == sent
    assert {t: ids for t, ids in decisions.items() if len(ids) > 1} == {}
    assert recorded == {transaction: min(ids) for transaction, ids in decisions.items()}
    _counted(platform, load_.sent)
    _table(recoveries, sent, load_.watch.repeated)


def _kill(processes: Platform, load_: Load, name: str) -> tuple[str, float, int, int]:
    """Kill -9; name, seconds until it is ready again and decisions flow, decided before and after."""
    before = processes.supervisor.states()[name].pid
    decided = load_.decided()
    killed = time.monotonic()
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        status = next(s for s in processes.statuses() if s.name == name)
        return status.ready and status.pid not in (0, before)

    wait_until(is_back, f"{name} is ready again", RECOVERY_SECONDS)
    at_return = load_.decided()
    wait_until(lambda: load_.decided() > at_return, f"decisions after {name} is back", RECOVERY_SECONDS)
    seconds = time.monotonic() - killed
    wait_until(lambda: load_.decided() > at_return + RATE, f"a second's load after {name}", RECOVERY_SECONDS)
    return name, seconds, decided, load_.decided()


def _decisions(platform: RunningPlatform, prefix: str) -> dict[str, set[str]]:
    """Decision ids in Kafka by transaction."""
    tail = Tail(platform.bootstrap, ["decision.made"], from_start=True)
    ids = defaultdict(set)
    for value in map(as_json, tail.rest()):
        if str(value["transaction_id"]).startswith(prefix):
            ids[value["transaction_id"]].add(value["decision_id"])
    tail.close()
    return dict(ids)


def _recorded(platform: RunningPlatform, processes: Platform, prefix: str, expected: int) -> dict[str, str]:
    """Decision ids in SQL by transaction, once there are as many rows as expected."""
    password = processes.config.postgres_password_file.read_text()
    address = f"postgresql://plinth:{password}@{HOST}:{platform.ports['postgres']}/fraud_scorer"
    with psycopg.connect(address, autocommit=True) as connection:

        def rows() -> list[tuple[str, str]]:
            select = "select transaction_id, decision_id from decisions where transaction_id like %s"
            return connection.execute(select, (f"{prefix}-%",)).fetchall()

        wait_until(lambda: len(rows()) >= expected, "every decision is recorded")
        found = rows()
    assert len(found) == expected
    return dict(found)


def _counted(platform: RunningPlatform, sent: Counter[str]) -> None:
    """Every customer's row holds exactly the transactions sent."""
    customers = sorted(sent)

    def counts() -> dict[str, int]:
        rows = platform.rows("customer_transactions", customers, time.time() + 600)
        return {c: int(row["customer_tx_count_30d"]) for c, row in zip(customers, rows, strict=True)}

    wait_until(lambda: sum(counts().values()) >= sent.total(), "every transaction is in a row")
    assert counts() == dict(sent)


def _table(recoveries: list[tuple[str, float, int, int]], sent: int, repeated: int) -> None:
    """What happened, for whoever runs pytest with -s or reads its report."""
    lines = [f"{'killed':<24}{'recovered in':>14}{'decided meanwhile':>20}"]
    lines += [
        f"{name:<24}{seconds:>12.1f} s{after - before:>20}" for name, seconds, before, after in recoveries
    ]
    lines.append(f"{sent} sent, decided once, recorded once, counted once; {repeated} decisions seen again")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
