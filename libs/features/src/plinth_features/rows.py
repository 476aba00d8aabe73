"""The state behind an entity's features as one packed row, and the two things done with it: fold and read.

A row keeps the last K events one by one and everything older in rings of tiles, one ring per hop. So the
head of a window is exact to the millisecond, its tail moves in hops ("sawtooth"), and the row ages at read
time without a write. With t the time of reading, h the hop and W the window, an event counts when its

    tile in [max(t // h, head) - W / h,  t // h]      (head: newest settled tile)

and, while it is among the last K, its time is at most t. Beside them stand small states, such as the time
of the newest event or the length of a run. A row is a vector of 64-bit words, which
`kernels` walks; stored it is smaller, see `packing`.
"""

from __future__ import annotations

import numpy as np

from plinth_features import kernels, packing, plan
from plinth_features.spec import Aggregation, View, schema_hash
from plinth_features.words import OFFSETS, PARTITION, ROW, VALUES, Floats, Ints, Rows, Updates


class Layout:
    """How rows of a view are stored, folded and read.

    hash: of the schema. words: their number in a row. blank: [1, words], a row that nothing is known
    of. rows and updates are arrays as `words` describes them. Raises ValueError for a view of too large rows.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.hash = int.from_bytes(schema_hash(view), "little")
        self._plan, self._numbers, empty = plan.of(view)
        self.words = len(empty)
        if self.words >= packing.MAX_WORDS:
            raise ValueError(f"{view.name}: a row of {self.words} words, {packing.MAX_WORDS} are too many")
        self.blank: Rows = empty[np.newaxis]

    def empty(self, n: int) -> Rows:
        """Rows of n entities that nothing is known of."""
        return np.repeat(self.blank, n, axis=0)

    def offsets(self, rows: Rows) -> Ints:
        """The highest offsets applied, [entities, partitions]; a part of the rows, not a copy."""
        return rows[:, OFFSETS : OFFSETS + self.view.partitions]

    def ids(self, rows: Rows) -> Ints:
        """Ids of the events that rows keep one by one, [entities, events], 0 in empty places; no copy."""
        first = self._plan[plan.IDS]
        return rows[:, first : first + self.view.recent]

    def fold(self, rows: Rows, updates: Updates) -> int:
        """Apply events to rows in place, each once; returns how many were new.

        An event was applied before, and is skipped, when its offset is not above the row's for its partition
        (the log was read again) or its id is among the row's kept ones (a producer sent it twice).
        """
        self._check(rows, updates)
        return int(kernels.fold(rows, updates, self._plan))

    def fold_and_read(self, rows: Rows, updates: Updates) -> Floats:
        """Apply events as `fold` does; features [events, features] of each one's row right after it."""
        self._check(rows, updates)
        out = np.empty((len(updates), len(self.view.aggregations)))
        kernels.fold_and_read(rows, updates, self._plan, self._numbers, self._room(), out)
        return out

    def read(self, rows: Rows, ts_ms: Ints, at: Ints | None = None) -> Floats:
        """Features [moments, features] as of each time `ts_ms`, in the view's order.

        `at` says which row each moment looks at; left out, moment i looks at row i.
        """
        out = np.empty((len(ts_ms), len(self.view.aggregations)))
        chosen = np.arange(len(rows)) if at is None else at
        if len(chosen) != len(ts_ms) or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(rows)):
            raise IndexError("a moment of a row that is not there")
        kernels.read(rows, chosen, ts_ms, self._plan, self._numbers, self._room(), out)
        return out

    def _check(self, rows: Rows, updates: Updates) -> None:
        """Kernels check no bounds: raises IndexError for a row, partition or column that is not there."""
        if rows.shape[1] != self.words or updates.shape[1] != VALUES + len(self.view.columns):
            raise IndexError("rows or updates of another view")
        if len(updates) and (updates.min(axis=0)[[ROW, PARTITION]] < 0).any():
            raise IndexError("a row or partition below 0")
        most = updates.max(axis=0, initial=-1)
        if most[ROW] >= len(rows) or most[PARTITION] >= self.view.partitions:
            raise IndexError("an update of a row or partition that is not there")

    def _room(self) -> Ints:
        """Room for a kernel's intermediate results; each call has its own, so threads may read at once."""
        return np.empty((4, max(self._plan[plan.STATISTICS], self.view.recent)), dtype=np.int64)


def warm() -> None:
    """Load every kernel, compiling what the cache on disk lacks, so that no batch has to wait for it.

    Kernels are the same for all views.
    """
    count = Aggregation(feature="n", function="count", window_s=60)
    layout = Layout(
        View(name="warm", entity="any", source="any", partitions=1, columns=("x",), aggregations=(count,))
    )
    rows = layout.empty(1)
    event = np.zeros((1, VALUES + 1), dtype=np.int64)
    layout.fold(rows, event)
    layout.fold_and_read(rows, event)
    layout.read(rows, np.zeros(1, dtype=np.int64))
    packing.unpack(packing.pack(rows, layout.blank), layout.blank)
