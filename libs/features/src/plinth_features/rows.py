"""The state behind an entity's features as one packed row, and the two things done with it: fold and read.

A row keeps the last K events one by one and everything older in rings of tiles, one ring per hop. So the
head of a window is exact to the millisecond, its tail moves in hops ("sawtooth"), and the row ages at read
time without a write. With t the time of reading, h the hop and W the window, an event counts when its

    tile in [max(t // h, head) - W / h,  t // h]      (head: newest settled tile)

and, while it is among the last K, its time is at most t. Rows are numpy structured arrays: both functions
work on many entities at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plinth_features.spec import STATES, Aggregation, View, hop_s, schema_hash

Rows = NDArray[Any]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER = np.iinfo(np.int64).min // 2
"""Tile index before every other, and offset of an event that was never applied."""

_IDENTITY = {"sum": 0, "sq": 0.0, "min": np.iinfo(np.int64).max, "max": np.iinfo(np.int64).min}


@dataclass(frozen=True)
class Updates:
    """Events of one view, in the order of the log. All arrays have one entry per event.

    row: index into the rows; event_id: not 0, equal for an event sent twice; ts_ms: event time;
    weight: 1, or 0 for a correction of an earlier event; values: [events, columns]; partition and offset:
    place in the source topic.
    """

    row: Ints
    event_id: Ints
    ts_ms: Ints
    weight: Ints
    values: Ints
    partition: Ints
    offset: Ints

    def take(self, index: NDArray[Any]) -> Updates:
        """The events at these positions (or where a mask is true)."""
        return Updates(
            self.row[index],
            self.event_id[index],
            self.ts_ms[index],
            self.weight[index],
            self.values[index],
            self.partition[index],
            self.offset[index],
        )

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Ring:
    """Tiles of one hop: `slots` of them, enough for the longest window of that hop."""

    hop_ms: int
    slots: int
    stats: tuple[tuple[str, int], ...]  # (sum | sq | min | max, column index)
    aggregations: tuple[tuple[int, Aggregation], ...]  # (position among the view's features, feature)

    @property
    def prefix(self) -> str:
        """Start of the names of this ring's fields in the row."""
        return f"h{self.hop_ms}"


class Layout:
    """How rows of a view are stored, folded and read."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.hash = np.frombuffer(schema_hash(view), dtype="u8")[0]
        self.rings = _rings(view)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Packed little-endian fields; `version` first, so that a compare-and-set finds it."""
        view = self.view
        fields: list[tuple[Any, ...]] = [
            ("version", "<u8"),
            ("schema", "<u8"),
            ("rank", "<u4"),
            ("late", "<u4"),
            ("offset", "<i8", (view.partitions,)),
            ("id", "<i8", (view.recent,)),
            ("ts", "<i8", (view.recent,)),
            ("weight", "<i1", (view.recent,)),
            ("value", "<i8", (view.recent, len(view.columns))),
        ]
        for ring in self.rings:
            fields += [(f"{ring.prefix}.head", "<i8"), (f"{ring.prefix}.n", "<i4", (ring.slots,))]
            fields += [
                (f"{ring.prefix}.{stat}{column}", "<f8" if stat == "sq" else "<i8", (ring.slots,))
                for stat, column in ring.stats
            ]
        return np.dtype(fields)

    def empty(self, n: int) -> Rows:
        """Rows of n entities that nothing is known of."""
        rows = np.zeros(n, dtype=self.dtype)
        rows["schema"] = self.hash
        rows["offset"] = NEVER
        for ring in self.rings:
            rows[f"{ring.prefix}.head"] = NEVER
            for stat, column in ring.stats:
                rows[f"{ring.prefix}.{stat}{column}"] = _IDENTITY[stat]
        return rows

    def fold(self, rows: Rows, updates: Updates) -> int:
        """Apply events to rows in place, each once; returns how many were new.

        An event was applied before, and is skipped, when its offset is not above the row's for its partition
        (the log was read again) or its id is among the row's recent ones (a producer sent it twice).
        """
        return sum(self._apply(rows, updates.take(turn)) for turn in _turns(updates.row))

    def fold_and_read(self, rows: Rows, updates: Updates) -> Floats:
        """Apply events as `fold` does; features [events, features] of each one's row right after it."""
        out = np.empty((len(updates), len(self.view.aggregations)))
        for turn in _turns(updates.row):
            now = updates.take(turn)
            self._apply(rows, now)
            out[turn] = self.read(rows[now.row], now.ts_ms)
        return out

    def read(self, rows: Rows, ts_ms: Ints) -> Floats:
        """Feature values [entities, features] as of each entity's time `ts_ms`, in the view's order."""
        out = np.empty((len(rows), len(self.view.aggregations)))
        slots = np.arange(self.view.recent)
        live = slots < rows["rank"][:, None]
        seen = live & (rows["ts"] <= ts_ms[:, None])
        for ring in self.rings:
            head = rows[f"{ring.prefix}.head"][:, None]
            now = (ts_ms // ring.hop_ms)[:, None]
            tile = _tile_of_slot(head, ring.slots)
            past = tile <= now
            newest = np.maximum(now, head)
            for window_s, group in _by_window(ring):
                low = newest - window_s * 1000 // ring.hop_ms
                in_tiles = past & (tile >= low)
                in_recent = seen & (rows["ts"] >= low * ring.hop_ms)
                count = (rows[f"{ring.prefix}.n"] * in_tiles).sum(1) + (rows["weight"] * in_recent).sum(1)
                for position, aggregation in group:
                    if aggregation.function in STATES:
                        value = self._state(rows, aggregation, in_recent, ts_ms)
                        known = ~np.isnan(value)
                    else:
                        value = self._value(rows, ring, aggregation, in_tiles, in_recent, count)
                        known = count > 0
                    out[:, position] = np.where(known, value * aggregation.scale, aggregation.default)
        return out

    def _apply(self, rows: Rows, updates: Updates) -> int:
        """Apply at most one event per row, if new; returns how many were."""
        at = updates.row
        new = updates.offset > rows["offset"][at, updates.partition]
        new &= ~(rows["id"][at] == updates.event_id[:, None]).any(1)
        rows["offset"][at, updates.partition] = np.maximum(
            rows["offset"][at, updates.partition], updates.offset
        )
        self._push(rows, updates.take(new))
        return int(new.sum())

    def _push(self, rows: Rows, new: Updates) -> None:
        """One event per row: into the ring of recent events; what falls out of it is settled."""
        at = new.row
        slot = rows["rank"][at] % self.view.recent
        full = rows["rank"][at] >= self.view.recent
        if full.any():
            old_at, old_slot = at[full], slot[full]
            for ring in self.rings:
                self._settle(
                    rows,
                    ring,
                    old_at,
                    rows["ts"][old_at, old_slot],
                    rows["weight"][old_at, old_slot],
                    rows["value"][old_at, old_slot],
                )
        rows["id"][at, slot] = new.event_id
        rows["ts"][at, slot] = new.ts_ms
        rows["weight"][at, slot] = new.weight
        rows["value"][at, slot] = new.values
        rows["rank"][at] += 1

    def _settle(self, rows: Rows, ring: Ring, at: Ints, ts_ms: Ints, weight: Ints, values: Ints) -> None:
        """Add one event per row to its tile; tiles that the head moved past start empty."""
        head = rows[f"{ring.prefix}.head"][at]
        tile = ts_ms // ring.hop_ms
        new_head = np.maximum(head, tile)
        rows[f"{ring.prefix}.head"][at] = new_head
        stale = _tile_of_slot(new_head[:, None], ring.slots) > head[:, None]
        stale_row, stale_slot = np.nonzero(stale)
        kept = tile > new_head - ring.slots
        slot = tile % ring.slots
        rows[f"{ring.prefix}.n"][at[stale_row], stale_slot] = 0
        rows[f"{ring.prefix}.n"][at[kept], slot[kept]] += weight[kept]
        for stat, column in ring.stats:
            field = rows[f"{ring.prefix}.{stat}{column}"]
            field[at[stale_row], stale_slot] = _IDENTITY[stat]
            target = (at[kept], slot[kept])
            field[target] = _combine(stat, field[target], values[kept, column])
        if ring is self.rings[-1]:
            rows["late"][at] += ~kept

    def _state(
        self, rows: Rows, aggregation: Aggregation, in_recent: NDArray[np.bool_], ts_ms: Ints
    ) -> Floats:
        """A function of the newest of the chosen recent events; NaN where there are too few."""
        newest = rows["rank"].astype(np.int64)[:, None] - 1
        rank = np.where(in_recent & (rows["weight"] > 0), _tile_of_slot(newest, self.view.recent), -1)
        order = np.argsort(rank, axis=1)
        all_rows = np.arange(len(rows))
        last, before = order[:, -1], order[:, -2]
        enough = rank[all_rows, before if aggregation.function == "gap" else last] >= 0
        match aggregation.function:
            case "last":
                value = rows["value"][all_rows, last, self.view.columns.index(aggregation.column or "")]
            case "age":
                value = (ts_ms - rows["ts"][all_rows, last]) / 1000
            case _:
                value = (rows["ts"][all_rows, last] - rows["ts"][all_rows, before]) / 1000
        return np.where(enough, value, np.nan)

    def _value(
        self,
        rows: Rows,
        ring: Ring,
        aggregation: Aggregation,
        in_tiles: NDArray[np.bool_],
        in_recent: NDArray[np.bool_],
        count: Ints,
    ) -> Floats:
        """One aggregation over the chosen tiles and recent events per row; undefined where count is 0."""
        if aggregation.function == "count":
            return count.astype(np.float64)
        column = self.view.columns.index(aggregation.column or "")
        recent = rows["value"][:, :, column]

        def total(stat: str) -> NDArray[Any]:
            tiles = rows[f"{ring.prefix}.{stat}{column}"]
            if stat in ("sum", "sq"):
                squared = recent.astype(np.float64) ** 2 if stat == "sq" else recent
                summed: NDArray[Any] = (tiles * in_tiles).sum(1) + (squared * in_recent).sum(1)
                return summed
            pick = np.minimum if stat == "min" else np.maximum
            empty = _IDENTITY[stat]
            best: NDArray[Any] = pick(
                pick.reduce(np.where(in_tiles, tiles, empty), 1),
                pick.reduce(np.where(in_recent, recent, empty), 1),
            )
            return best

        n = np.maximum(count, 1)
        match aggregation.function:
            case "sum" | "min" | "max":
                return total(aggregation.function).astype(np.float64)
            case "mean":
                return total("sum") / n
            case _:
                mean = total("sum") / n
                return np.sqrt(np.maximum(total("sq") / n - mean * mean, 0.0))


def _rings(view: View) -> tuple[Ring, ...]:
    hops: dict[int, list[tuple[int, Aggregation]]] = {}
    for position, aggregation in enumerate(view.aggregations):
        hops.setdefault(hop_s(aggregation.window_s), []).append((position, aggregation))
    rings = []
    for hop, members in sorted(hops.items()):
        longest = max(a.window_s for _, a in members)
        stats = sorted({(s, view.columns.index(a.column)) for _, a in members if a.column for s in _needs(a)})
        rings.append(Ring(hop * 1000, longest // hop + 1, tuple(stats), tuple(members)))
    return tuple(rings)


def _needs(aggregation: Aggregation) -> tuple[str, ...]:
    """Statistics that a tile must keep for this function, beside the count."""
    match aggregation.function:
        case "count" | "last" | "age" | "gap":
            return ()
        case "sum" | "mean":
            return ("sum",)
        case "std":
            return ("sum", "sq")
        case extreme:
            return (extreme,)


def _combine(stat: str, kept: NDArray[Any], value: Ints) -> NDArray[Any]:
    """Statistic of a tile after one more value."""
    combined: NDArray[Any]
    match stat:
        case "sum":
            combined = kept + value
        case "sq":
            combined = kept + value.astype(np.float64) ** 2
        case "min":
            combined = np.minimum(kept, value)
        case _:
            combined = np.maximum(kept, value)
    return combined


def _by_window(ring: Ring) -> list[tuple[int, list[tuple[int, Aggregation]]]]:
    windows: dict[int, list[tuple[int, Aggregation]]] = {}
    for position, aggregation in ring.aggregations:
        windows.setdefault(aggregation.window_s, []).append((position, aggregation))
    return list(windows.items())


def _tile_of_slot(head: Ints, slots: int) -> Ints:
    """Tile index that each slot of a ring holds when its newest tile is `head`; [rows, slots]."""
    tiles: Ints = head - (head - np.arange(slots)) % slots
    return tiles


def _turns(row: Ints) -> list[Ints]:
    """Positions of events in turns, such that a turn has each row at most once and keeps the log's order."""
    if not len(row):
        return []
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    nth = np.arange(len(row)) - np.repeat(starts, np.diff(np.r_[starts, len(row)]))
    return [order[nth == turn] for turn in range(int(nth.max()) + 1)]
