"""A broker in memory for tests: same ports and semantics as Kafka, one process, no surprises.

Deterministic: partitions are dealt out in order, messages come partition by partition, and time stands
still unless `now_ms` is given. Runners may use it from several threads.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition

from plinth_kit.kafka.message import Message, Outgoing, Partition
from plinth_kit.kafka.partitioner import partition_of
from plinth_kit.kafka.ports import CommitFailed, DeliveryFailed, DeliveryPending, DeliveryRefused


@dataclass
class _Group:
    """Members in order of joining, who owns what, and the committed next offsets."""

    members: list[MemoryConsumer] = field(default_factory=list)
    owners: dict[Partition, MemoryConsumer] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)


class MemoryBroker:
    """Topics come into being with `partitions` partitions when they are first named."""

    def __init__(self, partitions: int = 4, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.changed = Condition()
        self._partitions = partitions
        self._now_ms = now_ms
        self._logs: dict[str, list[list[Message]]] = {}
        self._groups: defaultdict[str, _Group] = defaultdict(_Group)
        self._refused: dict[str, str] = {}
        self._unkeyed = 0
        self.is_away = False

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> MemoryConsumer:
        """A new member; it gets partitions when it and the members before it have polled."""
        with self.changed:
            state = self._groups[group]
            consumer = MemoryConsumer(self, state, topics, on_revoke)
            state.members.append(consumer)
            return consumer

    def producer(self) -> MemoryProducer:
        """A producer whose messages are visible at once."""
        return MemoryProducer(self)

    def messages(self, topic: str) -> list[Message]:
        """All messages of a topic, partition by partition."""
        with self.changed:
            return [message for log in self.log(topic) for message in log]

    def committed(self, group: str) -> Mapping[Partition, int]:
        """The next offsets that the group has committed."""
        with self.changed:
            return dict(self._groups[group].committed)

    def refuse(self, topic: str, reason: str) -> None:
        """From now on deliveries to `topic` fail."""
        self._refused[topic] = reason

    def go_away(self) -> None:
        """Until come_back producers queue, and consumers get nothing and cannot commit."""
        self.is_away = True

    def come_back(self) -> None:
        """Ends go_away. What producers have queued arrives when they next produce or flush."""
        with self.changed:
            self.is_away = False
            self.changed.notify_all()

    def append(self, outgoing: Outgoing) -> str | None:
        """Stores one message; the reason if it is refused."""
        if outgoing.topic in self._refused:
            return self._refused[outgoing.topic]
        with self.changed:
            partition = self._partition(outgoing.key)
            log = self.log(outgoing.topic)[partition]
            log.append(
                Message(
                    outgoing.topic,
                    partition,
                    len(log),
                    outgoing.key,
                    outgoing.value,
                    outgoing.headers,
                    self._now_ms(),
                )
            )
            self.changed.notify_all()
        return None

    def log(self, topic: str) -> list[list[Message]]:
        """The partitions of a topic; the caller holds `changed`."""
        return self._logs.setdefault(topic, [[] for _ in range(self._partitions)])

    def _partition(self, key: bytes | None) -> int:
        if key is not None:
            return partition_of(key, self._partitions)
        self._unkeyed += 1
        return self._unkeyed % self._partitions


class MemoryConsumer:
    """See the port Consumer."""

    def __init__(
        self,
        broker: MemoryBroker,
        group: _Group,
        topics: Sequence[str],
        on_revoke: Callable[[], None] | None,
    ) -> None:
        self.topics = frozenset(topics)
        self._broker = broker
        self._group = group
        self._on_revoke = on_revoke
        self._positions: dict[Partition, int] = {}
        self._paused = False

    def poll(self, max_messages: int, timeout: float) -> list[Message]:
        self._rebalance()
        deadline = time.monotonic() + timeout
        with self._broker.changed:
            while not (messages := self._take(max_messages)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._broker.changed.wait(left):
                    break
            return messages

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._broker.is_away:
            raise CommitFailed("the broker is away")
        with self._broker.changed:
            self._group.committed.update({tp: n for tp, n in offsets.items() if tp in self._positions})

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def seek_to_beginning(self, partitions: Collection[Partition]) -> None:
        self._positions.update({tp: 0 for tp in self._positions if tp in partitions})

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def lag(self) -> Mapping[Partition, int]:
        with self._broker.changed:
            return {tp: len(self._log(tp)) - position for tp, position in self._positions.items()}

    def close(self) -> None:
        with self._broker.changed:
            if self not in self._group.members:
                return
        self._release(set(self._positions))
        with self._broker.changed:
            self._group.members.remove(self)
            self._broker.changed.notify_all()

    def _rebalance(self) -> None:
        """Gives up what others should own, then takes what is its own and free."""
        with self._broker.changed:
            target = self._target()
        self._release(self._positions.keys() - target)
        with self._broker.changed:
            for tp in sorted(target - self._positions.keys() - self._group.owners.keys()):
                self._group.owners[tp] = self
                self._positions[tp] = self._group.committed.get(tp, 0)

    def _release(self, partitions: Collection[Partition]) -> None:
        if not partitions:
            return
        if self._on_revoke is not None:
            self._on_revoke()
        with self._broker.changed:
            for tp in partitions:
                del self._positions[tp], self._group.owners[tp]
            self._broker.changed.notify_all()

    def _target(self) -> set[Partition]:
        """Every partition goes to the members that subscribe to its topic in turn."""
        target = set()
        for topic in self.topics:
            members = [m for m in self._group.members if topic in m.topics]
            for number in range(len(self._broker.log(topic))):
                if members[number % len(members)] is self:
                    target.add((topic, number))
        return target

    def _take(self, max_messages: int) -> list[Message]:
        messages: list[Message] = []
        if not self._paused and not self._broker.is_away:
            for tp, position in sorted(self._positions.items()):
                taken = self._log(tp)[position : position + max_messages - len(messages)]
                self._positions[tp] += len(taken)
                messages += taken
        return messages

    def _log(self, tp: Partition) -> list[Message]:
        return self._broker.log(tp[0])[tp[1]]


class MemoryProducer:
    """See the port Producer."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._queue: deque[Outgoing] = deque()
        self._failure: DeliveryFailed | None = None

    def produce(self, outgoing: Sequence[Outgoing]) -> None:
        self._raise_failure()
        self._queue += outgoing
        self._deliver()

    def flush(self, timeout: float) -> None:  # noqa: ARG002  the port's argument: nothing waits here
        self._deliver()
        self._raise_failure()
        if self._queue:
            raise DeliveryPending(self._queue[0].topic, f"{len(self._queue)} messages not acknowledged")

    def abandon(self) -> None:
        self._queue.clear()

    def _deliver(self) -> None:
        while self._queue and not self._broker.is_away:
            message = self._queue.popleft()
            reason = self._broker.append(message)
            if reason is not None and self._failure is None:
                self._failure = DeliveryRefused(message.topic, reason)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
