"""What a feature is: declarations as data, compiled from `feature_repo/`, read by every execution."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

Function = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "over_mean",
    "distance_km",
    "median",
    "over_median",
    "count_high",
    "share_high",
    "last",
    "age",
    "gap",
    "first",
    "run",
    "run_age",
    "age_positive",
    "age_zero",
]
"""Of a window; from `median` on of the kept events in a window; from `last` on states without a window."""

STATES: Final = frozenset({"last", "age", "gap", "first", "run", "run_age", "age_positive", "age_zero"})
"""Functions that look back without limit."""

COLUMNLESS: Final = frozenset({"count", "age", "gap", "distance_km"})
"""Functions that name no column."""

PLACE: Final = ("latitude_e6", "longitude_e6", "placed")
"""Columns that `distance_km` reads: millionths of a degree, and 1 where the event has a place."""

ORDINARY: Final = "ordinary_label"
"""Column of a label that is 0 for a large fraud, see `View.ordinary_minor`."""

RequestFunction = Literal["amount", "is_weekend", "is_night"]

MINUTE, HOUR, DAY = 60, 3600, 86400

FORMAT = 2
"""Of packed rows; a new number makes every stored row unknown."""


class Aggregation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature: `function` of `column` over the last `window_s` seconds of an entity's events.

    The README of this package defines each function. States have no window; `count`, `age`, `gap` and
    `distance_km` name no column. `default` is the value where the function is not defined, e.g. over an empty
    window. `scale` multiplies the result: 0.01 turns cents into euros. `factor` is that of `count_high` and
    `share_high`. Raises ValueError where window or column do not fit the function.
    """

    feature: str
    function: Function
    column: str | None = None
    window_s: Annotated[int, Meta(ge=1)] | None = None
    default: float = 0.0
    scale: float = 1.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if (self.window_s is None) != (self.function in STATES):
            raise ValueError(f"{self.feature}: {self.function} and a window of {self.window_s} do not fit")
        if (self.column is None) != (self.function in COLUMNLESS):
            raise ValueError(f"{self.feature}: {self.function} and column {self.column} do not fit")
        if self.window_s is not None:
            hop_s(self.window_s)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        if self.function == "distance_km":
            return PLACE
        return () if self.column is None else (self.column,)


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features of one kind of entity from one topic.

    `columns` are the integer values an event carries. The last `recent` events of an entity are kept one by
    one, exact to the millisecond; older ones are settled into tiles. `first` remembers the last `distinct`
    values. `partitions` is that of the topic. `ordinary_minor` is the greatest amount of a fraud that counts
    in the column `ordinary_label`: a larger one is fraud by its amount, and says nothing of the entity.
    Raises ValueError where that column is read without it.
    """

    name: str
    entity: str
    source: str
    partitions: Annotated[int, Meta(ge=1)]
    columns: tuple[str, ...]
    recent: Annotated[int, Meta(ge=2, le=256)] = 16
    distinct: Annotated[int, Meta(ge=1, le=1024)] = 64
    ordinary_minor: Annotated[int, Meta(ge=0)] | None = None
    ttl_s: Annotated[int, Meta(ge=1)] = 60 * DAY
    aggregations: tuple[Aggregation, ...]
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        if ORDINARY in self.columns and self.ordinary_minor is None:
            raise ValueError(f"{self.name}: {ORDINARY} needs the greatest amount that is ordinary")


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

    Under an hour a twelfth of the window (at least a second), up to a day 5 minutes, up to a week an hour,
    from a week on a day. A window that is no multiple of its hop is refused.
    """
    if window_s < HOUR:
        hop = max(1, window_s // 12)
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
        FORMAT,
        view.name,
        view.entity,
        view.source,
        view.partitions,
        view.columns,
        view.recent,
        view.distinct,
        [(a.function, a.column, a.window_s) for a in view.aggregations],
        *(() if view.ordinary_minor is None else (view.ordinary_minor,)),
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
