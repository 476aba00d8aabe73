"""One event as a Kafka record, as every role sends it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from plinth_contracts import codec
from plinth_contracts.events import Event
from plinth_kit.kafka.message import Outgoing

SERVICE = "fraud-scorer"
Extra = Iterable[tuple[str, bytes]]


def message(event: Event, key: bytes, event_id: str, time: datetime, extra: Extra = ()) -> Outgoing:
    """One event as a Kafka record."""
    topic = codec.topic_of(type(event))
    headers = codec.headers(topic, event_id=event_id, source=SERVICE, time=time, extra=extra)
    return Outgoing(topic, key, codec.encode(event), headers)
