"""Feature rows from history, in bulk, so that a store starts with full windows instead of empty ones.

The rows equal those that the engine would have folded from the same events, but for their offsets: history
was never in the log, so the engine takes the log from its beginning. The log must not hold that history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import redis
from numpy.typing import NDArray

from plinth_features.projection import id64
from plinth_features.rows import Layout
from plinth_features.spec import FeatureService, View
from plinth_features.store import RedisRows
from plinth_features.words import EVENT_ID, NEVER, OFFSET, ROW, TS_MS, VALUES, WEIGHT, Rows
from plinth_pipelines.fraud import events
from plinth_pipelines.fraud.events import Events

WRITE_BATCH = 500


@dataclass(frozen=True)
class ViewRows:
    """Packed rows of a view, one an entity; version 0, no offsets."""

    view: View
    entities: tuple[str, ...]
    rows: Rows


def rows_at(
    service: FeatureService, transactions: pd.DataFrame, label_delay: timedelta, until: datetime
) -> list[ViewRows]:
    """Rows of every entity with events before `until`, per view.

    `transactions` are as `simulate` returns them. Entities are named as on the wire. Raises ValueError if the
    transactions are out of order, the delay is not positive or `until` has no time zone, KeyError for a view
    of a topic that is not in `events.by_topic`.
    """
    if until.tzinfo is None:
        raise ValueError("until needs a time zone")
    topics = events.by_topic(transactions, label_delay)
    until_ms = round(until.timestamp() * 1000)
    return [_rows_of(view, topics[view.source], transactions, until_ms) for view in service.views]


def write(client: redis.Redis, backfilled: Iterable[ViewRows]) -> int:
    """Store rows with the view's time to live, and return how many.

    An entity that has a row already keeps it, so writing twice is harmless and a live row is never undone.
    Redis errors pass through.
    """
    written = 0
    for part in backfilled:
        store = RedisRows(client, Layout(part.view))
        for first in range(0, len(part.entities), WRITE_BATCH):
            chunk = slice(first, first + WRITE_BATCH)
            refused = store.write(part.entities[chunk], part.rows[chunk])
            written += len(part.entities[chunk]) - len(refused)
    return written


def _rows_of(view: View, source: Events, transactions: pd.DataFrame, until_ms: int) -> ViewRows:
    seen = slice(int(np.searchsorted(source.ts_ms, until_ms)))
    row, entities = pd.factorize(transactions[f"{view.entity}_id"].iloc[seen])
    n = len(row)
    updates = np.zeros((n, VALUES + len(view.columns)), dtype=np.int64)  # all of partition 0
    updates[:, ROW] = row
    updates[:, EVENT_ID] = _event_ids(source, transactions["transaction_id"].to_numpy(np.int64)[seen])
    updates[:, TS_MS] = source.ts_ms[seen]
    updates[:, WEIGHT] = 1
    updates[:, OFFSET] = np.arange(n)
    updates[:, VALUES:] = source.values(view)[seen]
    layout = Layout(view)
    rows = layout.empty(len(entities))
    layout.fold(rows, updates)
    layout.offsets(rows)[:] = NEVER
    return ViewRows(view, tuple(str(entity) for entity in entities), rows)


def _event_ids(source: Events, transaction_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    names = (source.id_pattern.format(number) for number in transaction_ids.tolist())
    return np.fromiter((id64(name) for name in names), np.int64, len(transaction_ids))
