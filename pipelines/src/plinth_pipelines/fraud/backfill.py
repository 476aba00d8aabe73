"""Feature rows from history, as if every event had come through the engine, written in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import redis

from plinth_features.projection import id64
from plinth_features.rows import NEVER, Layout, Rows, Updates
from plinth_features.spec import FeatureService, View
from plinth_features.store import RedisRows
from plinth_pipelines.fraud import events

CHUNK = 500
BATCH = 20_000
_PLACED = NEVER + 1


class Filled(NamedTuple):
    """Rows of one view, by entity."""

    layout: Layout
    entities: Sequence[str]
    rows: Rows


def rows_at(
    service: FeatureService, transactions: pd.DataFrame, *, label_delay: timedelta, until: datetime
) -> Iterator[Filled]:
    """Rows of every view from the events that count before `until`.

    The rows claim no place in the log: whatever is in the log is still to be folded into them.
    """
    topics = events.by_topic(transactions, label_delay)
    until_ms = int(until.timestamp() * 1000)
    for view in service.views:
        source = topics[view.source]
        longest_ms = max(a.window_s for a in view.aggregations) * 1000
        since_ms = until_ms - 2 * longest_ms - 2 * 86_400_000
        chosen = np.flatnonzero((source.ts_ms < until_ms) & (source.ts_ms >= since_ms))
        yield _fill(view, source, transactions, chosen)


def write(
    client: redis.Redis, filled: Iterator[Filled], *, progress: Callable[[float], None] = lambda _: None
) -> int:
    """Put rows into Redis, except for entities that have one; how many were written."""
    written = 0
    for view in filled:
        store = RedisRows(client, view.layout)
        for start in range(0, len(view.entities), CHUNK):
            names = view.entities[start : start + CHUNK]
            written += len(names) - len(store.write(names, view.rows[start : start + CHUNK]))
            progress(min(0.99, (start + CHUNK) / max(1, len(view.entities))))
    return written


def _fill(
    view: View,
    source: events.Events,
    transactions: pd.DataFrame,
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Filled:
    layout = Layout(view)
    codes, entities = pd.factorize(transactions[f"{view.entity}_id"].to_numpy()[chosen])
    rows = layout.empty(len(entities))
    ids = transactions["transaction_id"].to_numpy()[chosen]
    recent = _is_recent(codes, view.recent)
    event_id = np.arange(1, len(chosen) + 1, dtype=np.int64)
    event_id[recent] = [id64(source.id_pattern.format(i)) for i in ids[recent]]
    updates = Updates(
        row=codes.astype(np.int64),
        event_id=event_id,
        ts_ms=source.ts_ms[chosen],
        weight=np.ones(len(chosen), dtype=np.int64),
        values=np.stack([source.columns[column][chosen] for column in view.columns], axis=1),
        partition=np.zeros(len(chosen), dtype=np.int64),
        offset=_PLACED + np.arange(len(chosen)),
    )
    for start in range(0, len(chosen), BATCH):
        layout.fold(rows, updates.take(np.arange(start, min(start + BATCH, len(chosen)))))
    rows["offset"] = NEVER
    return Filled(layout, [str(entity) for entity in entities], rows)


def _is_recent(
    codes: np.ndarray[tuple[int], np.dtype[np.int64]], recent: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which events are among the last of their entity, whose ids a row keeps."""
    from_end = pd.Series(codes[::-1]).groupby(codes[::-1]).cumcount().to_numpy()[::-1]
    return np.asarray(from_end < recent)
