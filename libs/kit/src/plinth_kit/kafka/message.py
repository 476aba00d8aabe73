"""What travels between Kafka and a handler."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from msgspec import Struct

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
Partition: TypeAlias = tuple[str, int]
"""Topic and partition number."""


class Message(Struct, frozen=True, gc=False):
    """A consumed record. A null value (tombstone) or null header value reads as b''."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


def sent_at(message: Message) -> datetime:
    """When a message was sent, as its producer says."""
    return datetime.fromtimestamp(message.timestamp_ms / 1000, UTC)


class Outgoing(Struct, frozen=True, gc=False):
    """A record to produce. Same key, same partition; a key of None spreads over partitions."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Invalid(Struct, frozen=True):
    """A message that cannot be read or must not be processed: it goes to the dead letter topic."""

    message: Message
    reason: str


class Handled(Struct, frozen=True):
    """What a handler made of one batch. A message in neither list was processed without output."""

    outgoing: Sequence[Outgoing] = ()
    invalid: Sequence[Invalid] = ()


class Unavailable(Exception):
    """Raised by a handler when a neighbour, e.g. "redis", is away: the batch is retried with backoff."""

    def __init__(self, needs: str) -> None:
        super().__init__(f"waiting for {needs}")
        self.needs = needs


class Rewind(Exception):
    """Raised by a handler that lost its state: read these partitions again from the beginning.

    That is committed before anything else, so that it holds over a crash. The batch is dropped; its messages
    of other partitions are handed over again.
    """

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(f"rewind {', '.join(f'{topic}/{number}' for topic, number in sorted(partitions))}")
        self.partitions = frozenset(partitions)


class Handler(Protocol):
    """Turns a batch into output. Idempotent: any message may be seen again after a crash or rebalance.

    Raises Unavailable or Rewind as described there; any other exception stops the runner uncommitted.
    """

    def __call__(self, batch: Sequence[Message], /) -> Handled: ...
