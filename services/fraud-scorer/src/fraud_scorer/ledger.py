"""Decisions and their labels in SQL: what people ask about long after the stream has moved on.

Rows are inserted once: a repeated decision or label changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sql
from alembic import command
from alembic.config import Config
from msgspec import Struct

from plinth_contracts.events import DecisionMade, LabelObserved, LabelSource

MIGRATION_LOCK = 7_461_001
"""Advisory lock under which one process at a time migrates."""


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
    label: float | None = None
    label_source: str | None = None
    label_known_ts: datetime | None = None


class Judged(Struct, frozen=True):
    """A label that was new, and the decision it judges (outcome None: not decided here).

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
  select * from labels where transaction_id = d.transaction_id order by known_ts desc, label_id desc limit 1
) l on true
where d.decision_id = :id or d.transaction_id = :id
limit 1
"""

_INSERT_DECISIONS = """
insert into decisions
  (decision_id, transaction_id, customer_id, terminal_id, amount_minor, event_ts, outcome, score,
   rule_score, reasons, let_through, propensity)
select * from unnest(
  cast(:decision_id as text[]), cast(:transaction_id as text[]), cast(:customer_id as text[]),
  cast(:terminal_id as text[]), cast(:amount_minor as bigint[]), cast(:event_ts as timestamptz[]),
  cast(:outcome as text[]), cast(:score as double precision[]), cast(:rule_score as double precision[]),
  cast(:reasons as jsonb[]), cast(:let_through as boolean[]), cast(:propensity as double precision[]))
on conflict do nothing
"""

_INSERT_LABELS = """
with new as (
  insert into labels (label_id, transaction_id, label, previous_label, source, event_ts, known_ts)
  select * from unnest(
    cast(:label_id as text[]), cast(:transaction_id as text[]), cast(:label as double precision[]),
    cast(:previous_label as double precision[]), cast(:source as text[]),
    cast(:event_ts as timestamptz[]), cast(:known_ts as timestamptz[]))
  on conflict do nothing
  returning transaction_id, label, previous_label
)
select new.label, d.outcome, d.amount_minor, d.let_through, d.propensity
from new left join decisions d using (transaction_id)
where new.previous_label is null
"""

_LABELS_OF = """
select label_id, label, previous_label, known_ts from labels where transaction_id = :id
order by known_ts desc, label_id desc
"""


class Ledger:
    """The database of decisions and labels. Errors pass through as sqlalchemy.exc.SQLAlchemyError."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = sql.create_engine(url, pool_pre_ping=True, pool_size=4)

    def migrate(self) -> None:
        """Bring the schema up to date; safe when several processes do it at once."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
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
                connection.execute(sql.text("select 1 from decisions limit 1"))
        except sql.exc.OperationalError:
            return "no connection"
        except sql.exc.ProgrammingError:
            return "schema is not there yet"
        return None

    def record_decisions(self, decisions: Sequence[DecisionMade]) -> None:
        """Insert decisions that are not there yet."""
        if decisions:
            columns = _columns(decisions, DECISION_COLUMNS)
            reasons = [msgspec.json.encode(decision.reasons).decode() for decision in decisions]
            self._execute(_INSERT_DECISIONS, columns | {"reasons": reasons})

    def record_labels(self, labels: Sequence[LabelObserved]) -> list[Judged]:
        """Insert labels that are not there yet; those that judge a transaction for the first time."""
        if not labels:
            return []
        columns = _columns(labels, LABEL_COLUMNS) | {"transaction_id": [x.request_id for x in labels]}
        return [Judged(*row) for row in self._execute(_INSERT_LABELS, columns)]

    def find(self, some_id: str) -> Recorded | None:
        """A decision by its id or by that of its transaction."""
        with self._engine.connect() as connection:
            row = connection.execute(sql.text(_FIND), {"id": some_id}).mappings().first()
        return None if row is None else msgspec.convert(dict(row), Recorded)

    def add_label(
        self, decision: Recorded, label_id: str, label: float, source: LabelSource, known_ts: datetime
    ) -> tuple[LabelObserved, list[Judged]]:
        """Record a label of a decision, as a revision if there was one.

        The event that tells of it, and what it judges for the first time. The same `label_id` again changes
        nothing and gives the same event.
        """
        with self._engine.begin() as connection:
            connection.execute(
                sql.text("select 1 from decisions where decision_id = :id for update"),
                {"id": decision.decision_id},
            )
            rows = connection.execute(sql.text(_LABELS_OF), {"id": decision.transaction_id}).all()
            known = {row.label_id: row for row in rows}
            if label_id in known:
                previous = known[label_id].previous_label
            else:
                previous = rows[0].label if rows else None
            event = LabelObserved(
                label_id=label_id,
                request_id=decision.transaction_id,
                entity_id=decision.customer_id,
                prediction_id=decision.decision_id,
                entities={"customer": decision.customer_id, "terminal": decision.terminal_id},
                event_ts=decision.event_ts,
                known_ts=known_ts,
                label=label,
                previous_label=previous,
                source=source,
            )
            columns = _columns([event], LABEL_COLUMNS) | {"transaction_id": [event.request_id]}
            judged = connection.execute(sql.text(_INSERT_LABELS), columns).all()
        return event, [Judged(*row) for row in judged]

    def _execute(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        with self._engine.begin() as connection:
            result = connection.execute(sql.text(statement), values)
            return result.all() if result.returns_rows else []


DECISION_COLUMNS = (
    "decision_id",
    "transaction_id",
    "customer_id",
    "terminal_id",
    "amount_minor",
    "event_ts",
    "outcome",
    "score",
    "rule_score",
    "let_through",
    "propensity",
)
LABEL_COLUMNS = ("label_id", "label", "previous_label", "source", "event_ts", "known_ts")


def _columns(events: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Events as one list per column; enum members as their values."""
    return {
        name: [getattr(value := getattr(event, name), "value", value) for event in events] for name in names
    }
