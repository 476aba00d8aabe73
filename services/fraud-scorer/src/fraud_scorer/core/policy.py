"""From a score to an outcome."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from plinth_contracts.events import Outcome

ORDER = (Outcome.APPROVE, Outcome.MONITOR, Outcome.STEP_UP, Outcome.BLOCK)
"""Outcomes from mildest to strictest."""


class Thresholds(Struct, frozen=True):
    """Least score in [0, 1] for each outcome above `approve`. Chosen in training, carried by the model."""

    monitor: float
    step_up: float
    block: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.monitor <= self.step_up <= self.block:
            raise ValueError("thresholds must rise from monitor over step_up to block")


def thresholds(values: Mapping[str, float]) -> Thresholds:
    """Thresholds by outcome name; ValueError or KeyError when they make no policy."""
    return Thresholds(values["monitor"], values["step_up"], values["block"])


def outcomes(scores: NDArray[np.float64], limits: Thresholds) -> list[Outcome]:
    """The strictest outcome whose threshold each score reaches."""
    steps = np.array([limits.monitor, limits.step_up, limits.block])
    return [ORDER[i] for i in np.searchsorted(steps, scores, side="right")]
