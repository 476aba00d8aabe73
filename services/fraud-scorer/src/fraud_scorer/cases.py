"""Cases in SQL: filed in the transaction that records their decisions, changed by one person at a time.

What may be done with a case stands in core/cases.py. Every change appends to the history of the case, which
nothing updates or deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sql
from msgspec import Struct

from fraud_scorer import case_rows as table
from fraud_scorer.case_rows import CaseEvent, Filed, Tally, Wanted, rows
from fraud_scorer.core import cases as core
from fraud_scorer.core.cases import Case, EscalationPolicy, NotAllowed, Resolution, Suspect
from fraud_scorer.ledger import Judged, Ledger, Statement
from fraud_scorer.records import SERVICE, message
from plinth_contracts.events import DecisionMade, LabelObserved, LabelSource
from plinth_kit.kafka.message import Outgoing

AT_ONCE = 1_000
DETAIL_ROWS = 500
"""Most decisions and most entries of its history that `find` gives of a case: the latest."""

Publish = Callable[[Sequence[Outgoing]], object]
"""Sends events and returns once they are delivered."""


class UnknownCase(LookupError):
    """There is no case with that id."""


class TierTooHigh(Exception):
    """The case is at a tier that the caller may not resolve."""


class Act(Struct, frozen=True):
    """Who acts, when, and on which version of the case (None: on whichever it is)."""

    who: str
    now: datetime
    version: int | None = None


class Ruling(Struct, frozen=True):
    """What the transactions of a case were: all of them the same, apart from the exceptions (true: fraud).

    observed_at: when that became known, None: when it is said.
    """

    resolution: Resolution
    exceptions: Mapping[str, bool] = {}
    note: str | None = None
    observed_at: datetime | None = None


class CaseFile(Struct, frozen=True):
    """A case with its latest decisions, last joined first, and its latest history, in order."""

    case: Case
    decisions: list[Filed]
    history: list[CaseEvent]


class Summary(Struct, frozen=True):
    """How many cases there are, and the median time from opening to resolution (None: nothing resolved)."""

    cases: list[Tally]
    overdue: int
    median_seconds_to_resolve: float | None


class Filing(NamedTuple):
    """What recording decisions has led to: cases opened, and labels that had waited for their decision."""

    opened: list[Case]
    judged: list[Judged]


class Settled(Struct, frozen=True):
    """A resolved case, the labels to publish, and what they judge for the first time.

    `repeated`: all of it had been said before.
    """

    case: Case
    labels: list[LabelObserved]
    judged: list[Judged]
    repeated: bool


class Cases:
    """The cases of a ledger. Errors of the database pass through as sqlalchemy.exc.SQLAlchemyError."""

    def __init__(self, ledger: Ledger, policy: EscalationPolicy, new_id: Callable[[], str]) -> None:
        self._ledger = ledger
        self._policy = policy
        self._new_id = new_id

    def record(self, decisions: Sequence[DecisionMade], now: datetime) -> Filing:
        """Record decisions in the ledger and put those that need it into cases.

        One transaction, so no decision is recorded without its case. A decision that is in a case already
        changes nothing.
        """
        if not decisions:
            return Filing([], [])
        ids = [d.transaction_id for d in decisions if core.needs_case(d.outcome, d.let_through)]
        with self._ledger.transaction() as connection:
            judged = self._ledger.record_decisions(decisions, connection)
            return Filing(self._file(connection, ids, now) if ids else [], judged)

    def escalate_overdue(self, now: datetime) -> list[Case]:
        """Raise every case that is past its deadline by one tier and return them.

        Cases that somebody is changing at this moment are left to the next call.
        """
        done: list[Case] = []
        values = {"now": now, "highest": core.TIERS[-1], "limit": AT_ONCE}
        while True:
            with self._ledger.transaction() as connection:
                found = rows(connection, table.OVERDUE, Case, values)
                raised = [core.after_deadline(case, self._policy, now) for case in found]
                if raised:
                    table.save(connection, raised)
                    told = [(case, "escalated", {"tier": case.tier, "reason": "overdue"}) for case in raised]
                    table.append(connection, SERVICE, now, told)
            done += raised
            if len(found) < AT_ONCE:
                return done

    def tell(self, publish: Publish) -> list[Case]:
        """Send an alert of every case that has reached a higher tier, by whatever way, and return them.

        That it was sent is committed afterwards: a crash in between sends the same alert again. While another
        process does this there is nothing left to do.
        """
        done: list[Case] = []
        while True:
            with self._ledger.transaction() as connection:
                if not table.lock_telling(connection):
                    return done
                found = rows(connection, table.UNTOLD, Case, {"limit": AT_ONCE})
                if found:
                    publish([_alert(case) for case in found])
                    table.told(connection, found)
            done += found
            if len(found) < AT_ONCE:
                return done

    def backlog(self, now: datetime) -> list[Tally]:
        """How many cases are not resolved, by status and tier."""
        with self._ledger.transaction() as connection:
            return rows(connection, table.BACKLOG, Tally, {"now": now})

    def summary(self, now: datetime) -> Summary:
        """How many cases there are, and how long they take."""
        with self._ledger.transaction() as connection:
            tallies = rows(connection, table.TALLY, Tally, {"now": now})
            median = connection.execute(sql.text(table.MEDIAN_SECONDS)).scalar()
        return Summary(tallies, sum(tally.overdue for tally in tallies), median)

    def queue(self, wanted: Wanted, now: datetime, limit: int) -> list[Case]:
        """Up to `limit` of the wanted cases: highest tier first, then the earliest deadline."""
        with self._ledger.transaction() as connection:
            return table.queue(connection, wanted, now, limit)

    def find(self, case_id: str) -> CaseFile:
        """A case with its decisions and its history; raises UnknownCase."""
        values = {"id": case_id, "limit": DETAIL_ROWS}
        with self._ledger.transaction() as connection:
            case = _one(connection, table.BY_ID, case_id)
            decisions = rows(connection, table.DECISIONS_OF, Filed, values)
            history = rows(connection, table.HISTORY_OF, CaseEvent, values)
        return CaseFile(case, decisions, history[::-1])

    def assign(self, case_id: str, act: Act, assignee: str | None) -> Case:
        """Give a case to somebody, or with None back to the queue.

        This and the other acts raise UnknownCase, and NotAllowed in the wrong state or version.
        """
        with self._acting(case_id, act) as (connection, case):
            after = core.assigned(case, assignee, act.now)
            if after != case:
                _write(connection, after, act, "assigned", {"assignee": assignee})
            return after

    def note(self, case_id: str, act: Act, text: str) -> Case:
        """Write something down."""
        with self._acting(case_id, act) as (connection, case):
            after = core.noted(case, act.now)
            _write(connection, after, act, "noted", {"text": text})
            return after

    def escalate(self, case_id: str, act: Act, reason: str) -> Case:
        """Raise a case by one tier."""
        with self._acting(case_id, act) as (connection, case):
            after = core.escalated(case, self._policy, act.now)
            _write(connection, after, act, "escalated", {"tier": after.tier, "reason": reason})
            return after

    def resolve(self, case_id: str, act: Act, ruling: Ruling, highest_tier: int) -> Settled:
        """Settle a case and label its transactions, in one transaction.

        The ruling by which the case was resolved, said again, changes nothing and gives the same labels,
        whatever the version and the time at which it became known. Raises TierTooHigh above `highest_tier`,
        and core.UnknownTransactions for exceptions that the case does not hold.
        """
        with self._ledger.transaction() as connection:
            case = _one(connection, table.BY_ID_LOCKED, case_id)
            if case.tier > highest_tier:
                raise TierTooHigh(f"the case is at tier {case.tier}")
            decisions = rows(connection, table.DECISIONS_OF, Filed, {"id": case_id, "limit": None})
            ids = [decision.transaction_id for decision in decisions]
            verdicts = core.verdicts(ids, ruling.resolution, ruling.exceptions)
            resolved_ts = case.resolved_ts or act.now
            repeated = case.resolved_ts is not None and all(
                decision.fraud is verdicts[decision.transaction_id] for decision in decisions
            )
            if not repeated:
                case = _settle(connection, case, act, verdicts, ruling)
            known_ts = ruling.observed_at or resolved_ts
            said = [_statement(case, decision, verdicts, resolved_ts, known_ts) for decision in decisions]
            labels, judged = self._ledger.add_labels(said, connection)
        return Settled(case, labels, judged, repeated)

    def reopen(self, case_id: str, act: Act, reason: str) -> Case:
        """Take a resolved case up again, unless its card has another one that is not resolved."""
        with self._ledger.transaction() as connection:
            table.lock_filing(connection)
            case = _one(connection, table.BY_ID_LOCKED, case_id)
            _check_version(case, act)
            after = core.reopened(case, self._policy, act.now)
            for other in rows(connection, table.UNRESOLVED_OF_CARDS, Case, {"customers": [case.customer_id]}):
                raise NotAllowed(f"the card has another case that is not resolved: {other.case_id}")
            _write(connection, after, act, "reopened", {"reason": reason})
            return after

    def _file(self, connection: sql.Connection, ids: Sequence[str], now: datetime) -> list[Case]:
        table.lock_filing(connection)
        by_card: dict[str, list[Suspect]] = {}
        for suspect in rows(connection, table.SUSPECTS, Suspect, {"ids": ids}):
            if core.needs_case(suspect.outcome, suspect.let_through):
                by_card.setdefault(suspect.customer_id, []).append(suspect)
        if not by_card:
            return []
        found = rows(connection, table.UNRESOLVED_OF_CARDS, Case, {"customers": list(by_card)})
        open_of = {case.customer_id: case for case in found}
        filed, told = [], []
        for card, suspects in by_card.items():
            if card in open_of:
                case, what = core.joined(open_of[card], suspects, self._policy, now), "joined"
            else:
                case, what = core.opened(self._new_id(), card, suspects, self._policy, now), "opened"
            filed.append(case)
            told.append((case, what, {"decisions": len(suspects), "tier": case.tier}))
        table.save(connection, filed)
        table.join(connection, [(s, case) for case in filed for s in by_card[case.customer_id]], now)
        table.append(connection, SERVICE, now, told)
        return [case for case, what, _ in told if what == "opened"]

    @contextmanager
    def _acting(self, case_id: str, act: Act) -> Iterator[tuple[sql.Connection, Case]]:
        with self._ledger.transaction() as connection:
            case = _one(connection, table.BY_ID_LOCKED, case_id)
            _check_version(case, act)
            yield connection, case


def _one(connection: sql.Connection, statement: str, case_id: str) -> Case:
    found = rows(connection, statement, Case, {"id": case_id})
    if not found:
        raise UnknownCase(case_id)
    return found[0]


def _check_version(case: Case, act: Act) -> None:
    if act.version not in (None, case.version):
        raise NotAllowed(f"the case is at version {case.version}, not {act.version}: read it again")


def _write(connection: sql.Connection, case: Case, act: Act, what: str, details: Mapping[str, Any]) -> None:
    table.save(connection, [case])
    table.append(connection, act.who, act.now, [(case, what, details)])


def _settle(
    connection: sql.Connection, case: Case, act: Act, verdicts: Mapping[str, bool], ruling: Ruling
) -> Case:
    after = core.resolved(case, core.resolution_of(verdicts), act.now)
    _check_version(case, act)
    table.judge(connection, verdicts)
    details: dict[str, Any] = {"resolution": after.resolution}
    if ruling.observed_at is not None:
        details["observed_at"] = ruling.observed_at
    _write(connection, after, act, "resolved", details)
    if ruling.note is not None:
        table.append(connection, act.who, act.now, [(after, "noted", {"text": ruling.note})])
    return after


def _statement(
    case: Case, decision: Filed, verdicts: Mapping[str, bool], resolved_ts: datetime, known_ts: datetime
) -> Statement:
    fraud = verdicts[decision.transaction_id]
    label_id = core.label_id(case.case_id, decision.transaction_id, fraud, resolved_ts)
    return Statement(decision, label_id, float(fraud), LabelSource.ANALYST, known_ts)


def _alert(case: Case) -> Outgoing:
    event = core.escalation_alert(case)
    return message(event, case.customer_id.encode(), event.alert_id, event.event_ts)
