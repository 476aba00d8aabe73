"""Decisions for tests of cases, and a clock that they turn by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, Event, LabelObserved, LabelSource, Outcome
from plinth_kit.kafka.message import Message, Outgoing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVENT_TS = datetime(2018, 8, 1, tzinfo=UTC)


@dataclass
class Clock:
    """Calling it gives the time."""

    time: datetime = NOW

    def __call__(self) -> datetime:
        return self.time


def decision(n: int, outcome: Outcome = Outcome.BLOCK, card: str = "c-1", **fields: Any) -> DecisionMade:
    """The n-th decision: of a card, 10.00 by default."""
    some: dict[str, Any] = {"amount_minor": 1_000, "score": 0.5} | fields
    return DecisionMade(
        decision_id=f"d-{n}",
        transaction_id=f"tx-{n}",
        customer_id=card,
        terminal_id="t-1",
        event_ts=EVENT_TS,
        outcome=outcome,
        **some,
    )


def chargeback(n: int, fraud: bool = True) -> LabelObserved:
    """A label of the n-th decision by somebody else, before any case is resolved."""
    return LabelObserved(
        label_id=f"chargeback-{n}",
        request_id=f"tx-{n}",
        entity_id="c-1",
        entities={"customer": "c-1", "terminal": "t-1"},
        event_ts=EVENT_TS,
        known_ts=NOW - HOUR,
        label=float(fraud),
        source=LabelSource.CHARGEBACK,
    )


def consumed(*events: Event) -> list[Message]:
    """Events as a consumer gets them."""
    return [
        Message(codec.topic_of(type(event)), 0, n, b"c-1", codec.encode(event), (), 0)
        for n, event in enumerate(events)
    ]


def ids(sent: Sequence[Outgoing]) -> list[str]:
    """The ids of events that were published."""
    return [dict(one.headers)["ce_id"].decode() for one in sent]
