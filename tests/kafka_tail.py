"""Topics as plain clients write and read them, without the platform's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from fixtures_platform import wait_until

Send = Callable[[str, str, dict[str, Any] | bytes], None]
"""Sends a value (a dict as JSON) with a key to a topic."""


@contextmanager
def sender(bootstrap: str) -> Iterator[Send]:
    """Produces with kafka-python, waiting for the acknowledgement of each message."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")

    def produce(topic: str, key: str, value: dict[str, Any] | bytes) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        producer.send(topic, key=key.encode(), value=data).get(timeout=30)

    try:
        yield produce
    finally:
        producer.close()


class Tail:
    """Topics from now on, or from their start. Belongs to one thread."""

    def __init__(self, bootstrap: str, topics: list[str], *, from_start: bool = False) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False}
        )
        known = self._consumer.list_topics(timeout=30).topics
        self._parts = [TopicPartition(topic, part) for topic in topics for part in known[topic].partitions]
        ends = self._ends()
        self._next = dict.fromkeys(ends, 0) if from_start else ends
        places = [
            TopicPartition(*place, OFFSET_BEGINNING if from_start else end) for place, end in ends.items()
        ]
        self._consumer.assign(places)
        self._seen: list[Any] = []

    def find(self, topic: str, **fields: str) -> Any:
        """The first record of a topic whose JSON value has these fields; fails the test without one."""

        looked_at = 0

        def found() -> Any:
            nonlocal looked_at
            self._poll()
            new, looked_at = self._seen[looked_at:], len(self._seen)
            records = (record for record in new if record.topic() == topic)
            return next((record for record in records if fields.items() <= as_json(record).items()), None)

        return wait_until(found, f"{topic} with {fields}")

    def json(self, topic: str, **fields: str) -> dict[str, Any]:
        """The value of what `find` finds."""
        return as_json(self.find(topic, **fields))

    def rest(self) -> list[Any]:
        """Every record up to the present end."""
        ends = self._ends()
        while any(self._next[place] < end for place, end in ends.items()):
            self._poll()
        return self._seen

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()

    def _ends(self) -> dict[tuple[str, int], int]:
        return {
            (part.topic, part.partition): self._consumer.get_watermark_offsets(part, timeout=30)[1]
            for part in self._parts
        }

    def _poll(self) -> None:
        for record in self._consumer.consume(5_000, 0.1):
            if record.error() is None:
                self._seen.append(record)
                self._next[record.topic(), record.partition()] = record.offset() + 1


def as_json(record: Any) -> dict[str, Any]:
    """The value of a record; empty where it is no JSON object."""
    try:
        value = json.loads(record.value())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
