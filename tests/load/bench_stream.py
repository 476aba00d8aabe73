"""Load on the Kafka path: transactions produced on a schedule, decisions watched from outside."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, TransactionReceived
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

DAILY = 9_000
"""Transactions that the simulated world makes in a day, at least."""
TICK_S = 0.002
PATIENCE_S = 60.0
_DECISIONS, _TRANSACTIONS = codec.topic_of(DecisionMade), codec.topic_of(TransactionReceived)


class _Decided(msgspec.Struct):
    transaction_id: str
    decision_id: str


_decode = msgspec.json.Decoder(_Decided).decode


def transactions(prefix: str, n: int) -> list[TransactionReceived]:
    """Transactions `prefix-0`, `prefix-1`, ... of simulated customers whom only this prefix has.

    They pay as those of the training data do, so that as many payments as there are refused and explained.
    Event times end now: a second of load is hours of their lives.
    """
    days = n // DAILY + 1
    start = date.today() - timedelta(days=days)
    table = simulate(SimulationConfig(days=days, start=start))[:n]
    columns = ("customer_id", "terminal_id", "amount_minor", "latitude", "longitude")
    times = [at.to_pydatetime() for at in table["event_ts"]]
    rows = zip(times, *(table[column].tolist() for column in columns), strict=True)
    return [
        TransactionReceived(
            transaction_id=f"{prefix}-{i}",
            customer_id=f"{prefix}-{customer}",
            terminal_id=f"bench-{terminal}",
            amount_minor=amount,
            event_ts=event_ts,
            latitude=latitude,
            longitude=longitude,
        )
        for i, (event_ts, customer, terminal, amount, latitude, longitude) in enumerate(rows)
    ]


def messages(prefix: str, n: int) -> list[Outgoing]:
    """The same as Kafka messages, encoded beforehand so that the load costs little while it runs."""
    return [
        Outgoing(
            _TRANSACTIONS,
            one.customer_id.encode(),
            codec.encode(one),
            codec.headers(_TRANSACTIONS, event_id=one.transaction_id, source="bench", time=one.event_ts),
        )
        for one in transactions(prefix, n)
    ]


@dataclass
class Seen:
    """Decisions of one run: time of the first by transaction (seconds), and every decision id."""

    prefix: str
    at: dict[str, float] = field(default_factory=dict)
    ids: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class Result:
    """One run. due: when each transaction was to be sent; seen: what came back."""

    due: dict[str, float]
    seen: Seen

    def decided_once(self) -> bool:
        """Whether every transaction has exactly one decision, however often it was delivered."""
        return self.seen.at.keys() == self.due.keys() and len(self.seen.ids) == len(self.due)

    def percentiles_ms(self, skip: int = 0) -> tuple[float, float]:
        """p50 and p99 from the time a transaction was due to its decision; without the first `skip`."""
        late = [self.seen.at[name] - due for name, due in self.due.items()][skip:]
        p50, p99 = np.percentile(late, [50, 99]) * 1000
        return float(p50), float(p99)

    def throughput(self) -> float:
        """Decisions a second, from the first transaction due to the last decision."""
        return len(self.due) / (max(self.seen.at.values()) - min(self.due.values()))

    def widest_gap(self) -> float:
        """Longest time in seconds without a decision: what a pause of the platform looks like."""
        times = sorted(self.seen.at.values())
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def paced(kafka: str, prefix: str, load: Sequence[Outgoing], rate: float) -> Result:
    """Send at `rate` a second whatever comes back; latency counts from the time a message was due."""
    producer = KafkaBroker(kafka, "bench").producer()
    with _watched(kafka, prefix) as seen:
        start, sent = time.perf_counter(), 0
        while sent < len(load):
            due = min(len(load), int((time.perf_counter() - start) * rate) + 1)
            if due > sent:
                producer.produce(load[sent:due])
                sent = due
            time.sleep(TICK_S)
        producer.flush(PATIENCE_S)
        _wait(seen, len(load))
    return Result({f"{prefix}-{i}": start + i / rate for i in range(len(load))}, seen)


def flat_out(
    kafka: str, prefix: str, load: Sequence[Outgoing], *, in_flight: int, seconds: float = np.inf
) -> Result:
    """Send as fast as is decided, with at most `in_flight` undecided, until `seconds` are over."""
    producer, chunk = KafkaBroker(kafka, "bench").producer(), 200
    due: dict[str, float] = {}
    with _watched(kafka, prefix) as seen:
        start, moved = time.perf_counter(), (0, time.perf_counter())
        while len(due) < len(load) and time.perf_counter() - start < seconds:
            now, decided = time.perf_counter(), len(seen.at)
            moved = (decided, now) if decided != moved[0] else moved
            if now - moved[1] > PATIENCE_S:
                break
            if len(due) - decided >= in_flight:
                time.sleep(TICK_S)
                continue
            part = load[len(due) : len(due) + chunk]
            producer.produce(part)
            due.update({f"{prefix}-{len(due) + i}": now for i in range(len(part))})
        producer.flush(PATIENCE_S)
        _wait(seen, len(due))
    return Result(due, seen)


def _wait(seen: Seen, n: int) -> None:
    """Until all are decided, or nothing was for a minute."""
    decided, since = -1, time.perf_counter()
    while len(seen.at) < n and time.perf_counter() - since < PATIENCE_S:
        if len(seen.at) != decided:
            decided, since = len(seen.at), time.perf_counter()
        time.sleep(0.01)


@contextmanager
def _watched(kafka: str, prefix: str) -> Iterator[Seen]:
    """Watch decisions from now on, in a thread of its own; garbage is collected before, not meanwhile."""
    seen, stop = Seen(prefix), threading.Event()
    consumer = _at_the_end(kafka)
    thread = threading.Thread(target=_watch, args=(consumer, seen, stop), name="watch", daemon=True)
    thread.start()
    gc.collect()
    gc.disable()
    try:
        yield seen
    finally:
        gc.enable()
        stop.set()
        thread.join()
        consumer.close()


def _at_the_end(kafka: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "bench-watch",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
            "log_level": 2,
        }
    )
    partitions = consumer.list_topics(_DECISIONS, timeout=10).topics[_DECISIONS].partitions
    parts = [TopicPartition(_DECISIONS, number) for number in partitions]
    for part in parts:
        part.offset = consumer.get_watermark_offsets(part, timeout=10)[1]
    consumer.assign(parts)
    return consumer


def _watch(consumer: Consumer, seen: Seen, stop: threading.Event) -> None:
    prefix = f"{seen.prefix}-"
    while not stop.is_set():
        first = consumer.poll(0.05)
        if first is None:
            continue
        now = time.perf_counter()
        for record in [first, *consumer.consume(2000, 0)]:
            if record.error() is not None:
                continue
            decision = _decode(record.value())
            if decision.transaction_id.startswith(prefix):
                seen.at.setdefault(decision.transaction_id, now)
                seen.ids.add((decision.transaction_id, decision.decision_id))
