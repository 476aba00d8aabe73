"""Features of a batch of transactions, each right after its own event, from rows that may lag behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fraud_scorer.core.overlay import UNPLACED, Event, Overlay
from plinth_features import projection, request
from plinth_features.projection import Projected
from plinth_features.rows import Layout
from plinth_features.spec import FeatureService, View
from plinth_features.words import VERSION, Rows, as_updates

SOURCE = "transaction.received"
Place: TypeAlias = tuple[int | None, int | None]
"""Partition and offset of a transaction, None over HTTP."""


class Features(NamedTuple):
    """values: [transactions, features] of which only the first `known` could be read, the rest is 0."""

    values: NDArray[np.float64]
    known: int


class Reads(NamedTuple):
    """Rows read of a view: how many, how many of them were empty, how many events they lacked.

    ahead: transactions whose row had already counted something later, as after a pause of the scorer.
    """

    rows: int
    empty: int
    lacked: int
    ahead: int


class Reader:
    """Works out the features of a service. Remembers what it has seen, so one per process and thread."""

    def __init__(self, service: FeatureService) -> None:
        self._service = service
        self._views = [(view, Layout(view), view.source == SOURCE) for view in service.views]
        self._overlays = {view.name: Overlay() for view in service.views if view.source == SOURCE}
        self._unplaced = UNPLACED

    def entities(self, projected: Sequence[Projected]) -> dict[str, list[str]]:
        """By view the entities whose rows are needed, each once."""
        return {
            view.name: list(dict.fromkeys([p.entities[view.entity] for p in projected]))
            for view in self._service.views
        }

    def of_request(self, projected: Sequence[Projected]) -> Features:
        """What the requests alone tell."""
        values = np.zeros((len(projected), len(self._service.names)))
        known = len(self._service.request)
        values[:, :known] = self._request(projected, _times(projected))
        return Features(values, known)

    def read(
        self,
        projected: Sequence[Projected],
        places: Sequence[Place],
        asked: Sequence[int],
        entities: Mapping[str, Sequence[str]],
        rows: Mapping[str, Rows],
        now: float,
    ) -> tuple[Features, dict[str, Reads]]:
        """Features right after each of the transactions `asked`, from rows in the order of `entities`.

        The others, whose entities need not be there, only count for those after them. asked: positions,
        rising, at least one. `now` is in seconds, on the clock of every call.
        """
        wanted = [projected[i] for i in asked]
        ts_ms = _times(wanted)
        placed = [self._place(*place) for place in places]
        parts, reads = [self._request(wanted, ts_ms)], {}
        for view, layout, live in self._views:
            of_view, names = rows[view.name], entities[view.name]
            empty = int(np.count_nonzero(of_view[:, VERSION] == 0))
            number = {entity: i for i, entity in enumerate(names)}
            at = [number.get(p.entities[view.entity], -1) for p in projected]
            lacked = ahead = 0
            if live:
                offsets = layout.offsets(of_view).tolist()
                ahead = sum([offsets[at[i]][placed[i][0]] > placed[i][1] for i in asked])
                missed = self._overlays[view.name].missed(names, offsets, layout.ids(of_view), now)
                lacked = layout.fold(of_view, as_updates(missed)) if missed else 0
                events = self._remember(view, projected, placed, now)
                counted = [i for i, row in enumerate(at) if row >= 0]
                values = layout.fold_and_read(of_view, as_updates([(at[i], *events[i]) for i in counted]))
                parts.append(values if len(counted) == len(asked) else values[np.isin(counted, asked)])
            else:
                parts.append(layout.read(of_view, ts_ms, np.array([at[i] for i in asked])))
            reads[view.name] = Reads(len(names), empty, lacked, ahead)
        return Features(np.hstack(parts), len(self._service.names)), reads

    def remember(self, projected: Sequence[Projected], places: Sequence[Place], now: float) -> None:
        """Let transactions that nobody asks about count for those after them."""
        placed = [self._place(*place) for place in places]
        for view, _, live in self._views:
            if live:
                self._remember(view, projected, placed, now)

    def _remember(
        self, view: View, projected: Sequence[Projected], placed: Sequence[tuple[int, int]], now: float
    ) -> list[Event]:
        overlay = self._overlays[view.name]
        events = [projection.project(view, p, *place)[1:] for p, place in zip(projected, placed, strict=True)]
        for p, event in zip(projected, events, strict=True):
            overlay.add(p.entities[view.entity], event, now)
        return events

    def _request(self, projected: Sequence[Projected], ts_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        amounts = np.array([p.columns["amount_minor"] for p in projected], dtype=np.int64)
        return request.compute(self._service.request, ts_ms, amounts)

    def _place(self, partition: int | None, offset: int | None) -> tuple[int, int]:
        """A transaction over HTTP stands after all that the log holds."""
        if partition is not None and offset is not None:
            return partition, offset
        self._unplaced += 1
        return 0, self._unplaced


def _times(projected: Sequence[Projected]) -> NDArray[np.int64]:
    return np.array([p.ts_ms for p in projected], dtype=np.int64)
