"""Events while the broker is away: where they go, in which order they arrive, what callers are told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from plinth_kit.health import Health
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.metrics import measure_outbox
from plinth_kit.kafka.outbox import NotKept, Outbox
from plinth_kit.kafka.ports import DeliveryFailed, DeliveryRefused

DEADLINE = 30.0

_PUBLISH_FOR_EVER = """
import sys
from pathlib import Path
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.outbox import Outbox
broker = MemoryBroker()
broker.go_away()
outbox = Outbox(broker, Path(sys.argv[1]))
outbox.start()
n = 0
while True:
    outbox.publish([Outgoing("topic", b"key", b"%d" % (n + i)) for i in range(3)])
    n += 3
    print(n, flush=True)
"""


class World:
    """An outbox, its broker, and a clock that stands still."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 20) -> None:
        self.broker = MemoryBroker()
        self.folder, self.max_bytes = folder, max_bytes
        self.now = 1000.0
        self.outbox = self.open()

    def open(self) -> Outbox:
        return Outbox(self.broker, self.folder, max_bytes=self.max_bytes, clock=lambda: self.now)

    def publish(self, *numbers: int, topic: str = "topic", size: int = 0) -> bool:
        return self.outbox.publish([Outgoing(topic, b"key", b"%d" % n + bytes(size)) for n in numbers])

    def drain(self) -> None:
        while self.outbox.turn():
            pass

    def arrived(self, topic: str = "topic") -> list[int]:
        return [int(message.value) for message in self.broker.messages(topic)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "outbox")
    yield world
    world.outbox.stop()


def test_events_go_straight_to_a_broker_that_is_there(world: World) -> None:
    assert world.publish(1, 2)
    assert world.arrived() == [1, 2]
    assert world.outbox.waiting.messages == 0
    assert world.publish()


def test_events_wait_on_disk_while_it_is_away_and_arrive_in_order_and_once(world: World) -> None:
    world.publish(1)
    world.broker.go_away()
    assert not world.publish(2, 3)
    assert not world.publish(4)
    assert not world.outbox.turn()
    world.broker.come_back()
    assert not world.publish(5)  # behind those that wait
    world.drain()
    assert world.publish(6)
    assert world.arrived() == [1, 2, 3, 4, 5, 6]


def test_after_a_restart_what_waits_is_sent_before_anything_new(world: World) -> None:
    world.broker.go_away()
    world.publish(1, 2)
    world.outbox.stop()
    world.broker.come_back()
    world.outbox = world.open()
    assert not world.publish(3)
    world.drain()
    assert world.arrived() == [1, 2, 3]


def test_without_broker_and_room_the_caller_is_told_and_nothing_arrives_later(tmp_path: Path) -> None:
    world = World(tmp_path, max_bytes=300)
    world.broker.go_away()
    with pytest.raises(NotKept, match="no more than 300 bytes"):
        world.publish(1, 2, size=200)
    assert not world.publish(3)
    with pytest.raises(NotKept):
        world.publish(4, size=400)
    world.broker.come_back()
    world.drain()
    assert world.publish(5)
    assert world.arrived() == [3, 5]
    world.outbox.stop()


def test_an_event_that_the_broker_will_never_take_is_the_callers_to_know(world: World) -> None:
    world.broker.refuse("large", "too large")
    with pytest.raises(DeliveryRefused, match="large: too large"):
        world.publish(1, topic="large")
    assert world.publish(2)
    assert world.arrived() == [2]


def test_one_found_among_those_on_disk_is_set_aside_and_holds_nothing_up(world: World) -> None:
    world.broker.go_away()
    world.broker.refuse("large", "too large")
    for n in range(40):
        world.publish(n)
    world.publish(40, topic="large")
    world.publish(*range(41, 80))
    world.broker.come_back()
    world.drain()
    assert list(dict.fromkeys(world.arrived())) == [n for n in range(80) if n != 40]
    assert (world.outbox.refused, world.outbox.waiting.messages) == (1, 0)
    assert world.publish(80)


def test_a_delivery_that_failed_for_another_reason_is_tried_again_with_a_new_producer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = []

    class Failing:
        def produce(self, outgoing: object) -> None: ...

        def flush(self, timeout: float) -> None:
            raise DeliveryFailed("topic", "unknown topic")

        def abandon(self) -> None:
            abandoned.append(self)

    monkeypatch.setattr(world.outbox, "_producer", Failing())
    assert not world.publish(1)
    monkeypatch.setattr(world.outbox, "_producer", Failing())
    assert not world.outbox.turn()
    assert len(abandoned) == 2
    world.drain()
    assert world.arrived() == [1]


def test_health_and_metrics_say_what_waits(world: World) -> None:
    registry = CollectorRegistry()
    measure_outbox(world.outbox, registry)
    health = Health()
    health.add_degraded("kafka", world.outbox.note)
    assert health.degraded() == []
    assert registry.get_sample_value("plinth_kafka_outbox_age_seconds") == 0.0

    world.broker.go_away()
    world.publish(1, 2)
    world.now += 5.0

    assert health.degraded() == ["kafka: away, 2 events on disk, the oldest for 5 s"]
    assert health.waiting_for() == []
    assert registry.get_sample_value("plinth_kafka_outbox_messages") == 2.0
    assert registry.get_sample_value("plinth_kafka_outbox_bytes") == world.outbox.waiting.bytes > 10
    assert registry.get_sample_value("plinth_kafka_outbox_age_seconds") == 5.0
    assert registry.get_sample_value("plinth_kafka_outbox_refused_messages") == 0.0


def test_its_thread_sends_what_waits_by_itself(world: World) -> None:
    world.outbox.start()
    world.broker.go_away()
    for n in range(50):
        world.publish(n)
    world.broker.come_back()
    deadline = time.monotonic() + DEADLINE
    n = 50
    while not world.publish(n):
        n += 1
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert world.arrived() == list(range(n + 1))


def test_what_a_killed_process_acknowledged_is_sent_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PUBLISH_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in process.stdout.read().splitlines()]
    world = World(tmp_path)
    world.drain()
    arrived = world.arrived()
    assert arrived == list(range(len(arrived)))
    assert len(arrived) >= max(acknowledged, default=300)
    world.outbox.stop()
