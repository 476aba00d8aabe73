"""The ports over confluent-kafka (librdkafka)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka import Message as RawMessage

from plinth_kit.kafka.message import Message, Outgoing, Partition
from plinth_kit.kafka.ports import CommitFailed, DeliveryFailed, DeliveryPending, DeliveryRefused

_LOG = logging.getLogger(__name__)

_CLIENT = {
    "log_level": 2,  # a broker that is away would be logged every second; see _complaints
    "reconnect.backoff.max.ms": 1_000,
    "socket.nagle.disable": True,
    "topic.metadata.refresh.interval.ms": 10_000,  # how soon a topic made after the start is found
}
_CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 10_000,  # a killed member's partitions move on after this
    "heartbeat.interval.ms": 1_000,  # how soon members learn of a rebalance
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 10,  # the default of a second starves a consumer that empties the queue
}
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 2,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # the Java client's, so that every producer agrees on the partition
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 0,  # none: what the broker has not acknowledged stays queued, in order
    "delivery.report.only.error": True,
}
_GATHERED_BYTES = 1_000_000  # what ends the patience of a patient consumer before its time
_SEEK_DEADLINE = 10.0
_QUEUE_FULL_WAIT = 0.05
_COMPLAIN_EVERY = 30.0

_HOPELESS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        # The client does nothing more, only a new one is let in. E.g. a static member that a broker fences
        # because it was killed before it had written down that member's last joining.
        KafkaError._FATAL,
    }
)

_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    }
)


class KafkaBroker:
    """A Kafka cluster. `bootstrap`: host:port, comma-separated; `client_id` names this process to it.

    With `instance_id` its consumers are static members of their groups: the partitions of one that is killed
    stay its own for the session timeout, and are its at once when it comes back. Unique in a group.
    `patience_ms`: so long the broker may gather messages before it hands them to a consumer; for work that is
    in no hurry, where few large batches cost less than many small ones.
    """

    def __init__(
        self, bootstrap: str, client_id: str, instance_id: str | None = None, *, patience_ms: int = 0
    ) -> None:
        self._settings = {"bootstrap.servers": bootstrap, "client.id": client_id, **_CLIENT}
        self._consuming: dict[str, object] = {"group.instance.id": instance_id} if instance_id else {}
        if patience_ms:
            self._consuming |= {"fetch.wait.max.ms": patience_ms, "fetch.min.bytes": _GATHERED_BYTES}

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> KafkaConsumer:
        """See the port Broker."""
        own = {"group.id": group, "error_cb": _complaints(), **self._consuming}
        client = Consumer({**self._settings, **_CONSUMER, **own})
        return KafkaConsumer(client, topics, on_revoke)

    def producer(self) -> KafkaProducer:
        """See the port Broker."""
        return KafkaProducer({**self._settings, **_PRODUCER})


class KafkaConsumer:
    """See the port Consumer."""

    def __init__(
        self, client: Consumer, topics: Sequence[str], on_revoke: Callable[[], None] | None = None
    ) -> None:
        self._client = client
        self._on_revoke = on_revoke
        self._owned: frozenset[Partition] = frozenset()
        self._given_up: set[Partition] = set()
        self._paused = False
        client.subscribe(list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, max_messages: int, timeout: float) -> list[Message]:
        self._given_up.clear()
        raw = self._client.consume(max_messages, 0)
        if not raw and timeout > 0:
            # consume() with a timeout waits until the batch is full; poll() returns with the first message.
            first = self._client.poll(timeout)
            if first is None:
                return []
            raw = [first, *self._client.consume(max_messages - 1, 0)] if max_messages > 1 else [first]
        messages = [_message(record) for record in raw if not _is_error(record)]
        if self._given_up:
            messages = [m for m in messages if (m.topic, m.partition) not in self._given_up]
        return messages

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        owned = [TopicPartition(*tp, offset) for tp, offset in offsets.items() if tp in self._owned]
        if not owned:
            return
        try:
            stored = self._client.commit(offsets=owned, asynchronous=False)
        except KafkaException as e:
            raise CommitFailed(str(e.args[0])) from e
        for part in stored:
            if part.error is not None:
                raise CommitFailed(f"{part.topic}/{part.partition}: {part.error}")

    def pause(self) -> None:
        self._paused = True
        self._client.pause(_parts(self._owned))

    def resume(self) -> None:
        self._paused = False
        self._client.resume(_parts(self._owned))

    def seek_to_beginning(self, partitions: Collection[Partition]) -> None:
        deadline = time.monotonic() + _SEEK_DEADLINE
        for part in _parts([tp for tp in self._owned if tp in partitions]):
            part.offset = OFFSET_BEGINNING
            self._seek(part, deadline)

    def assignment(self) -> frozenset[Partition]:
        return self._owned

    def lag(self) -> Mapping[Partition, int]:
        lags = {}
        for part in self._client.position(_parts(self._owned)):
            watermarks = self._client.get_watermark_offsets(part, cached=True)
            if part.offset >= 0 and watermarks is not None and watermarks[1] >= 0:
                lags[part.topic, part.partition] = max(0, watermarks[1] - part.offset)
        return lags

    def close(self) -> None:
        self._client.close()

    def _seek(self, part: TopicPartition, deadline: float) -> None:
        """A partition just assigned cannot be sought until its fetcher has started."""
        while True:
            try:
                self._client.seek(part)
                return
            except KafkaException as e:
                if e.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _assigned(self, client: Consumer, parts: list[TopicPartition]) -> None:
        client.incremental_assign(parts)
        # The client remembers the pause of a partition that was given up, and would never read it again.
        (client.pause if self._paused else client.resume)(parts)
        keys = _keys(parts)
        self._owned |= keys
        self._given_up -= keys

    def _revoked(self, client: Consumer, parts: list[TopicPartition]) -> None:
        if self._on_revoke is not None:
            self._on_revoke()
        self._give_up(client, parts)

    def _lost(self, client: Consumer, parts: list[TopicPartition]) -> None:
        """Others may own these already, so they must not be committed any more."""
        self._give_up(client, parts)
        if self._on_revoke is not None:
            self._on_revoke()

    def _give_up(self, client: Consumer, parts: list[TopicPartition]) -> None:
        keys = _keys(parts)
        self._owned -= keys
        self._given_up |= keys
        client.incremental_unassign(parts)


class KafkaProducer:
    """See the port Producer."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._client = Producer({**settings, "on_delivery": self._delivered, "error_cb": _complaints()})
        self._failure: DeliveryFailed | None = None
        self._topics: set[str] = set()

    def produce(self, outgoing: Sequence[Outgoing]) -> None:
        self._client.poll(0)
        self._raise_failure()
        send = self._client.produce
        for message in outgoing:
            headers = list(message.headers)
            self._topics.add(message.topic)
            while True:
                try:
                    send(message.topic, message.value, message.key, headers=headers)
                    break
                except BufferError:
                    self._client.poll(_QUEUE_FULL_WAIT)
                    self._raise_failure()
                except KafkaException as e:
                    self._failure = _failure(message.topic, e.args[0])
                    raise self._failure from e

    def flush(self, timeout: float) -> None:
        queued = self._client.flush(timeout)
        self._raise_failure()
        if queued:
            topics = ", ".join(sorted(self._topics))
            raise DeliveryPending(topics, f"{queued} messages not acknowledged in {timeout:g} s")
        self._topics.clear()

    def abandon(self) -> None:
        self._client.purge()
        self._client.close()

    def _delivered(self, error: KafkaError | None, record: RawMessage) -> None:
        if error is not None and self._failure is None:
            self._failure = _failure(str(record.topic()), error)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _failure(topic: str, error: KafkaError) -> DeliveryFailed:
    kind = DeliveryRefused if error.code() in _REFUSED else DeliveryFailed
    return kind(topic, error.str())


def _message(record: RawMessage) -> Message:
    headers: list[tuple[str, bytes]] = record.headers() or []
    for _, value in headers:
        if value is None:  # rare, so that the others are not copied
            headers = [(name, value or b"") for name, value in headers]
            break
    return Message(
        record.topic(),
        record.partition(),
        record.offset(),
        record.key(),
        record.value() or b"",
        tuple(headers),
        record.timestamp()[1],
    )


def _is_error(record: RawMessage) -> bool:
    """Whether this is an event in place of a message; what the client cannot recover from is raised."""
    error = record.error()
    if error is None:
        return False
    if error.fatal() or error.code() in _HOPELESS:
        raise KafkaException(error)
    _LOG.warning("kafka: %s", error)
    return True


def _complaints() -> Callable[[KafkaError], None]:
    """Logs each kind of error of a client once in a while; the client itself recovers from them."""
    logged: dict[int, float] = {}

    def on_error(error: KafkaError) -> None:
        now = time.monotonic()
        if now - logged.get(error.code(), -_COMPLAIN_EVERY) >= _COMPLAIN_EVERY:
            logged[error.code()] = now
            _LOG.warning("kafka: %s", error.str())

    return on_error


def _keys(parts: Collection[TopicPartition]) -> frozenset[Partition]:
    return frozenset((part.topic, part.partition) for part in parts)


def _parts(keys: Collection[Partition]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for topic, partition in keys]
