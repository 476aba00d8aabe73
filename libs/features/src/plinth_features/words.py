"""Numbers that the kernels and their callers share: words of a row, columns of updates, functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from plinth_features.spec import Function

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
"""[entities, words]: one packed row each."""
Updates = NDArray[np.int64]
"""[events, 6 + columns] in the order of the log; see ROW and what follows it."""

NEVER: Final[int] = int(np.iinfo(np.int64).min) // 2
"""A time, tile or offset before every other."""

VERSION, SCHEMA, RANK, LATE, OFFSETS = range(5)
"""Words at the start of a row: number of writes (first, so that a script finds it), hash of the view, events
folded, events that came too late, and the highest offset applied for each partition of the source."""

ROW, EVENT_ID, TS_MS, WEIGHT, PARTITION, OFFSET, VALUES = range(7)
"""Columns of updates: index into the rows; id, not 0, equal for an event sent twice; event time; 1, or 0 for
a correction of an earlier event; place in the source topic; from VALUES on the columns of the view."""

FUNCTIONS: Final = get_args(Function)
(
    COUNT,
    SUM,
    MEAN,
    MIN,
    MAX,
    STD,
    OVER_MEAN,
    DISTANCE_KM,
    MEDIAN,
    OVER_MEDIAN,
    COUNT_HIGH,
    SHARE_HIGH,
    LAST,
    AGE,
    GAP,
    FIRST,
    RUN,
    RUN_AGE,
    AGE_POSITIVE,
    AGE_ZERO,
) = range(len(FUNCTIONS))
"""Codes of functions, in the order of `spec.Function`."""


def as_updates(lines: Sequence[tuple[int, ...]]) -> Updates:
    """Updates from one tuple an event, in the order of the columns above; at least one."""
    return np.array(lines, dtype=np.int64)
