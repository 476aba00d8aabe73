"""The way back of dead letters: read `<topic>.dlq`, send the original bytes to the original topic."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from plinth_kit.kafka.deadletter import CUT, OFFSET, PARTITION, PREFIX, REASON, REPLAYS, SUFFIX, TOPIC

GROUP = "plinth-replay-dlq"
_SEND_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class DeadLetter:
    """A message that could not be processed: the original, where it stood, and why it failed.

    `position` is its own offset in the dead letter topic; `partition` is None where the header is missing.
    One that is `cut` was too large to be kept whole. `replays`: how often it was sent back and failed.
    `twin`: another reader set the same message aside, and that letter was met before.
    """

    position: int
    topic: str
    partition: int | None
    offset: str
    reason: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    cut: bool = False
    replays: int = 0
    twin: bool = False

    @property
    def goes_back(self) -> bool:
        """Whether sending it does anything."""
        return not (self.cut or self.twin)


def read(position: int, record: Any, topic: str) -> DeadLetter:
    """A record of `<topic>.dlq` as a dead letter; its own headers are taken off."""
    about = {
        name: (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
    partition, replays = about.get(PARTITION, ""), about.get(REPLAYS, "")
    return DeadLetter(
        position=position,
        topic=about.get(TOPIC, topic),
        partition=int(partition) if partition.isdigit() else None,
        offset=about.get(OFFSET, "?"),
        reason=about.get(REASON, "unknown"),
        key=record.key,
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX)),
        cut=CUT in about,
        replays=int(replays) if replays.isdigit() else 0,
    )


class Replay:
    """One pass over the dead letters of a topic that were there when it began.

    The consumer group remembers how far earlier passes came. A message is marked after the broker has
    confirmed its copy: a crash in between sends that one message twice, never loses one.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        from kafka import KafkaConsumer, TopicPartition

        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        self._bootstrap = bootstrap
        self._topic = topic
        self._source = TopicPartition(topic + SUFFIX, 0)
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False)
        self._producer: Any = None

    def pending(self, limit: int | None = None) -> Iterator[DeadLetter]:
        """Dead letters not yet replayed, oldest first, at most `limit`."""
        source = self._source
        self._consumer.assign([source])
        first = self._consumer.beginning_offsets([source])[source]
        end = self._consumer.end_offsets([source])[source]
        position = max(self._consumer.committed(source) or 0, first)
        last = end if limit is None else min(end, position + limit)
        self._consumer.seek(source, position)
        met: set[tuple[str, int | None, str]] = set()
        while position < last:
            for record in self._consumer.poll(timeout_ms=1000).get(source, ()):
                if record.offset >= last:
                    return
                letter = read(record.offset, record, self._topic)
                origin = (letter.topic, letter.partition, letter.offset)
                yield replace(letter, twin=letter.offset.isdigit() and origin in met)
                met.add(origin)
            position = self._consumer.position(source)

    def send(self, letter: DeadLetter) -> None:
        """Send a letter back and mark it as replayed; KafkaError if the broker does not confirm.

        A header counts how often, and comes along if it fails again. What does not go back is marked alone.
        """
        from kafka.structs import OffsetAndMetadata

        if letter.goes_back:
            if self._producer is None:
                self._producer = self._make_producer()
            sent = self._producer.send(
                letter.topic,
                value=letter.value,
                key=letter.key,
                headers=[*letter.headers, (REPLAYS, b"%d" % (letter.replays + 1))],
                partition=letter.partition,
            )
            sent.get(timeout=_SEND_TIMEOUT_SECONDS)
        self._consumer.commit({self._source: OffsetAndMetadata(letter.position + 1, "", -1)})

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False)
        if self._producer is not None:
            self._producer.close()

    def _make_producer(self) -> Any:
        from kafka import KafkaProducer

        return KafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=0)
