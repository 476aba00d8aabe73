"""What training and serving agree on about a registered model.

Its ONNX graph takes FEATURES, float32 [n, features], and gives PROBABILITIES, float32 [n, 2], of a genuine
and of a fraudulent transaction, and MEMBERS, float32 [n, members], the probability that each member gives
alone.
"""

from __future__ import annotations

from msgspec import Struct

FEATURES, MEMBERS, PROBABILITIES = "features", "members", "probabilities"


class Thresholds(Struct, frozen=True, forbid_unknown_fields=True):
    """Least score in [0, 1] for each outcome above `approve`."""

    monitor: float
    step_up: float
    block: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.monitor <= self.step_up <= self.block:
            raise ValueError("thresholds must rise from monitor over step_up to block")
