"""One suite over every adapter of the ports in plinth_kit.kafka: memory and a real broker."""

from __future__ import annotations

import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Protocol

import pytest

from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Handled, Message, Outgoing, Partition
from plinth_kit.kafka.ports import Broker, Consumer, DeliveryFailed, DeliveryRefused
from plinth_kit.kafka.runner import Runner

DEADLINE = 60.0
PARTITIONS = 4


class MakeTopic(Protocol):
    def __call__(self, partitions: int = ..., *, config: dict[str, str] | None = None) -> str: ...


@dataclass
class Backend:
    """An adapter under test. refusing_topic: a topic to which a value of 2 kB cannot be delivered."""

    broker: Broker
    topic: Callable[[], str]
    refusing_topic: Callable[[], str]
    consumers: list[Consumer] = field(default_factory=list)

    def join(
        self, topics: Sequence[str], group: str | None = None, on_revoke: Callable[[], None] | None = None
    ) -> Consumer:
        consumer = self.broker.consumer(group or uuid.uuid4().hex, topics, on_revoke=on_revoke)
        self.consumers.append(consumer)
        return consumer

    def send(self, topic: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        producer = self.broker.producer()
        producer.produce([Outgoing(topic, key, value) for key, value in pairs])
        producer.flush(DEADLINE)


def _memory() -> Backend:
    broker = MemoryBroker(PARTITIONS)

    def refusing() -> str:
        broker.refuse("refusing", "too large")
        return "refusing"

    return Backend(broker, lambda: uuid.uuid4().hex, refusing)


def _kafka(bootstrap: str, make_topic: MakeTopic) -> Backend:
    return Backend(
        KafkaBroker(bootstrap, "contract"),
        lambda: make_topic(PARTITIONS),
        lambda: make_topic(PARTITIONS, config={"max.message.bytes": "1000"}),
    )


@pytest.fixture(params=["memory", "kafka"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "memory":
        made = _memory()
    else:
        made = _kafka(request.getfixturevalue("kafka_bootstrap"), request.getfixturevalue("make_topic"))
    yield made
    for consumer in made.consumers:
        consumer.close()


def _until(condition: Callable[[], bool], *turns: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        for turn in turns:
            turn()


def _read(consumer: Consumer, count: int, batch: int = 100) -> list[Message]:
    """Exactly the next `count` messages."""
    messages: list[Message] = []
    _until(
        lambda: len(messages) >= count,
        lambda: messages.extend(consumer.poll(min(batch, count - len(messages)), 0.1)),
    )
    return messages


def _next_offsets(messages: Sequence[Message]) -> dict[Partition, int]:
    return {(m.topic, m.partition): m.offset + 1 for m in messages}


def _pairs(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"k%d" % (n % 7), b"%d" % n) for n in range(count)]


def test_order_is_kept_per_key_and_nothing_is_lost(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(500))
    by_key: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for message in _read(backend.join([topic]), 500, batch=33):
        by_key[message.key].append(int(message.value))
    assert by_key == {b"k%d" % k: list(range(k, 500, 7)) for k in range(7)}


def test_a_poll_returns_at_most_what_was_asked_for_and_nothing_from_an_empty_topic(backend: Backend) -> None:
    topic = backend.topic()
    consumer = backend.join([topic])
    _until(lambda: len(consumer.assignment()) == PARTITIONS, lambda: consumer.poll(10, 0.1))
    assert consumer.poll(10, 0.0) == []
    backend.send(topic, _pairs(30))
    sizes: list[int] = []
    _until(lambda: sum(sizes) == 30, lambda: sizes.append(len(consumer.poll(4, 0.1))))
    assert max(sizes) == 4


def test_reading_resumes_at_the_committed_offset(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(40))
    first = backend.join([topic], "resume")
    seen = _read(first, 25)
    first.commit(_next_offsets(seen))
    first.close()
    rest = _read(backend.join([topic], "resume"), 15)
    assert sorted(int(m.value) for m in [*seen, *rest]) == list(range(40))


def test_what_was_not_committed_is_delivered_again(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(20))
    first = backend.join([topic], "again")
    seen = _read(first, 20)
    first.close()
    assert set(_read(backend.join([topic], "again"), 20)) == set(seen)


def test_two_members_share_partitions_and_a_revoke_hands_over_without_loss(backend: Backend) -> None:
    topic = backend.topic()
    effects: list[int] = []
    done: dict[Partition, int] = {}

    def work(consumer: Consumer) -> None:
        for message in consumer.poll(5, 0.05):
            effects.append(int(message.value))
            done[message.topic, message.partition] = message.offset + 1

    first = backend.join([topic], "shared", on_revoke=lambda: first.commit(done))
    backend.send(topic, _pairs(100))
    _until(lambda: len(effects) >= 50, lambda: work(first))
    second = backend.join([topic], "shared")
    _until(lambda: len(second.assignment()) == 2, lambda: work(first), lambda: work(second))
    assert len(first.assignment()) == 2
    assert first.assignment().isdisjoint(second.assignment())

    backend.send(topic, [(key, b"%d" % (int(value) + 100)) for key, value in _pairs(100)])
    _until(lambda: len(effects) >= 200, lambda: work(first), lambda: work(second))
    assert sorted(effects) == list(range(200))


def test_offsets_of_partitions_that_moved_away_are_not_committed(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(20))
    first = backend.join([topic], "moved")
    seen = _read(first, 20)
    second = backend.join([topic], "moved")
    _until(lambda: len(second.assignment()) == 2, lambda: first.poll(9, 0.05), lambda: second.poll(9, 0.05))
    kept = first.assignment()
    first.commit(_next_offsets(seen))
    first.close()
    second.close()
    moved = [m for m in seen if (m.topic, m.partition) not in kept]
    assert set(_read(backend.join([topic], "moved"), len(moved))) == set(moved)


def test_on_revoke_is_called_before_a_closing_member_leaves(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(10))
    done: dict[Partition, int] = {}
    first = backend.join([topic], "leaving", on_revoke=lambda: first.commit(done))
    done.update(_next_offsets(_read(first, 10)))
    first.close()
    backend.send(topic, [(b"k", b"new")])
    assert [m.value for m in _read(backend.join([topic], "leaving"), 1)] == [b"new"]


def test_seek_to_beginning_rereads_the_named_partitions_only(backend: Backend) -> None:
    lost, kept = backend.topic(), backend.topic()
    backend.send(lost, _pairs(12))
    backend.send(kept, _pairs(8))
    consumer = backend.join([lost, kept])
    seen = _read(consumer, 20)
    consumer.seek_to_beginning([tp for tp in consumer.assignment() if tp[0] == lost])
    again = _read(consumer, 12)
    assert set(again) == {m for m in seen if m.topic == lost}
    assert consumer.poll(10, 0.0) == []


def test_a_partition_without_messages_can_be_sought(backend: Backend) -> None:
    topic = backend.topic()
    consumer = backend.join([topic])
    _until(lambda: len(consumer.assignment()) == PARTITIONS, lambda: consumer.poll(10, 0.1))
    consumer.seek_to_beginning(consumer.assignment())
    backend.send(topic, _pairs(5))
    assert sorted(m.value for m in _read(consumer, 5)) == [b"0", b"1", b"2", b"3", b"4"]


def test_pause_holds_everything_back_and_resume_skips_nothing(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(30))
    consumer = backend.join([topic])
    seen = _read(consumer, 10)
    consumer.pause()
    assert [consumer.poll(10, 0.05) for _ in range(5)] == [[]] * 5
    consumer.resume()
    seen += _read(consumer, 20)
    assert sorted(int(m.value) for m in seen) == list(range(30))


def test_partitions_assigned_during_a_pause_are_paused_too(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, _pairs(10))
    consumer = backend.join([topic])
    consumer.pause()
    got: list[Message] = []
    _until(lambda: len(consumer.assignment()) == PARTITIONS, lambda: got.extend(consumer.poll(10, 0.05)))
    got += consumer.poll(10, 0.2)
    assert got == []
    consumer.resume()
    assert len(_read(consumer, 10)) == 10


def test_partitions_that_left_during_a_pause_and_come_back_after_it_are_read(backend: Backend) -> None:
    topic, group = backend.topic(), uuid.uuid4().hex
    stays = backend.join([topic], group)
    _until(lambda: len(stays.assignment()) == PARTITIONS, lambda: stays.poll(10, 0.05))
    stays.pause()
    visits = backend.join([topic], group)
    _until(
        lambda: len(stays.assignment()) == len(visits.assignment()) == PARTITIONS // 2,
        lambda: stays.poll(10, 0.05),
        lambda: visits.poll(10, 0.05),
    )
    stays.resume()
    visits.close()
    _until(lambda: len(stays.assignment()) == PARTITIONS, lambda: stays.poll(10, 0.05))
    backend.send(topic, _pairs(40))
    assert sorted(int(m.value) for m in _read(stays, 40)) == list(range(40))


def test_bytes_and_headers_arrive_unchanged(backend: Backend) -> None:
    topic = backend.topic()
    value = bytes(range(256))
    headers = (("ce_type", b"transaction.received"), ("empty", b""), ("ce_type", b"\xff\x00"))
    producer = backend.broker.producer()
    producer.produce([Outgoing(topic, b"\x00key", value, headers), Outgoing(topic, None, b"")])
    producer.flush(DEADLINE)
    keyed, unkeyed = sorted(_read(backend.join([topic]), 2), key=lambda m: m.key is None)
    assert (keyed.topic, keyed.key, keyed.value, keyed.headers) == (topic, b"\x00key", value, headers)
    assert (unkeyed.key, unkeyed.value, unkeyed.headers) == (None, b"", ())


def test_a_key_belongs_to_the_partition_of_kafkas_default_hash(backend: Backend) -> None:
    """Hashes of the Java client's own test (UtilsTest.testMurmur2), made positive and taken modulo 4."""
    signed = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    topic = backend.topic()
    backend.send(topic, [(key, b"") for key in signed])
    found = {m.key: m.partition for m in _read(backend.join([topic]), len(signed))}
    assert found == {key: (code & 0x7FFFFFFF) % PARTITIONS for key, code in signed.items()}


def test_lag_counts_what_was_not_polled(backend: Backend) -> None:
    topic = backend.topic()
    backend.send(topic, [(b"one key", b"%d" % n) for n in range(10)])
    consumer = backend.join([topic])
    _read(consumer, 4)
    assert sum(consumer.lag().values()) == 6
    _read(consumer, 6)
    assert sum(consumer.lag().values()) == 0


def test_a_refused_message_fails_the_flush_by_topic_and_every_call_after(backend: Backend) -> None:
    topic = backend.refusing_topic()
    producer = backend.broker.producer()
    producer.produce([Outgoing(topic, b"k", random.Random(7).randbytes(2_000))])
    with pytest.raises(DeliveryRefused) as failure:
        producer.flush(DEADLINE)
    assert failure.value.topic == topic
    assert "large" in failure.value.reason.lower()
    with pytest.raises(DeliveryFailed):
        producer.produce([Outgoing(topic, b"k", b"small")])
    with pytest.raises(DeliveryFailed):
        producer.flush(DEADLINE)


def test_an_abandoned_producer_takes_nothing_of_what_was_delivered_back(backend: Backend) -> None:
    topic = backend.topic()
    producer = backend.broker.producer()
    producer.produce([Outgoing(topic, b"k", b"1")])
    producer.flush(DEADLINE)
    producer.abandon()
    assert [m.value for m in _read(backend.join([topic]), 1)] == [b"1"]


def test_runners_of_one_group_process_everything_while_one_comes_and_one_goes(backend: Backend) -> None:
    source, sink = backend.topic(), backend.topic()

    def echo(batch: Sequence[Message]) -> Handled:
        return Handled([Outgoing(sink, m.key, m.value) for m in batch])

    def start() -> tuple[Runner, Thread]:
        runner = Runner(backend.broker, "runners", [source], echo, batch_size=20, poll_timeout=0.05)
        thread = Thread(target=runner.run)
        thread.start()
        return runner, thread

    effects: set[int] = set()
    reader = backend.join([sink])
    read = partial(_collect, reader, effects)
    first, first_thread = start()
    backend.send(source, _pairs(200))
    _until(lambda: len(effects) == 200, read)
    second, second_thread = start()
    try:
        _until(lambda: second.waiting_for is None, read)
        first.stop()
        backend.send(source, [(key, b"%d" % (int(value) + 200)) for key, value in _pairs(200)])
        _until(lambda: effects == set(range(400)), read)
    finally:
        first.stop()
        second.stop()
        first_thread.join(DEADLINE)
        second_thread.join(DEADLINE)
    backend.send(source, [(b"k", b"last")])
    assert [m.value for m in _read(backend.join([source], "runners"), 1)] == [b"last"]


def _collect(reader: Consumer, effects: set[int]) -> None:
    effects.update(int(m.value) for m in reader.poll(100, 0.05))
