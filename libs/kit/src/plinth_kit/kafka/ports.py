"""Ports to a message broker. The contract suite runs over every adapter.

Delivery is at least once and in order per partition. A consumer and its callbacks belong to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from plinth_kit.kafka.message import Message, Outgoing, Partition


class DeliveryFailed(Exception):
    """A produced message is lost for good. Nothing that caused it may be committed."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"{topic}: {reason}")
        self.topic = topic
        self.reason = reason


class DeliveryPending(DeliveryFailed):
    """Messages are still queued when the time is up; a later flush may deliver them."""


class DeliveryRefused(DeliveryFailed):
    """The broker is there and will never take this message, e.g. because it is too large."""


class CommitFailed(Exception):
    """The broker did not take the offsets; the commit may be tried again."""


class Consumer(Protocol):
    """A member of a consumer group, at the committed offsets or else at the beginning of the log."""

    def poll(self, max_messages: int, timeout: float) -> list[Message]:
        """Up to `max_messages` that are there now; waits up to `timeout` seconds only while there are none.

        Rebalancing happens inside: on_revoke is called before partitions are given up, and no message of
        a partition that was given up is returned. Must be called regularly to stay in the group.
        """

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Stores the next offset to read (last + 1) per partition; on return the broker holds them.

        Partitions that are not assigned are left out: they are another member's now. Raises CommitFailed.
        """

    def pause(self) -> None:
        """Until resume, poll returns nothing, for partitions assigned later too. Nothing is skipped."""

    def resume(self) -> None:
        """Ends pause; reading goes on after the last polled message."""

    def seek_to_beginning(self, partitions: Collection[Partition]) -> None:
        """The next message polled of each of these partitions, if it is assigned, is its first one."""

    def assignment(self) -> frozenset[Partition]:
        """Partitions that this member owns, as of the last poll."""

    def lag(self) -> Mapping[Partition, int]:
        """Messages in the log after the last polled one, as of the last fetch.

        Partitions of which nothing was polled yet may be absent.
        """

    def close(self) -> None:
        """Calls on_revoke if partitions are assigned, then leaves the group. Commits nothing by itself."""


class Producer(Protocol):
    """Sends messages in order per partition. After a failed delivery every call raises it again."""

    def produce(self, outgoing: Sequence[Outgoing]) -> None:
        """Enqueues; blocks while the local queue is full. Raises DeliveryFailed of an earlier message."""

    def flush(self, timeout: float) -> None:
        """Returns once all that was produced is acknowledged by the broker.

        Raises DeliveryFailed with the topic and reason of the first message that was lost (DeliveryRefused
        where no other try can help), DeliveryPending when some are still queued after `timeout` seconds.
        """

    def abandon(self) -> None:
        """Forgets what is queued, so that none of it is sent from now on, and ends the producer's use.

        What was under way may have reached the broker all the same.
        """


class Broker(Protocol):
    """Makes consumers and producers. Neither call waits for the broker."""

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> Consumer:
        """Joins `group`. on_revoke is called from poll or close, before (or, where the group has thrown
        the member out, after) partitions are given up: the last chance to commit what was done."""

    def producer(self) -> Producer:
        """A producer whose deliveries are idempotent within its lifetime."""
