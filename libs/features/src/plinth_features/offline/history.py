"""What the offline join works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plinth_features.words import Ints


@dataclass(frozen=True)
class History:
    """Events of one view in the order in which they became known.

    entity: codes from 0; ts_ms: event time; weight: 1, or 0 for a correction; values: [events, columns].
    """

    entity: Ints
    ts_ms: Ints
    weight: Ints
    values: Ints


@dataclass(frozen=True)
class Seen:
    """Moments, and the range [start, stop) of events each of them knows in a history sorted by entity."""

    entity: Ints
    ts_ms: Ints
    start: Ints
    stop: Ints

    def where(self, mask: NDArray[np.bool_]) -> Seen:
        """The moments where the mask is true."""
        return Seen(self.entity[mask], self.ts_ms[mask], self.start[mask], self.stop[mask])


def newest_before(chosen: NDArray[np.bool_]) -> Ints:
    """Position of the last chosen event before each position 0..n; -1 where there is none."""
    at = np.where(chosen, np.arange(len(chosen)), -1)
    return np.concatenate([[-1], np.maximum.accumulate(at)]).astype(np.int64)


def prefix_sums(values: Ints) -> Ints:
    """Sums of the first 0..n values."""
    return np.concatenate([[0], np.cumsum(values)]).astype(np.int64)
