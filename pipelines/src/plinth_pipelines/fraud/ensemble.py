"""Members with their calibration, combined into the probability that is served.

    member m      p_m = sigmoid(a_m s_m + b_m)
    ensemble      p = sigmoid(sum_m w_m s_m + b), or p_1 of a single member

with raw scores s_m; a, b, w are learnt from scores of rows that the members were not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plinth_algorithms.calibration import Logistic, platt
from plinth_pipelines.fraud.members import Floats, Labels, Member, Rows


@dataclass(frozen=True)
class Calibration:
    """Probabilities from raw scores: one line a member, and one over all of them."""

    members: Mapping[str, Logistic]
    combined: Logistic


@dataclass(frozen=True)
class Ensemble:
    """Fitted members, in the order of the combination's weights, and how they become a probability."""

    members: tuple[Member, ...]
    calibration: Calibration

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(member.name for member in self.members)

    def raw(self, X: Rows) -> Floats:
        """Raw scores [n, members]."""
        return np.column_stack([member.raw(X) for member in self.members])

    def scores(self, X: Rows) -> Floats:
        """Probability of fraud (n,)."""
        return self.calibration.combined(self.raw(X))

    def member_scores(self, X: Rows) -> Floats:
        """Each member's own probability [n, members]."""
        raw = self.raw(X)
        columns = [
            self.calibration.members[name](column) for name, column in zip(self.names, raw.T, strict=True)
        ]
        return np.column_stack(columns)


def calibrate(raw: Mapping[str, Floats], names: Sequence[str], y: Labels) -> Calibration:
    """Calibration of these members from raw scores (n,) by name; ValueError unless y holds both classes."""
    members = {name: platt(raw[name], y) for name in names}
    combined = platt(np.column_stack([raw[name] for name in names]), y)
    return Calibration(members, combined)
