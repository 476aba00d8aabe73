"""CloudEvents 1.0 on Kafka, binary mode: attributes in `ce_*` headers, the event as JSON in the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, lru_cache
from typing import TypeVar

import msgspec

from plinth_contracts.events import EVENT_TYPES, PATTERNED, Event

E = TypeVar("E", bound=msgspec.Struct)
Headers = tuple[tuple[str, bytes], ...]

_encoder = msgspec.json.Encoder()
_TYPE_TO_TOPIC = {event_type: topic for topic, event_type in EVENT_TYPES.items()}
_IN_WORDS = {
    f"Expected `str` matching regex {meta.pattern!r}": f"must be {meta.description}" for meta in PATTERNED
}


def topic_of(event_type: type[Event]) -> str:
    """Name of the topic that carries this event type."""
    return _TYPE_TO_TOPIC[event_type]


def encode(event: Event) -> bytes:
    """JSON of an event."""
    return _encoder.encode(event)


def decoder(event_type: type[E]) -> Callable[[bytes], E]:
    """A function from JSON bytes to the event, or the part of it that a reader wants.

    It raises msgspec.ValidationError that names the field and says in words what it must be. Whatever the
    bytes are, it raises nothing but msgspec.DecodeError.
    """
    decode = msgspec.json.Decoder(event_type).decode

    def read(value: bytes) -> E:
        try:
            return decode(value)
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(_in_words(str(error))) from None
        except (UnicodeDecodeError, RecursionError) as error:  # msgspec's own do not cover these
            raise msgspec.DecodeError(f"JSON is malformed: {error}") from error

    return read


def _in_words(message: str) -> str:
    what, at, path = message.rpartition(" - at ")
    return _IN_WORDS.get(what, what) + at + path


@lru_cache(maxsize=64)  # a batch has one time
def _timestamp(time: datetime) -> bytes:
    return time.isoformat().encode()


def headers(
    topic: str,
    *,
    event_id: str,
    source: str,
    time: datetime,
    extra: Iterable[tuple[str, bytes]] = (),
) -> Headers:
    """CloudEvents headers of a message; `extra`: e.g. `traceparent`."""
    return (*_constant(topic, source), ("ce_id", event_id.encode()), ("ce_time", _timestamp(time)), *extra)


@cache
def _constant(topic: str, source: str) -> Headers:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", topic.encode()),
        ("ce_source", source.encode()),
        ("content-type", b"application/json"),
    )
