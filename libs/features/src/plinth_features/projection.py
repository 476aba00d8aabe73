"""What an event of a source topic means for the rows of a view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from plinth_contracts.events import FeatureUpdate, LabelObserved, TransactionReceived
from plinth_features.rows import Updates
from plinth_features.spec import View


class Projected(NamedTuple):
    """An event as the views see it: whom it concerns, when it counts, which integer columns it carries."""

    event_id: int
    entities: Mapping[str, str]
    ts_ms: int
    weight: int
    columns: Mapping[str, int]


def id64(name: str) -> int:
    """63 bits that stand for an event's id in a row; never 0, which marks an empty slot."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1 or 1


def transaction(event: TransactionReceived) -> Projected:
    """A transaction counts at its own time."""
    return Projected(
        id64(event.transaction_id),
        {"customer": event.customer_id, "terminal": event.terminal_id},
        round(event.event_ts.timestamp() * 1000),
        1,
        {"amount_minor": event.amount_minor},
    )


def label(event: LabelObserved) -> Projected:
    """A label counts when it became known; a revision adds only the difference to what was said before."""
    revised = event.previous_label is not None
    return Projected(
        id64(event.label_id),
        event.entities,
        round(event.known_ts.timestamp() * 1000),
        0 if revised else 1,
        {"label": round(event.label) - round(event.previous_label or 0.0)},
    )


PROJECTIONS: dict[str, Callable[[Any], Projected]] = {
    "transaction.received": transaction,
    "label.observed": label,
}
"""By source topic."""


def is_keyed_by(view: View, key: str) -> bool:
    """Whether a topic with this key hands all events of one entity of the view to one reader."""
    return key == f"{view.entity}_id"


def updates(views: Sequence[View], projected: Projected, partition: int, offset: int) -> list[FeatureUpdate]:
    """What an event at this place of its source topic changes: one update per view that it concerns."""
    return [
        FeatureUpdate(
            view=view.name,
            entity=projected.entities[view.entity],
            event_id=projected.event_id,
            ts_ms=projected.ts_ms,
            weight=projected.weight,
            values=tuple([projected.columns[column] for column in view.columns]),
            source_partition=partition,
            source_offset=offset,
        )
        for view in views
        if view.entity in projected.entities
    ]


def as_arrays(batch: Sequence[FeatureUpdate], entities: Sequence[str]) -> Updates:
    """Updates of one view as arrays; rows are numbered as in `entities`."""
    row = {entity: i for i, entity in enumerate(entities)}
    n = len(batch)
    return Updates(
        row=np.fromiter((row[u.entity] for u in batch), np.int64, n),
        event_id=np.fromiter((u.event_id for u in batch), np.int64, n),
        ts_ms=np.fromiter((u.ts_ms for u in batch), np.int64, n),
        weight=np.fromiter((u.weight for u in batch), np.int64, n),
        values=np.array([u.values for u in batch], dtype=np.int64),
        partition=np.fromiter((u.source_partition for u in batch), np.int64, n),
        offset=np.fromiter((u.source_offset for u in batch), np.int64, n),
    )
