"""Use case: bring feature rows up to date with a batch of events, each counted once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plinth_contracts.events import FeatureUpdate
from plinth_features.projection import as_arrays
from plinth_features.rows import Layout
from plinth_features.store import RowStore

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


class FeatureEngine:
    """Folds updates into the rows of their views. `stores` holds a layout and a store by view name."""

    def __init__(self, stores: Mapping[str, tuple[Layout, RowStore]]) -> None:
        self._stores = stores

    def apply(
        self, updates: Sequence[FeatureUpdate], markers: Mapping[str, Sequence[bytes]]
    ) -> list[Applied]:
        """Apply each update once, in order per entity.

        `markers` are by view. Raises StateLost when one of them is gone (nothing of that view was written),
        and passes on errors of the store.
        """
        by_view: dict[str, list[FeatureUpdate]] = defaultdict(list)
        for update in updates:
            by_view[update.view].append(update)
        return [self._apply_view(view, mine, markers[view]) for view, mine in by_view.items()]

    def _apply_view(self, view: str, updates: Sequence[FeatureUpdate], markers: Sequence[bytes]) -> Applied:
        layout, store = self._stores[view]
        waiting, new, late, conflicts = updates, 0, 0, 0
        for _ in range(MAX_ATTEMPTS):
            entities = list(dict.fromkeys(update.entity for update in waiting))
            rows = store.read(entities)
            before = int(rows["late"].sum())
            folded = layout.fold(rows, as_arrays(waiting, entities))
            lost = {entities[i] for i in store.write(entities, rows, markers)}
            if not lost:
                new, late = new + folded, late + int(rows["late"].sum()) - before
                newest = max(update.ts_ms for update in updates)
                return Applied(view, new, max(0, len(updates) - new), conflicts, late, newest)
            conflicts += len(lost)
            waiting = [update for update in waiting if update.entity in lost]
        raise Contention(f"{view}: rows changed {MAX_ATTEMPTS} times while they were being written")
