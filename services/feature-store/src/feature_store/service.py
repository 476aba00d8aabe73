"""Use case: bring feature rows up to date with a batch of events, each counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from plinth_features.packing import Damaged
from plinth_features.rows import Layout
from plinth_features.store import RowStore, StateLost
from plinth_features.words import LATE, ROW, TS_MS, as_updates

MAX_ATTEMPTS = 10


class Contention(Exception):
    """Another writer kept changing the same rows. Only one engine should own a partition."""


class Applied(NamedTuple):
    """What came of the events of one view: counts of events (conflicts: of rows), newest event time."""

    view: str
    new: int
    skipped: int
    conflicts: int
    late: int
    newest_ms: int


class Arrivals:
    """Events of one view in the order of the log: whose they are, and what they change.

    lines: as in `words.Updates`, the row still open. read_from: topics and partitions that they came from.
    """

    def __init__(self) -> None:
        self.entities: list[str] = []
        self.lines: list[tuple[int, ...]] = []
        self.read_from: set[tuple[str, int]] = set()

    def add(self, entity: str, line: tuple[int, ...], source: tuple[str, int]) -> None:
        """One more event."""
        self.entities.append(entity)
        self.lines.append(line)
        self.read_from.add(source)


class FeatureEngine:
    """Folds updates into the rows of their views. `stores` holds a layout and a store by view name."""

    def __init__(self, stores: Mapping[str, tuple[Layout, RowStore]]) -> None:
        self._stores = stores

    def apply(
        self, arrivals: Mapping[str, Arrivals], markers: Mapping[str, Sequence[bytes]]
    ) -> list[Applied]:
        """Apply each event once, in order per entity.

        Both arguments are by view. Raises StateLost when a marker is gone or a row is damaged, which it
        deletes; what was written by then is recognised by its offsets. Passes on errors of the store.
        """
        return [self._apply_view(view, mine, markers[view]) for view, mine in arrivals.items()]

    def _apply_view(self, view: str, arrivals: Arrivals, markers: Sequence[bytes]) -> Applied:
        layout, store = self._stores[view]
        names, updates = arrivals.entities, as_updates(arrivals.lines)
        n, newest = len(updates), int(updates[:, TS_MS].max())
        new, late, conflicts = 0, 0, 0
        for _ in range(MAX_ATTEMPTS):
            index = {entity: row for row, entity in enumerate(dict.fromkeys(names))}
            entities = list(index)
            updates[:, ROW] = [index[name] for name in names]
            try:
                rows = store.read(entities)
            except Damaged as damaged:
                store.forget([entities[damaged.row]], markers)
                raise StateLost from damaged
            before = int(rows[:, LATE].sum())
            folded = layout.fold(rows, updates)
            lost = store.write(entities, rows, markers)
            if not lost:
                new, late = new + folded, late + int(rows[:, LATE].sum()) - before
                return Applied(view, new, max(0, n - new), conflicts, late, newest)
            conflicts += len(lost)
            again = np.isin(updates[:, ROW], lost)
            names, updates = list(compress(names, again)), updates[again]
        raise Contention(f"{view}: rows changed {MAX_ATTEMPTS} times while they were being written")
