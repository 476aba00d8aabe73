"""Event types. A consumer may declare a smaller struct of its own: unknown fields are ignored.

Ids are strings of 1 to 64 visible characters, money is integer minor units (cents), every time has a zone
and lies in the years 1970 to 2199. `event_ts` says when a thing happened, `known_ts` when the platform knew
of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# $ alone would let a line's end pass behind the last character.
ID = Meta(pattern=r"^[!-~]{1,64}$(?!\n)", description="1 to 64 visible ASCII characters")
_CURRENCY = Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="three capital letters, ISO 4217")
_CATEGORY = Meta(pattern=r"^[0-9]{4}$(?!\n)", description="four digits, ISO 18245")
PATTERNED = (ID, _CURRENCY, _CATEGORY)
"""What a string may be, as a pattern and in words."""

Id = Annotated[str, ID]
Utc = Annotated[datetime, Meta(tz=True)]
Money = Annotated[int, Meta(ge=0, le=10**12, description="minor units, e.g. cents")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Label = Annotated[float, Meta(ge=-1e12, le=1e12)]

FIRST, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
MAX_OFFSET = timedelta(hours=14)
"""Of a zone from UTC; no place on Earth has more, and Postgres refuses 16 hours."""


def check_times(**times: datetime) -> None:
    """ValueError that names the first time outside FIRST to END, or whose zone is none on Earth."""
    for name, time in times.items():
        if not FIRST <= time < END:
            raise ValueError(f"`{name}` must lie in the years {FIRST.year} to {END.year - 1}, UTC")
        if time.tzinfo is not UTC and abs(time.utcoffset() or timedelta()) > MAX_OFFSET:
            raise ValueError(f"`{name}` must have a zone within {MAX_OFFSET} of UTC")


MAX_AHEAD = timedelta(days=1)
"""An event may lie so far after the moment at which it was sent. One from a distant future would move the
windows of its entity there, and leave all that really happens behind them."""


def check_not_ahead(name: str, time: datetime, sent: datetime) -> None:
    """ValueError that names a time which lies too far after it was sent."""
    if time - sent > MAX_AHEAD:
        raise ValueError(f"`{name}` must not lie more than a day ahead")


class Event(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all event types."""


class Outcome(StrEnum):
    """What a decision does, from mildest to strictest."""

    APPROVE = "approve"
    MONITOR = "monitor"
    STEP_UP = "step_up"
    BLOCK = "block"


class LabelSource(StrEnum):
    """Who says that a prediction was right or wrong."""

    CHARGEBACK = "chargeback"
    ANALYST = "analyst"
    CUSTOMER = "customer"
    SILENCE = "silence"


class TransactionReceived(Event, frozen=True, kw_only=True):
    """A card payment at a terminal, before it is decided.

    `latitude` and `longitude` say where the card was used, in degrees (WGS 84); one without the other counts
    as unknown. `merchant_category` is the ISO 18245 code of the shop.
    """

    transaction_id: Id
    customer_id: Id
    terminal_id: Id
    amount_minor: Money
    currency: Annotated[str, _CURRENCY] = "EUR"
    event_ts: Utc
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)] | None = None
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)] | None = None
    merchant_category: Annotated[str, _CATEGORY] | None = None

    def __post_init__(self) -> None:
        check_times(event_ts=self.event_ts)


class PredictionLogged(Event, frozen=True, kw_only=True):
    """One answer of one model: what it saw, what it said, which version of it.

    `request_id` is the caller's name for the request (the transaction id in fraud), `entity_id` whom it is
    about (the card holder in fraud). `features` are the values the model was given, in its order.
    """

    prediction_id: Id
    request_id: Id
    entity_id: Id
    event_ts: Utc
    known_ts: Utc
    model_name: str
    model_version: str
    model_digest: str
    feature_fingerprint: str
    features: dict[str, float]
    variant: str = "champion"
    propensity: Share = 1.0
    score: float
    decision: str
    latency_ms: Annotated[float, Meta(ge=0.0)]
    degraded: tuple[str, ...] = ()


class DecisionMade(Event, frozen=True, kw_only=True):
    """What was decided about a transaction. `decision_id` is the id of the prediction behind it.

    `score` is the model's, 0 where no model was there; `rule_score` the sum of the weights of the rules that
    fired; `reasons` are codes of the policy, the weightiest first. `let_through` marks a transaction that
    the policy would have blocked and that chance let pass, `propensity` is the probability of what happened.
    `policy` is the version of the policy, `rules` the names of those of its rules that fired, `model_name`
    and `model_version` say what gave the score; both are empty where no model was there.
    """

    decision_id: Id
    transaction_id: Id
    customer_id: Id
    terminal_id: Id
    amount_minor: Money
    event_ts: Utc
    outcome: Outcome
    score: Share
    rule_score: Share = 0.0
    reasons: tuple[Id, ...] = ()
    let_through: bool = False
    propensity: Share = 1.0
    policy: str = ""
    rules: tuple[Id, ...] = ()
    model_name: str = ""
    model_version: str = ""
    degraded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_times(event_ts=self.event_ts)


class LabelObserved(Event, frozen=True, kw_only=True):
    """The truth about an earlier prediction, late and revisable.

    It points to a prediction by `prediction_id`, or by `request_id` and `entity_id`. `entities` names every
    entity whose features learn from it, by kind, e.g. {"terminal": "t-7"}. A revision carries the label that
    it replaces in `previous_label`, so that a sum over labels can be corrected without looking back.
    `amount_minor` is the judged transaction's amount, where the reporter knows it.
    """

    label_id: Id
    request_id: Id
    entity_id: Id
    prediction_id: Id | None = None
    entities: dict[str, Id]
    event_ts: Utc
    known_ts: Utc
    label: Label
    previous_label: Label | None = None
    amount_minor: Money | None = None
    source: LabelSource = LabelSource.CHARGEBACK

    def __post_init__(self) -> None:
        check_times(event_ts=self.event_ts, known_ts=self.known_ts)


class AlertRaised(Event, frozen=True, kw_only=True):
    """Something that a person should look at."""

    alert_id: Id
    kind: str
    severity: Annotated[str, Meta(pattern=r"^(info|warning|critical)$(?!\n)")]
    entity_id: Id
    summary: str
    event_ts: Utc
    prediction_id: Id | None = None


class FeatureUpdate(Event, frozen=True, kw_only=True):
    """An event on its way to the writer of a feature row, re-keyed from its source topic.

    `source_partition` and `source_offset` are those of the source: the row remembers the highest offset
    applied per partition and skips what comes again. `event_id` is a hash of the event's own id, by which the
    row skips an event that a producer sent twice.
    """

    view: str
    entity: Id
    event_id: int
    ts_ms: int
    weight: int
    values: tuple[int, ...]
    source_partition: Annotated[int, Meta(ge=0)]
    source_offset: Annotated[int, Meta(ge=0)]


EVENT_TYPES: dict[str, type[Event]] = {
    "transaction.received": TransactionReceived,
    "prediction.logged": PredictionLogged,
    "decision.made": DecisionMade,
    "label.observed": LabelObserved,
    "alert.raised": AlertRaised,
    "feature.update": FeatureUpdate,
}
"""Topic name, which is also the CloudEvents type, to the struct of its value."""
