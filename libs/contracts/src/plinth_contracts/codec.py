"""CloudEvents 1.0 on Kafka, binary mode: attributes in `ce_*` headers, the event as JSON in the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

from plinth_contracts.events import EVENT_TYPES, Event

E = TypeVar("E", bound=Event)
Headers = tuple[tuple[str, bytes], ...]

_encoder = msgspec.json.Encoder()
_TYPE_TO_TOPIC = {event_type: topic for topic, event_type in EVENT_TYPES.items()}


def topic_of(event_type: type[Event]) -> str:
    """Name of the topic that carries this event type."""
    return _TYPE_TO_TOPIC[event_type]


def encode(event: Event) -> bytes:
    """JSON of an event."""
    return _encoder.encode(event)


def decoder(event_type: type[E]) -> Callable[[bytes], E]:
    """A function from JSON bytes to the event; it raises msgspec.ValidationError naming the field."""
    return msgspec.json.Decoder(event_type).decode


def headers(
    topic: str, *, event_id: str, source: str, time: datetime, extra: Iterable[tuple[str, bytes]] = ()
) -> Headers:
    """CloudEvents headers of a message; `extra` carries e.g. `traceparent`."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", topic.encode()),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time.isoformat().encode()),
        ("content-type", b"application/json"),
        *extra,
    )
