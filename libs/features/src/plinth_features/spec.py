"""What a feature is: declarations as data, compiled from `feature_repo/`, read by every execution."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Function = Literal["count", "sum", "mean", "min", "max", "std", "last", "age", "gap"]
STATES = ("last", "age", "gap")
"""Functions of the newest events alone; they look no further back than the events kept one by one."""

RequestFunction = Literal["amount", "is_weekend", "is_night"]

MINUTE, HOUR, DAY = 60, 3600, 86400


class Aggregation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One windowed feature: `function` of `column` over the last `window_s` seconds of an entity's events.

    `last` is the newest event's value, `age` the seconds since it, `gap` the seconds between it and the one
    before. `count`, `age` and `gap` need no column. `default` is the value of an empty window. `scale`
    multiplies the result: 0.01 turns cents into euros.
    """

    feature: str
    function: Function
    column: str | None = None
    window_s: Annotated[int, Meta(ge=1)]
    default: float = 0.0
    scale: float = 1.0


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features of one kind of entity from one topic.

    `columns` are the integer values an event carries. The last `recent` events of an entity are kept one by
    one, exact to the millisecond; older ones are settled into tiles. `partitions` is that of the topic.
    """

    name: str
    entity: str
    source: str
    partitions: Annotated[int, Meta(ge=1)]
    columns: tuple[str, ...]
    recent: Annotated[int, Meta(ge=2, le=256)] = 16
    ttl_s: Annotated[int, Meta(ge=1)] = 60 * DAY
    aggregations: tuple[Aggregation, ...]
    description: str = ""
    owner: str = ""


class RequestFeature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feature of the request alone, see `plinth_features.request`."""

    feature: str
    function: RequestFunction


class FeatureService(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The features that a model is given, in this order: the request's, then each view's."""

    name: str
    request: tuple[RequestFeature, ...]
    views: tuple[View, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in the order of the model's input."""
        return tuple(f.feature for f in self.request) + tuple(
            a.feature for view in self.views for a in view.aggregations
        )

    @property
    def fingerprint(self) -> str:
        """Hash of names, types, definitions and order; equal fingerprints mean equal features."""
        return _digest(self)

    def view(self, name: str) -> View:
        """The view of that name; KeyError when there is none."""
        return {view.name: view for view in self.views}[name]


def hop_s(window_s: int) -> int:
    """Width in seconds of the tiles behind a window: its tail moves in steps of this.

    Up to an hour a sixtieth of the window (at least a second), up to a day 5 minutes, up to a week an hour,
    from a week on a day. A window that is no multiple of its hop is refused.
    """
    if window_s < HOUR:
        hop = max(1, window_s // 60)
    elif window_s < DAY:
        hop = 5 * MINUTE
    elif window_s < 7 * DAY:
        hop = HOUR
    else:
        hop = DAY
    if window_s % hop:
        raise ValueError(f"window of {window_s} s is no multiple of its hop of {hop} s")
    return hop


def schema_hash(view: View) -> bytes:
    """8 bytes that change whenever the layout or the meaning of a stored row changes."""
    stored = (
        view.name,
        view.entity,
        view.source,
        view.partitions,
        view.columns,
        view.recent,
        [(a.function, a.column, a.window_s) for a in view.aggregations],
    )
    return hashlib.sha256(msgspec.json.encode(stored)).digest()[:8]


def _digest(service: FeatureService) -> str:
    return hashlib.sha256(msgspec.json.encode(service)).hexdigest()[:16]


def load(path: Path) -> FeatureService:
    """Read a compiled feature service; msgspec.ValidationError says what does not fit."""
    return msgspec.json.decode(path.read_bytes(), type=FeatureService)


def dump(service: FeatureService) -> bytes:
    """Readable JSON of a feature service, the inverse of `load`."""
    return msgspec.json.format(msgspec.json.encode(service), indent=2) + b"\n"
