"""The outbox over a real broker that is stopped, hung and started again."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures_kafka import KafkaProcess, MakeTopic

from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.kafka.ports import DeliveryFailed

DEADLINE = 60.0


class World:
    """An outbox, a topic, and what has arrived in it."""

    def __init__(self, kafka: KafkaProcess, topic: str, folder: Path) -> None:
        self.kafka, self.topic, self.folder = kafka, topic, folder
        self.broker = KafkaBroker(kafka.bootstrap, "outbox")
        self.sent = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.broker, self.folder, flush_seconds=0.5)
        self.outbox.start()

    def publish(self, count: int = 1) -> bool:
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        return self.outbox.publish([Outgoing(self.topic, b"k%d" % (n % 5), b"%d" % n) for n in numbers])

    def publish_until_kafka_has_them_at_once(self) -> None:
        _until(self.publish)

    def arrived(self) -> list[tuple[bytes | None, int]]:
        """All messages up to the last one sent, each partition in its order."""
        consumer = self.broker.consumer(uuid.uuid4().hex, [self.topic])
        found: list[tuple[bytes | None, int]] = []

        def read() -> bool:
            found.extend((m.key, int(m.value)) for m in consumer.poll(1000, 0.1))
            return len({n for _, n in found}) >= self.sent

        _until(read)
        _until(lambda: sum(consumer.lag().values()) == 0 or not read())
        consumer.close()
        return found

    def first_arrivals(self) -> dict[bytes | None, list[int]]:
        by_key: dict[bytes | None, dict[int, None]] = {}
        for key, number in self.arrived():
            by_key.setdefault(key, {})[number] = None
        return {key: list(numbers) for key, numbers in by_key.items()}

    def expected(self) -> dict[bytes | None, list[int]]:
        return {b"k%d" % key: list(range(key, self.sent, 5)) for key in range(5)}


@pytest.fixture
def world(kafka_process: KafkaProcess, make_topic: MakeTopic, tmp_path: Path) -> Iterator[World]:
    world = World(kafka_process, make_topic(4), tmp_path)
    yield world
    world.outbox.stop()


@pytest.fixture
def stopped(world: World) -> Iterator[World]:
    """The same, with events sent and Kafka stopped; it runs again afterwards."""
    world.publish_until_kafka_has_them_at_once()
    world.kafka.stop()
    yield world
    if not world.kafka.is_running:
        world.kafka.start()


def test_events_of_an_absence_arrive_in_order_once_kafka_is_back(stopped: World) -> None:
    for _ in range(300):
        assert not stopped.publish(3)
    assert stopped.outbox.waiting.messages == 900
    stopped.kafka.start()
    stopped.publish_until_kafka_has_them_at_once()
    assert stopped.first_arrivals() == stopped.expected()


def test_so_do_those_of_a_process_that_ended_meanwhile(stopped: World) -> None:
    assert not stopped.publish(50)
    assert not stopped.publish(50)
    stopped.outbox.stop()
    stopped.kafka.start()
    stopped.open()
    stopped.publish_until_kafka_has_them_at_once()
    assert stopped.first_arrivals() == stopped.expected()


def test_a_broker_that_hangs_is_not_waited_for_and_gets_each_event_once(world: World) -> None:
    world.publish_until_kafka_has_them_at_once()
    world.kafka.send_signal(signal.SIGSTOP)
    try:
        assert [world.publish(2) for _ in range(100)] == [False] * 100
    finally:
        world.kafka.send_signal(signal.SIGCONT)
    world.publish_until_kafka_has_them_at_once()
    assert sorted(number for _, number in world.arrived()) == list(range(world.sent))
    assert world.first_arrivals() == world.expected()


def test_an_abandoned_producer_sends_nothing_more(stopped: World) -> None:
    producer = stopped.broker.producer()
    producer.produce([Outgoing(stopped.topic, b"k0", b"-1")])
    with pytest.raises(DeliveryFailed):
        producer.flush(0.5)
    producer.abandon()
    stopped.kafka.start()
    stopped.publish_until_kafka_has_them_at_once()
    assert stopped.first_arrivals() == stopped.expected()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
