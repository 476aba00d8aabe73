"""Transactions and their labels as one stream in order of time, ready for Kafka."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import isnan, nan
from typing import NamedTuple

import pandas as pd

from plinth_contracts import codec
from plinth_contracts.events import Event, LabelObserved, TransactionReceived
from plinth_kit.kafka.message import Outgoing

SOURCE = "replay"


class Item(NamedTuple):
    """One message of the stream: its time (milliseconds), and the transaction that it is or judges."""

    ts_ms: int
    transaction_id: str
    outgoing: Outgoing
    is_label: bool = False


def transactions(frame: pd.DataFrame) -> Iterator[Item]:
    """Each row as `transaction.received`, at its own time. The frame is sorted by time."""
    for row in _rows(frame):
        event = TransactionReceived(
            transaction_id=str(row.transaction_id),
            customer_id=str(row.customer_id),
            terminal_id=str(row.terminal_id),
            amount_minor=int(row.amount_minor),
            event_ts=_utc(row.ts_ms),
            latitude=_known(row.latitude),
            longitude=_known(row.longitude),
        )
        yield Item(
            row.ts_ms,
            event.transaction_id,
            _message(event, event.customer_id, event.transaction_id, event.event_ts),
        )


def labels(frame: pd.DataFrame, delay: timedelta) -> Iterator[Item]:
    """The label of each row as `label.observed`, when it becomes known: `delay` after the transaction."""
    for row in _rows(frame):
        event_ts = _utc(row.ts_ms)
        event = LabelObserved(
            label_id=f"label-{row.transaction_id}",
            request_id=str(row.transaction_id),
            entity_id=str(row.customer_id),
            entities={"customer": str(row.customer_id), "terminal": str(row.terminal_id)},
            event_ts=event_ts,
            known_ts=event_ts + delay,
            label=float(row.is_fraud),
            amount_minor=row.amount_minor,
        )
        ts_ms = row.ts_ms + int(delay.total_seconds() * 1000)
        message = _message(event, event.entity_id, event.label_id, event.known_ts)
        yield Item(ts_ms, event.request_id, message, is_label=True)


def merged(
    frame: pd.DataFrame, *, start: datetime, end: datetime, delay: timedelta, with_labels: bool = True
) -> Iterator[Item]:
    """Transactions of [start, end) and every label that becomes known from `start` on, in order of time.

    `frame` may hold earlier transactions: their labels are still to come. After `end` only labels follow.
    """
    when = frame["event_ts"]
    live = frame[(when >= start) & (when < end)]
    if not with_labels:
        return transactions(live)
    judged = frame[(when >= start - delay) & (when < end)]
    return heapq.merge(transactions(live), labels(judged, delay), key=lambda item: item.ts_ms)


class _Row(NamedTuple):
    transaction_id: object
    customer_id: object
    terminal_id: object
    amount_minor: int
    is_fraud: bool
    latitude: float
    longitude: float
    ts_ms: int


def _rows(frame: pd.DataFrame) -> Iterator[_Row]:
    ts_ms = frame["event_ts"].astype("datetime64[ms, UTC]").astype("int64")
    fraud = frame["is_fraud"] if "is_fraud" in frame else [False] * len(frame)
    nowhere = [nan] * len(frame)
    places = (frame.get(name, nowhere) for name in ("latitude", "longitude"))
    columns = (frame[name] for name in ("transaction_id", "customer_id", "terminal_id", "amount_minor"))
    return map(_Row, *columns, fraud, *places, ts_ms)


def _known(degrees: float) -> float | None:
    return None if isnan(degrees) else degrees


def _utc(ts_ms: int) -> datetime:
    return datetime.fromtimestamp(ts_ms / 1000, UTC)


def _message(event: Event, key: str, event_id: str, time: datetime) -> Outgoing:
    topic = codec.topic_of(type(event))
    headers = codec.headers(topic, event_id=event_id, source=SOURCE, time=time)
    return Outgoing(topic, key.encode(), codec.encode(event), headers)
