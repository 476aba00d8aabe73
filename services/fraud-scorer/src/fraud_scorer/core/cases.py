"""Investigation cases: which decisions need one, how urgent it is, and what may be done with it.

A case belongs to a card. It gathers the decisions that a person should look at, until somebody says what
they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fraud_scorer.core import labels
from plinth_contracts.events import AlertRaised, Outcome

TIERS = (1, 2, 3)
"""From the least urgent to the most urgent."""


class Status(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    INVESTIGATING = "investigating"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """What the transactions of a case turned out to be."""

    FRAUD = "fraud"
    GENUINE = "genuine"
    MIXED = "mixed"


class NotAllowed(Exception):
    """A case in its present state does not take this act; the text says why."""


class UnknownTransactions(Exception):
    """Transactions were judged that the case does not hold."""

    def __init__(self, transaction_ids: Sequence[str]) -> None:
        super().__init__(f"not in the case: {', '.join(transaction_ids)}")
        self.transaction_ids = tuple(transaction_ids)


class EscalationPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a case belongs to tier 2 or 3, and how long each tier may take.

    A case reaches a tier with so many blocked transactions or with that total amount (minor units),
    whichever comes first. `due_hours` are hours of known time, one for each tier.
    """

    tier2_blocks: int = 1
    tier2_amount_minor: int = 50_000
    tier3_blocks: int = 3
    tier3_amount_minor: int = 500_000
    due_hours: tuple[float, float, float] = (24.0, 4.0, 1.0)

    def __post_init__(self) -> None:
        if not 1 <= self.tier2_blocks <= self.tier3_blocks:
            raise ValueError("blocks must be 1 or more and must not fall from tier 2 to tier 3")
        if not 1 <= self.tier2_amount_minor <= self.tier3_amount_minor:
            raise ValueError("amounts must be 1 or more and must not fall from tier 2 to tier 3")
        if not 8_760 >= self.due_hours[0] >= self.due_hours[1] >= self.due_hours[2] > 0:
            raise ValueError("due_hours must be above 0, at most a year, and must not rise with the tier")

    def tier(self, blocks: int, amount_minor: int) -> int:
        """The tier for a number of blocked transactions and a total amount."""
        if blocks >= self.tier3_blocks or amount_minor >= self.tier3_amount_minor:
            return 3
        return 2 if blocks >= self.tier2_blocks or amount_minor >= self.tier2_amount_minor else 1

    def due(self, tier: int, now: datetime) -> datetime:
        """Until when a case that enters this tier now should be resolved."""
        return now + timedelta(hours=self.due_hours[tier - 1])


def escalation_policy(text: str) -> EscalationPolicy:
    """The policy that JSON describes, defaults where it says nothing; ValueError names what is wrong."""
    try:
        return msgspec.json.decode(text, type=EscalationPolicy)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


class Suspect(Struct, frozen=True, kw_only=True):
    """What a case must know of a decision that it takes in."""

    transaction_id: str
    customer_id: str
    amount_minor: int
    score: float
    outcome: str
    let_through: bool


class Case(Struct, frozen=True, kw_only=True):
    """A case as it stands. `version` counts its changes; amounts are minor units.

    `resolved_ts` and `resolution` are None until it is resolved, and again once it is reopened.
    `alerted_tier` is the highest tier that needs no alert any more.
    """

    case_id: str
    customer_id: str
    status: Status = Status.OPEN
    tier: int = TIERS[0]
    alerted_tier: int = TIERS[0]
    assignee: str | None = None
    opened_ts: datetime
    updated_ts: datetime
    due_ts: datetime
    resolved_ts: datetime | None = None
    resolution: Resolution | None = None
    max_score: float = 0.0
    amount_minor: int = 0
    decisions: int = 0
    blocks: int = 0
    version: int = 0


def needs_case(outcome: str, let_through: bool) -> bool:
    """Whether a person should look at a decision: it is no approval, or an approval by chance alone."""
    return outcome != Outcome.APPROVE or let_through


def opened(
    case_id: str, customer_id: str, suspects: Sequence[Suspect], policy: EscalationPolicy, now: datetime
) -> Case:
    """A new case of a card with its first decisions. Opening calls for an alert at the highest tier only."""
    empty = Case(
        case_id=case_id,
        customer_id=customer_id,
        opened_ts=now,
        updated_ts=now,
        due_ts=policy.due(TIERS[0], now),
    )
    case = joined(empty, suspects, policy, now)
    return replace(case, alerted_tier=min(case.tier, TIERS[-2]))


def joined(case: Case, suspects: Sequence[Suspect], policy: EscalationPolicy, now: datetime) -> Case:
    """The case with more decisions, in a higher tier where they ask for it. The order does not matter."""
    blocks = case.blocks + sum(suspect.outcome == Outcome.BLOCK for suspect in suspects)
    amount_minor = case.amount_minor + sum(suspect.amount_minor for suspect in suspects)
    grown = _changed(
        case,
        now,
        max_score=max([case.max_score, *(suspect.score for suspect in suspects)]),
        amount_minor=amount_minor,
        decisions=case.decisions + len(suspects),
        blocks=blocks,
    )
    return _at_least(grown, policy.tier(blocks, amount_minor), policy, now)


def assigned(case: Case, assignee: str | None, now: datetime) -> Case:
    """The case in somebody's hands, who thereby investigates it; None gives it back to the queue."""
    _must_not_be_resolved(case)
    if case.assignee == assignee:
        return case
    status = case.status if assignee is None else Status.INVESTIGATING
    return _changed(case, now, assignee=assignee, status=status)


def noted(case: Case, now: datetime) -> Case:
    """The case after a note; a resolved one takes notes too."""
    return _changed(case, now)


def escalated(case: Case, policy: EscalationPolicy, now: datetime) -> Case:
    """The case one tier higher. A deadline that has not passed is never put off by it."""
    _must_not_be_resolved(case)
    if case.tier == TIERS[-1]:
        raise NotAllowed(f"the case is at tier {case.tier}, the highest")
    return _at_least(_changed(case, now), case.tier + 1, policy, now)


def overdue(case: Case, now: datetime) -> bool:
    """Whether the case should have been resolved by now."""
    return case.status is not Status.RESOLVED and case.due_ts < now


def after_deadline(case: Case, policy: EscalationPolicy, now: datetime) -> Case:
    """The case one tier higher if it is overdue, else as it is. At the highest tier it stays overdue."""
    if not overdue(case, now) or case.tier == TIERS[-1]:
        return case
    return escalated(case, policy, now)


def resolved(case: Case, resolution: Resolution, now: datetime) -> Case:
    """The case as settled."""
    _must_not_be_resolved(case)
    return _changed(case, now, status=Status.RESOLVED, resolution=resolution, resolved_ts=now)


def reopened(case: Case, policy: EscalationPolicy, now: datetime) -> Case:
    """A resolved case under investigation again, with a new deadline."""
    if case.status is not Status.RESOLVED:
        raise NotAllowed(f"the case is {case.status.value}, not resolved")
    return _changed(
        case,
        now,
        status=Status.INVESTIGATING,
        resolution=None,
        resolved_ts=None,
        due_ts=policy.due(case.tier, now),
    )


def verdicts(
    transaction_ids: Sequence[str], resolution: Resolution, exceptions: Mapping[str, bool]
) -> dict[str, bool]:
    """By transaction of a case whether it was fraud: what `exceptions` says, else what `resolution` says.

    Raises UnknownTransactions for exceptions that the case does not hold.
    """
    unknown = exceptions.keys() - set(transaction_ids)
    if unknown:
        raise UnknownTransactions(sorted(unknown))
    rule = resolution is Resolution.FRAUD
    return {transaction_id: exceptions.get(transaction_id, rule) for transaction_id in transaction_ids}


def resolution_of(judged: Mapping[str, bool]) -> Resolution:
    """What verdicts of at least one transaction make of the case."""
    if all(judged.values()):
        return Resolution.FRAUD
    return Resolution.MIXED if any(judged.values()) else Resolution.GENUINE


def label_id(case_id: str, transaction_id: str, fraud: bool, resolved_ts: datetime) -> str:
    """Names the label that a resolution gives a transaction: the same whenever it is sent again."""
    return labels.label_id(case_id, transaction_id, fraud, resolved_ts.astimezone(UTC).isoformat())


def escalation_alert(case: Case) -> AlertRaised:
    """The alert that a case has reached its tier, which it does once: the same name whenever it is sent."""
    return AlertRaised(
        alert_id=f"case-{case.case_id}-tier-{case.tier}",
        kind="fraud.case_escalated",
        severity="critical" if case.tier == TIERS[-1] else "warning",
        entity_id=case.customer_id,
        summary=f"case {case.case_id} of card {case.customer_id} is at tier {case.tier}: "
        f"{case.decisions} decisions, {case.blocks} of them blocks, due {case.due_ts.astimezone(UTC):%F %T}Z",
        event_ts=case.updated_ts,
    )


def _must_not_be_resolved(case: Case) -> None:
    if case.status is Status.RESOLVED:
        raise NotAllowed("the case is resolved: reopen it first")


def _changed(case: Case, now: datetime, **changes: Any) -> Case:
    return replace(case, updated_ts=now, version=case.version + 1, **changes)


def _at_least(case: Case, tier: int, policy: EscalationPolicy, now: datetime) -> Case:
    if tier <= case.tier:
        return case
    due = policy.due(tier, now)
    return replace(case, tier=tier, due_ts=due if overdue(case, now) else min(case.due_ts, due))
