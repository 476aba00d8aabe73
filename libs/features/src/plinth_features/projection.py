"""What an event of a source topic means for the rows of a view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from plinth_contracts.events import FeatureUpdate, LabelObserved, Money, TransactionReceived, Utc
from plinth_features.spec import ORDINARY, View
from plinth_features.words import Updates, as_updates


class Projected(NamedTuple):
    """An event as the views see it: whom it concerns, when it counts, which integer columns it carries."""

    event_id: int
    entities: Mapping[str, str]
    ts_ms: int
    weight: int
    columns: Mapping[str, int]


Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Transaction(Struct, frozen=True):
    """What a view reads of `transaction.received`. Its ids are checked by length alone: the pattern of
    `plinth_contracts.events.Id` costs fifteen times as much as all the rest of decoding."""

    transaction_id: Name
    customer_id: Name
    terminal_id: Name
    amount_minor: Money
    event_ts: Utc
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)] | None = None
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)] | None = None


class Label(Struct, frozen=True):
    """What a view reads of `label.observed`; see Transaction."""

    label_id: Name
    entities: dict[str, Name]
    known_ts: Utc
    label: float
    previous_label: float | None = None
    amount_minor: Money | None = None


def id64(name: str) -> int:
    """63 bits that stand for an event's id in a row; never 0, which marks an empty slot."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1 or 1


_terminal = lru_cache(maxsize=100_000)(id64)


def transaction(event: Transaction | TransactionReceived) -> Projected:
    """A transaction counts at its own time. Its place is in millionths of a degree; `placed` is 0 without."""
    latitude, longitude = event.latitude, event.longitude
    if latitude is None or longitude is None:
        place = {"latitude_e6": 0, "longitude_e6": 0, "placed": 0}
    else:
        place = {"latitude_e6": round(latitude * 1e6), "longitude_e6": round(longitude * 1e6), "placed": 1}
    return Projected(
        id64(event.transaction_id),
        {"customer": event.customer_id, "terminal": event.terminal_id},
        round(event.event_ts.timestamp() * 1000),
        1,
        {
            "amount_minor": event.amount_minor,
            "terminal": _terminal(event.terminal_id),
            **place,
        },
    )


def label(event: Label | LabelObserved) -> Projected:
    """A label counts when it became known; a revision adds only the difference to what was said before.

    `ordinary_label` is the label as long as no view calls its amount large; one that is not given is not.
    """
    revised = event.previous_label is not None
    change = round(event.label) - round(event.previous_label or 0.0)
    return Projected(
        id64(event.label_id),
        event.entities,
        round(event.known_ts.timestamp() * 1000),
        0 if revised else 1,
        {"label": change, ORDINARY: change, "amount_minor": event.amount_minor or 0},
    )


PROJECTIONS: dict[str, tuple[type[Struct], Callable[[Any], Projected]]] = {
    "transaction.received": (Transaction, transaction),
    "label.observed": (Label, label),
}
"""By source topic: what is read of its events, and what that means."""


def is_keyed_by(view: View, key: str) -> bool:
    """Whether a topic with this key hands all events of one entity of the view to one reader."""
    return key == f"{view.entity}_id"


def values(view: View, projected: Projected) -> list[int]:
    """What an event adds to the columns of a view."""
    columns = projected.columns
    if view.ordinary_minor is not None and columns["amount_minor"] > view.ordinary_minor:
        columns = {**columns, ORDINARY: 0}
    return [columns[column] for column in view.columns]


def update(view: View, projected: Projected, partition: int, offset: int) -> FeatureUpdate:
    """What an event at this place of its source topic changes in the view."""
    return FeatureUpdate(
        view=view.name,
        entity=projected.entities[view.entity],
        event_id=projected.event_id,
        ts_ms=projected.ts_ms,
        weight=projected.weight,
        values=tuple(values(view, projected)),
        source_partition=partition,
        source_offset=offset,
    )


def updates(views: Sequence[View], projected: Projected, partition: int, offset: int) -> list[FeatureUpdate]:
    """One update per view that the event concerns."""
    return [update(view, projected, partition, offset) for view in views if view.entity in projected.entities]


def project(view: View, projected: Projected, partition: int, offset: int) -> tuple[int, ...]:
    """What an event at this place of its source topic changes in its row, as a line of `words.Updates`."""
    return (
        0,
        projected.event_id,
        projected.ts_ms,
        projected.weight,
        partition,
        offset,
        *values(view, projected),
    )


def line(one: FeatureUpdate, row: int) -> tuple[int, ...]:
    """An update as a line of `words.Updates`, for this row."""
    return (
        row,
        one.event_id,
        one.ts_ms,
        one.weight,
        one.source_partition,
        one.source_offset,
        *one.values,
    )


def as_matrix(batch: Sequence[FeatureUpdate], entities: Sequence[str]) -> Updates:
    """Updates of one view, at least one; rows are numbered as in `entities`."""
    row = {entity: i for i, entity in enumerate(entities)}
    return as_updates([line(one, row[one.entity]) for one in batch])
