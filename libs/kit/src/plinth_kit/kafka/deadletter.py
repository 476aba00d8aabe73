"""Dead letters: what they look like, and how many are too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plinth_kit.kafka.message import Headers, Message, Outgoing

SUFFIX = ".dlq"
PREFIX = "plinth_dlq_"
TOPIC, PARTITION, OFFSET, REASON, CUT, REPLAYS = (
    PREFIX + name for name in ("topic", "partition", "offset", "reason", "cut", "replays")
)
"""Headers of a dead letter; REPLAYS, of one that failed again, says how often it had been sent back."""

MAX_BYTES, MAX_KEY_BYTES = 900_000, 10_000
"""Of key, value and headers, and of a key alone: what producer and broker take by default, with some room."""
MAX_REASON = 1_000


class TooManyInvalid(Exception):
    """So many messages are invalid that the reader is likely at fault; nothing of the batch is committed."""


def dead_letter(message: Message, reason: str) -> Outgoing:
    """The message with its original key, bytes and headers for `<topic>.dlq`, and where and why it failed.

    One of more than MAX_BYTES would be refused with what is added, and nothing after it be read: its value is
    cut, its headers and a key of more than MAX_KEY_BYTES are dropped, and the header `plinth_dlq_cut` has its
    size.
    """
    origin: Headers = (
        (TOPIC, message.topic.encode()),
        (PARTITION, str(message.partition).encode()),
        (OFFSET, str(message.offset).encode()),
        (REASON, reason[:MAX_REASON].encode(errors="replace")),
    )
    topic, key = message.topic + SUFFIX, message.key
    of_headers = sum(len(name) + len(value) for name, value in message.headers)
    size = len(key or b"") + len(message.value) + of_headers
    if size <= MAX_BYTES:
        return Outgoing(topic, key, message.value, message.headers + origin)
    kept = key if key is None or len(key) <= MAX_KEY_BYTES else None
    return Outgoing(topic, kept, message.value[:MAX_BYTES], (*origin, (CUT, str(size).encode())))


class Count(NamedTuple):
    """Messages, and how many of them were invalid."""

    messages: int = 0
    invalid: int = 0


_NONE = Count()


@dataclass(frozen=True, slots=True)
class Tally:
    """The latest half window, the one before it, and the length of the current run of invalid messages."""

    current: Count = _NONE
    previous: Count = _NONE
    consecutive: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """Bounds how much goes to the dead letter topic, so that a broken deploy does not drain a topic into it.

    max_share: invalid share of about the last `window` messages, in [0, 1]. Until so many were seen the
    share is still of `window`, so that one bad message at the start stops nothing.
    max_consecutive: invalid messages in a row, in the order of consumption.
    """

    max_share: float = 0.1
    max_consecutive: int = 100
    window: int = 2_000

    def count(self, tally: Tally, messages: int, invalid: Sequence[int]) -> Tally:
        """The tally after a batch of `messages`, of which those at the ascending positions `invalid` failed.

        Raises TooManyInvalid when a bound is exceeded.
        """
        longest, consecutive = _runs(messages, invalid, tally.consecutive)
        if longest > self.max_consecutive:
            raise TooManyInvalid(f"{longest} invalid messages in a row (limit {self.max_consecutive})")
        current = Count(tally.current.messages + messages, tally.current.invalid + len(invalid))
        seen = current.messages + tally.previous.messages
        failed = current.invalid + tally.previous.invalid
        if invalid and failed > self.max_share * max(seen, self.window):
            raise TooManyInvalid(f"{failed} of the last {seen} messages invalid (limit {self.max_share:.0%})")
        if 2 * current.messages >= self.window:
            return Tally(_NONE, current, consecutive)
        return Tally(current, tally.previous, consecutive)


def _runs(messages: int, invalid: Sequence[int], before: int) -> tuple[int, int]:
    """Longest run of invalid messages and the run that is open at the end; `before` joins the first."""
    longest, run, expected = 0, before, 0  # expected: where the open run goes on
    for position in invalid:
        run = run + 1 if position == expected else 1
        longest, expected = max(longest, run), position + 1
    return longest, run if expected == messages else 0
