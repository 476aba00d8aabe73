"""Cases as rows: what a reader gets, and the statements, each over many rows at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
import sqlalchemy as sql
from msgspec import Meta, Struct

from fraud_scorer.core.cases import Case, Status, Suspect
from fraud_scorer.ledger import Recorded, as_json
from plinth_contracts.events import Id, check_times

FILING_LOCK, TELLING_LOCK = 7_461_002, 7_461_003
"""Advisory locks: one transaction at a time gives cards a case that is not resolved, one tells of tiers."""

T = TypeVar("T")


class Place(Struct, frozen=True, array_like=True):
    """A place in the queue: that of the last case seen."""

    tier: Annotated[int, Meta(ge=1, le=3)]
    due_ts: Annotated[datetime, Meta(tz=True)]
    case_id: Id

    def __post_init__(self) -> None:
        check_times(due_ts=self.due_ts)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which cases to list; None does not restrict. `after` is the place where the list goes on."""

    status: Status | None = None
    tier: int | None = None
    assignee: str | None = None
    customer_id: str | None = None
    overdue: bool | None = None
    after: Place | None = None


class Filed(Recorded, frozen=True, kw_only=True):
    """A decision in a case; `fraud` is what the last resolution of the case said of it."""

    joined_ts: datetime
    fraud: bool | None


class CaseEvent(Struct, frozen=True):
    """Who did what to a case, and when."""

    ts: datetime
    who: str
    what: str
    details: dict[str, Any]


class Tally(Struct, frozen=True):
    """How many cases of one status and tier there are, and how many of them are overdue."""

    status: Status
    tier: int
    cases: int
    overdue: int


SUSPECTS = """
select transaction_id, customer_id, amount_minor, score, outcome, let_through from decisions d
where transaction_id = any(:ids)
  and not exists (select 1 from case_decisions f where f.transaction_id = d.transaction_id)
"""

UNRESOLVED_OF_CARDS = """
select * from cases where customer_id = any(:customers) and status <> 'resolved'
order by customer_id for update
"""

BY_ID = "select * from cases where case_id = :id"
BY_ID_LOCKED = "select * from cases where case_id = :id for update"

DECISIONS_OF = """
select d.*, f.joined_ts, f.fraud, l.label, l.source as label_source, l.known_ts as label_known_ts
from case_decisions f
join decisions d using (transaction_id)
left join lateral (
  select * from labels where transaction_id = d.transaction_id order by said desc limit 1
) l on true
where f.case_id = :id
order by f.joined_ts desc, d.event_ts desc, d.transaction_id
limit :limit
"""

HISTORY_OF = """
select ts, who, what, details from case_events where case_id = :id order by event_id desc limit :limit
"""

OVERDUE = """
select * from cases where status <> 'resolved' and tier < :highest and due_ts < :now
order by due_ts limit :limit for update skip locked
"""

UNTOLD = """
select * from cases where alerted_tier < tier and status <> 'resolved' order by case_id limit :limit
"""

BACKLOG = """
select status, tier, count(*) as cases, count(*) filter (where due_ts < :now) as overdue
from cases where status <> 'resolved' group by status, tier
"""

TALLY = """
select status, tier, count(*) as cases,
  count(*) filter (where status <> 'resolved' and due_ts < :now) as overdue
from cases group by status, tier order by status, tier
"""

MEDIAN_SECONDS = """
select percentile_cont(0.5) within group (order by extract(epoch from resolved_ts - opened_ts))
from cases where status = 'resolved'
"""

_SAVE = """
insert into cases
select * from json_populate_recordset(null::cases, cast(:rows as json))
on conflict (case_id) do update set
  status = excluded.status, tier = excluded.tier, assignee = excluded.assignee,
  updated_ts = excluded.updated_ts, due_ts = excluded.due_ts, resolved_ts = excluded.resolved_ts,
  resolution = excluded.resolution, max_score = excluded.max_score, amount_minor = excluded.amount_minor,
  decisions = excluded.decisions, blocks = excluded.blocks, version = excluded.version
"""

_JOIN = """
insert into case_decisions (transaction_id, case_id, joined_ts)
select transaction_id, case_id, joined_ts
from json_populate_recordset(null::case_decisions, cast(:rows as json))
"""

_APPEND = """
insert into case_events (case_id, ts, who, what, details)
select case_id, :now, :who, what, details
from rows from (json_to_recordset(cast(:rows as json)) as (case_id text, what text, details jsonb))
  with ordinality as told (case_id, what, details, position)
order by position
"""

_JUDGE = """
update case_decisions set fraud = said.fraud
from json_populate_recordset(null::case_decisions, cast(:rows as json)) as said
where case_decisions.transaction_id = said.transaction_id
"""

_TOLD = """
with told as (
  select c.case_id, said.tier
  from json_populate_recordset(null::cases, cast(:rows as json)) as said
  join cases c using (case_id) order by c.customer_id for update of c
)
update cases set alerted_tier = told.tier from told where cases.case_id = told.case_id
"""

_FILTERS = {
    "status": "status = :status",
    "tier": "tier = :tier",
    "assignee": "assignee = :assignee",
    "customer_id": "customer_id = :customer_id",
    "overdue": "(status <> 'resolved' and due_ts < :now) = :overdue",
    "after": "(-tier, due_ts, case_id) > (-:after_tier, :after_due_ts, :after_case_id)",
}


def rows(connection: sql.Connection, statement: str, kind: type[T], values: Mapping[str, Any]) -> list[T]:
    """What a statement selects, as structs."""
    found = connection.execute(sql.text(statement), values).mappings()
    return [msgspec.convert(dict(row), kind) for row in found]


def queue(connection: sql.Connection, wanted: Wanted, now: datetime, limit: int) -> list[Case]:
    """Up to `limit` of the wanted cases: highest tier first, then the earliest deadline."""
    conditions = [
        sql.text(condition) for name, condition in _FILTERS.items() if getattr(wanted, name) is not None
    ]
    query = sql.select(sql.text("*")).select_from(sql.text("cases")).where(*conditions)
    query = query.order_by(sql.text("-tier, due_ts, case_id")).limit(limit)
    values = {
        "status": None if wanted.status is None else wanted.status.value,
        "tier": wanted.tier,
        "assignee": wanted.assignee,
        "customer_id": wanted.customer_id,
        "overdue": wanted.overdue,
        "now": now,
    }
    if wanted.after is not None:
        values |= {f"after_{name}": getattr(wanted.after, name) for name in Place.__struct_fields__}
    found = connection.execute(query, values).mappings()
    return [msgspec.convert(dict(row), Case) for row in found]


def lock_filing(connection: sql.Connection) -> None:
    """Wait until no other transaction gives cards a case that is not resolved; held until the end of this."""
    connection.execute(sql.text("select pg_advisory_xact_lock(:lock)"), {"lock": FILING_LOCK})


def lock_telling(connection: sql.Connection) -> bool:
    """Whether this transaction is the one that may tell of tiers; it does not wait."""
    lock = {"lock": TELLING_LOCK}
    return bool(connection.execute(sql.text("select pg_try_advisory_xact_lock(:lock)"), lock).scalar())


def told(connection: sql.Connection, cases: Sequence[Case]) -> None:
    """Remember that alerts have told of the tiers of these cases. Locks them in the order of filing."""
    connection.execute(sql.text(_TOLD), {"rows": as_json(cases)})


def save(connection: sql.Connection, cases: Sequence[Case]) -> None:
    """Insert cases, or bring those that are there up to date, apart from what `told` keeps."""
    connection.execute(sql.text(_SAVE), {"rows": as_json(cases)})


def join(connection: sql.Connection, members: Sequence[tuple[Suspect, Case]], now: datetime) -> None:
    """Put decisions into cases."""
    lines = [
        {"transaction_id": suspect.transaction_id, "case_id": case.case_id, "joined_ts": now}
        for suspect, case in members
    ]
    connection.execute(sql.text(_JOIN), {"rows": as_json(lines)})


def judge(connection: sql.Connection, verdicts: Mapping[str, bool]) -> None:
    """Remember by transaction whether it was found to be fraud."""
    lines = [{"transaction_id": name, "fraud": fraud} for name, fraud in verdicts.items()]
    connection.execute(sql.text(_JUDGE), {"rows": as_json(lines)})


def append(
    connection: sql.Connection, who: str, now: datetime, told: Sequence[tuple[Case, str, Mapping[str, Any]]]
) -> None:
    """Add to the history of cases what was done, with details."""
    lines = [{"case_id": case.case_id, "what": what, "details": details} for case, what, details in told]
    connection.execute(sql.text(_APPEND), {"who": who, "now": now, "rows": as_json(lines)})
