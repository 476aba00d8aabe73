"""Whether a new version may take the alias from the one that decides: both are judged on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import ModelProto

from plinth_pipelines.fraud import onnx_model
from plinth_pipelines.fraud.members import Floats, Rows

MAX_LOSS = 0.005
"""Average precision that a successor may lack. Another seed, or other genuine rows, move that of a week by
0.001; five times as much is no accident."""


@dataclass(frozen=True)
class Present:
    """The version that has the alias: what it decides with, and the fingerprint of its features."""

    version: int
    fingerprint: str
    load: Callable[[], ModelProto]


@dataclass(frozen=True)
class Succession:
    """Whether the new version takes the alias, and why in words for a person.

    `present_precision`: average precision of the present version on the rows of the new one's test, None
    where there was nothing to compare.
    """

    takes: bool
    why: str
    present_precision: float | None = None


def decide(
    present: Present | None, fingerprint: str, precision: float, X: Rows, judge: Callable[[Floats], float]
) -> Succession:
    """Compare a new version of this average precision with the present one on the test rows X.

    A present version of other features cannot be served any more, and gives way. judge: average precision of
    scores of these rows.
    """
    if present is None:
        return Succession(True, "no version had it before")
    if present.fingerprint != fingerprint:
        return Succession(True, f"version {present.version} was trained on other features")
    try:
        theirs = judge(onnx_model.scores(present.load(), X))
    except Exception as error:  # whatever is wrong with it, it is no reason to lose what was trained
        return Succession(True, f"version {present.version} cannot be loaded: {error}")
    takes = precision >= theirs - MAX_LOSS
    against = (
        f"average precision {precision:.4f}, version {present.version} has {theirs:.4f} on the same rows"
    )
    return Succession(takes, against if takes else f"{against}, and {MAX_LOSS} less is allowed", theirs)


def forced() -> Succession:
    """The new version takes the alias, whatever it is worth."""
    return Succession(True, "without a comparison, as was asked for")
