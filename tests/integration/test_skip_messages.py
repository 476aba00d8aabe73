"""A group goes on behind what stopped it, over a real broker; and never while somebody reads."""

from __future__ import annotations

import time
import uuid

import pytest
from fixtures_kafka import MakeTopic

from plinth_cli import kafka_admin, skipping
from plinth_cli.errors import PlatformError
from plinth_cli.skipping import Skip, Standing
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing

DEADLINE = 60.0


def read(
    broker: KafkaBroker, group: str, topic: str, count: int, *, commit: int | None = None
) -> list[bytes]:
    """The next `count` values of a group with one partition, then it leaves."""
    consumer, values = broker.consumer(group, [topic]), []
    deadline = time.monotonic() + DEADLINE
    while len(values) < count and time.monotonic() < deadline:
        values += [message.value for message in consumer.poll(count, 0.1)]
    if commit is not None:
        consumer.commit({(topic, 0): commit})
    consumer.close()
    return values[:count]


def test_a_group_reads_on_behind_what_was_skipped(kafka_bootstrap: str, make_topic: MakeTopic) -> None:
    topic, group = make_topic(1), uuid.uuid4().hex
    broker = KafkaBroker(kafka_bootstrap, "test")
    producer = broker.producer()
    producer.produce([Outgoing(topic, None, b"%d" % number) for number in range(10)])
    producer.flush(DEADLINE)
    assert read(broker, group, topic, 2, commit=2) == [b"0", b"1"]
    with kafka_admin.connect(kafka_bootstrap) as admin:
        assert skipping.wait_for_leaving(admin, group, DEADLINE) == []
        standings = skipping.standings(admin, group, topic)
        assert standings == {0: Standing(0, 10, 2)}
        skips = skipping.plan(standings, "+5")
        assert skips == [Skip(0, 2, 7)]
        skipping.move(admin, group, topic, skips)
    assert read(broker, group, topic, 3) == [b"7", b"8", b"9"]


def test_a_group_with_members_is_not_moved(kafka_bootstrap: str, make_topic: MakeTopic) -> None:
    topic, group = make_topic(1), uuid.uuid4().hex
    reader = KafkaBroker(kafka_bootstrap, "client", "fraud-scorer-worker").consumer(group, [topic])
    deadline = time.monotonic() + DEADLINE
    while not reader.assignment() and time.monotonic() < deadline:
        reader.poll(1, 0.05)
    told: list[str] = []
    with kafka_admin.connect(kafka_bootstrap) as admin:
        here = skipping.wait_for_leaving(admin, group, 0.0, lambda: told.append("waiting"))
        assert (here, told) == (["fraud-scorer-worker"], ["waiting"])
        with pytest.raises(PlatformError, match="partition 0 was not moved: UnknownMemberId"):
            skipping.move(admin, group, topic, [Skip(0, 0, 1)])
    reader.close()


def test_what_is_not_there_is_named(kafka_bootstrap: str, make_topic: MakeTopic) -> None:
    topic, other, group = make_topic(1), make_topic(1), uuid.uuid4().hex
    broker = KafkaBroker(kafka_bootstrap, "test")
    producer = broker.producer()
    producer.produce([Outgoing(topic, None, b"x")])
    producer.flush(DEADLINE)
    read(broker, group, topic, 1, commit=1)
    with kafka_admin.connect(kafka_bootstrap) as admin:
        with pytest.raises(PlatformError, match="there is no topic nowhere"):
            skipping.standings(admin, group, "nowhere")
        with pytest.raises(PlatformError, match="there is no consumer group nobody"):
            skipping.standings(admin, "nobody", topic)
        with pytest.raises(PlatformError, match=f"has never read {other}"):
            skipping.standings(admin, group, other)
