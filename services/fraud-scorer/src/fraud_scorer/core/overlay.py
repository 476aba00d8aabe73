"""What this process has decided and the rows that it reads may lack: the feature engine runs beside it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from plinth_features.words import Ints

Event: TypeAlias = tuple[int, ...]
"""Id, time in ms, weight, partition, offset, then the values: an update without the number of its row."""

PER_ENTITY, ENTITIES, SECONDS = 16, 20_000, 60.0
UNPLACED = 1 << 62
"""Offsets from here on stand for events that have no place in the log yet; they are above all that have."""

_ID, _PARTITION, _OFFSET = 0, 3, 4


class Overlay:
    """The last events seen of each entity of a view, bounded: the last 16 of the last 20,000 entities.

    An event without a place in the log is forgotten when a row shows it, or after a minute, when the engine
    has surely counted it.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[str, list[tuple[float, Event]]] = OrderedDict()

    def missed(
        self, entities: Sequence[str], offsets: Sequence[Sequence[int]], kept: Ints, now: float
    ) -> list[tuple[int, ...]]:
        """Updates that the rows of these entities may lack: number of the row, then the event.

        offsets: the highest applied to each row, by partition. kept: [rows, ids] of the events that each
        row keeps. What a row has is forgotten here. A row may have some of what is returned: folded again it
        changes nothing. `now` is in seconds.
        """
        missed: list[tuple[int, ...]] = []
        for row, entity in enumerate(entities):
            seen = self._recent.get(entity)
            if seen is None:
                continue
            newest = seen[-1][1]
            if newest[_OFFSET] <= offsets[row][newest[_PARTITION]]:
                del self._recent[entity]
                continue
            if newest[_OFFSET] >= UNPLACED:
                counted = set(kept[row].tolist())
                seen = [(at, event) for at, event in seen if event[_ID] not in counted and now - at < SECONDS]
                if not seen:
                    del self._recent[entity]
                    continue
                self._recent[entity] = seen
            missed += [(row, *event) for _, event in seen]
        return missed

    def add(self, entity: str, event: Event, now: float) -> None:
        """Remember an event."""
        seen = self._recent.get(entity)
        if seen is None:
            self._recent[entity] = [(now, event)]
            if len(self._recent) > ENTITIES:
                self._recent.popitem(last=False)
            return
        self._recent.move_to_end(entity)
        seen.append((now, event))
        if len(seen) > PER_ENTITY:
            del seen[0]
