"""Decisions and their labels in SQL: what people ask about long after the stream has moved on.

Rows are inserted once: a repeated decision or label changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sql
from alembic import command
from alembic.config import Config
from msgspec import Struct

from fraud_scorer import impatient
from plinth_contracts.events import DecisionMade, LabelObserved, LabelSource

STATEMENT_MS = 15_000
MIGRATION_LOCK = 7_461_001
"""Advisory lock under which one process at a time migrates."""
MATCHING_LOCK = 7_461_004
"""Advisory lock by which a decision and its label, recorded at once by two processes, see each other."""


class Recorded(Struct, frozen=True, kw_only=True):
    """A decision as recorded, with the last label known of it."""

    decision_id: str
    transaction_id: str
    customer_id: str
    terminal_id: str
    amount_minor: int
    event_ts: datetime
    outcome: str
    score: float
    rule_score: float
    reasons: tuple[str, ...]
    let_through: bool
    propensity: float
    policy: str
    degraded: tuple[str, ...]
    label: float | None = None
    label_source: str | None = None
    label_known_ts: datetime | None = None


class Judged(Struct, frozen=True):
    """A label and the decision it judges (outcome None: none is recorded), told when the later of them came.

    `propensity` is the probability of that decision under the policy, `let_through` whether chance made it.
    """

    label: float
    outcome: str | None
    amount_minor: int | None
    let_through: bool | None
    propensity: float | None


_FIND = """
select d.*, l.label, l.source as label_source, l.known_ts as label_known_ts
from decisions d
left join lateral (
  select * from labels where transaction_id = d.transaction_id order by said desc limit 1
) l on true
where {is_it}
"""

_INSERT_DECISIONS = """
with new as (
  insert into decisions
    (decision_id, transaction_id, customer_id, terminal_id, amount_minor, event_ts, outcome, score,
     rule_score, reasons, let_through, propensity, policy, degraded)
  select decision_id, transaction_id, customer_id, terminal_id, amount_minor, event_ts, outcome, score,
     rule_score, reasons, let_through, propensity, policy, degraded
  from json_populate_recordset(null::decisions, cast(:rows as json))
  on conflict do nothing
  returning transaction_id, outcome, amount_minor, let_through, propensity
)
select l.label, new.outcome, new.amount_minor, new.let_through, new.propensity
from new join labels l using (transaction_id)
where l.previous_label is null
"""

_INSERT_LABELS = """
with new as (
  insert into labels (label_id, transaction_id, label, previous_label, source, event_ts, known_ts)
  select label_id, request_id, label, previous_label, source, event_ts, known_ts
  from json_to_recordset(cast(:rows as json)) as said
    (label_id text, request_id text, label double precision, previous_label double precision, source text,
     event_ts timestamptz, known_ts timestamptz)
  on conflict do nothing
  returning transaction_id, label, previous_label
)
select new.label, d.outcome, d.amount_minor, d.let_through, d.propensity
from new left join decisions d using (transaction_id)
where new.previous_label is null
"""

_ONE_RECORDS = "select pg_advisory_xact_lock_shared(:lock)"
_NOBODY_RECORDS = "select pg_advisory_xact_lock(:lock)"

_LOCK_DECISIONS = "select 1 from decisions where decision_id = any(:ids) order by decision_id for update"

_LABELS_OF = """
select transaction_id, label_id, label, previous_label, known_ts from labels where transaction_id = any(:ids)
order by said
"""


class Statement(Struct, frozen=True):
    """Somebody's word on a decision, 1.0 for fraud. The same `label_id` is the same statement."""

    decision: Recorded
    label_id: str
    label: float
    source: LabelSource
    known_ts: datetime


class Ledger:
    """The database of decisions and labels. Errors pass through as sqlalchemy.exc.SQLAlchemyError.

    patience_s: so long one query may wait for a server that hangs, None: for ever.
    """

    def __init__(self, url: str, patience_s: float | None = None) -> None:
        self._url = url
        self._engine = sql.create_engine(
            url,
            pool_pre_ping=True,
            pool_size=4,
            pool_timeout=2,
            connect_args={"connect_timeout": 2, "options": f"-c statement_timeout={STATEMENT_MS}"},
        )
        if patience_s is not None:
            impatient.bound(self._engine, patience_s)

    def migrate(self) -> None:
        """Bring the schema up to date, however long it takes; safe when several processes do it at once."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        engine = sql.create_engine(self._url, poolclass=sql.NullPool, connect_args={"connect_timeout": 2})
        with engine.begin() as connection:
            connection.execute(sql.text("select pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def migrate_when_there(self, every_s: float = 1.0) -> None:
        """Migrate as soon as the database answers; meant for a thread of its own."""
        while True:
            try:
                return self.migrate()
            except sql.exc.OperationalError:
                time.sleep(every_s)

    def check(self) -> str | None:
        """Readiness: what is wrong with the database, or None."""
        try:
            with self._engine.connect() as connection:
                connection.execute(sql.text("select 1 from cases limit 1"))
        except sql.exc.OperationalError as error:
            refused = "authentication failed" in str(error.orig)
            return "the password is refused" if refused else "no connection"
        except sql.exc.ProgrammingError:
            return "schema is not there yet"
        return None

    @contextmanager
    def transaction(self, within: sql.Connection | None = None) -> Iterator[sql.Connection]:
        """A transaction that ends with the block; the one that is given ends with its own block."""
        if within is not None:
            yield within
            return
        with self._engine.begin() as connection:
            yield connection

    def record_decisions(
        self, decisions: Sequence[DecisionMade], within: sql.Connection | None = None
    ) -> list[Judged]:
        """Insert decisions that are not there yet; what labels that came before them say of them."""
        if not decisions:
            return []
        with self.transaction(within) as connection:
            connection.execute(sql.text(_ONE_RECORDS), {"lock": MATCHING_LOCK})
            values = {"rows": as_json(decisions)}
            return [Judged(*row) for row in connection.execute(sql.text(_INSERT_DECISIONS), values)]

    def record_labels(self, labels: Sequence[LabelObserved]) -> list[Judged]:
        """Insert labels that are not there yet; those that judge a transaction for the first time."""
        if not labels:
            return []
        with self.transaction() as connection:
            connection.execute(sql.text(_NOBODY_RECORDS), {"lock": MATCHING_LOCK})
            return _insert_labels(connection, labels)

    def find(self, *, decision_id: str | None = None, transaction_id: str | None = None) -> Recorded | None:
        """A decision by its id, by that of its transaction, or by both. ValueError where neither is given."""
        given = {"decision_id": decision_id, "transaction_id": transaction_id}
        named = {column: value for column, value in given.items() if value is not None}
        if not named:
            raise ValueError("decision_id or transaction_id is needed")
        is_it = " and ".join(f"d.{column} = :{column}" for column in named)
        with self._engine.connect() as connection:
            row = connection.execute(sql.text(_FIND.format(is_it=is_it)), named).mappings().first()
        return None if row is None else msgspec.convert(dict(row), Recorded)

    def add_label(
        self, decision: Recorded, label_id: str, label: float, source: LabelSource, known_ts: datetime
    ) -> tuple[LabelObserved, list[Judged]]:
        """Record a label of a decision, as a revision if there was one.

        The event that tells of it, and what it judges for the first time. The same `label_id` again changes
        nothing and gives the same event.
        """
        (event,), judged = self.add_labels([Statement(decision, label_id, label, source, known_ts)])
        return event, judged

    def add_labels(
        self, statements: Sequence[Statement], within: sql.Connection | None = None
    ) -> tuple[list[LabelObserved], list[Judged]]:
        """Record one label each of different decisions; see add_label. The events are in that order."""
        with self.transaction(within) as connection:
            connection.execute(
                sql.text(_LOCK_DECISIONS), {"ids": [said.decision.decision_id for said in statements]}
            )
            ids = [said.decision.transaction_id for said in statements]
            known: dict[str, tuple[float | None, datetime]] = {}
            last: dict[str, float] = {}
            for row in connection.execute(sql.text(_LABELS_OF), {"ids": ids}):
                known[row.label_id] = (row.previous_label, row.known_ts)
                last[row.transaction_id] = row.label
            events = [
                _observed(
                    said, *known.get(said.label_id, (last.get(said.decision.transaction_id), said.known_ts))
                )
                for said in statements
            ]
            return events, _insert_labels(connection, events)


LABEL_COLUMNS = ("label_id", "request_id", "label", "previous_label", "source", "event_ts", "known_ts")
"""What is kept of a label; the rest may hold what Postgres cannot take."""


def as_json(rows: Sequence[Any]) -> str:
    """Rows as one parameter, from which Postgres makes a table; much cheaper than a list a column."""
    return msgspec.json.encode(rows).decode()


def _insert_labels(connection: sql.Connection, labels: Sequence[LabelObserved]) -> list[Judged]:
    lines = [{name: getattr(label, name) for name in LABEL_COLUMNS} for label in labels]
    values = {"rows": as_json(lines)}
    return [Judged(*row) for row in connection.execute(sql.text(_INSERT_LABELS), values)]


def _observed(said: Statement, previous: float | None, known_ts: datetime) -> LabelObserved:
    decision = said.decision
    return LabelObserved(
        label_id=said.label_id,
        request_id=decision.transaction_id,
        entity_id=decision.customer_id,
        prediction_id=decision.decision_id,
        entities={"customer": decision.customer_id, "terminal": decision.terminal_id},
        event_ts=decision.event_ts,
        known_ts=known_ts,
        label=said.label,
        previous_label=previous,
        amount_minor=decision.amount_minor,
        source=said.source,
    )
