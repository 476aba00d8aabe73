"""W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): ids that follow a request everywhere."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Protocol

import msgspec

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SIZE = 55


class ByteSource(Protocol):
    """Where random bytes come from; a `numpy.random.Generator` is one."""

    def bytes(self, length: int, /) -> builtins.bytes:
        """So many random bytes."""
        ...


class SystemBytes:
    """Random bytes of the operating system."""

    def bytes(self, length: int, /) -> builtins.bytes:
        """So many random bytes."""
        return os.urandom(length)


SYSTEM: ByteSource = SystemBytes()


class TraceContext(msgspec.Struct, frozen=True):
    """A position in a trace: 32 and 16 lowercase hex digits, neither all zero."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def child(self, rng: ByteSource = SYSTEM) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, _nonzero(rng.bytes(8).hex()), self.sampled)

    def format(self) -> str:
        """The `traceparent` header of this span, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


current: ContextVar[TraceContext | None] = ContextVar("plinth_trace", default=None)


def parse(traceparent: str | bytes | None) -> TraceContext | None:
    """The context of a `traceparent`, or None where it is missing or breaks the rules of version 00.

    The caller then starts a new trace, as the specification asks. Other versions count as unreadable.
    """
    if traceparent is None:
        return None
    text = traceparent.decode("latin-1") if isinstance(traceparent, bytes) else traceparent
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


def new(rng: ByteSource = SYSTEM) -> TraceContext:
    """The root of a new, sampled trace."""
    both = rng.bytes(24).hex()
    return TraceContext(_nonzero(both[:32]), _nonzero(both[32:]))


def passed_on(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The trace header of a message for those that follow from it; dropped where its size is not one's."""
    return [header for header in headers if header[0] == "traceparent" and len(header[1]) == _SIZE][:1]


def header(context: TraceContext) -> tuple[str, bytes]:
    """The Kafka header that carries this context."""
    return ("traceparent", context.format().encode())


def _nonzero(digits: str) -> str:
    return digits if digits.strip("0") else digits[:-1] + "1"
