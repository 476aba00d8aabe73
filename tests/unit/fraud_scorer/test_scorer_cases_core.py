"""Cases: tier and deadline from what a case holds, acts by its status, verdicts and the labels they give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_scorer.core import cases
from fraud_scorer.core.cases import (
    Case,
    EscalationPolicy,
    NotAllowed,
    Resolution,
    Status,
    Suspect,
    UnknownTransactions,
    escalation_policy,
)
from plinth_contracts import codec
from plinth_contracts.events import AlertRaised

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = EscalationPolicy()
HOUR = timedelta(hours=1)


def suspect(n: int, amount: int = 1_000, outcome: str = "monitor", score: float = 0.5) -> Suspect:
    return Suspect(
        transaction_id=f"tx-{n}",
        customer_id="c-1",
        amount_minor=amount,
        score=score,
        outcome=outcome,
        let_through=False,
    )


def a_case(*suspects: Suspect, now: datetime = NOW) -> Case:
    return cases.opened("case-1", "c-1", suspects or [suspect(1)], POLICY, now)


def resolved(case: Case) -> Case:
    return cases.resolved(case, Resolution.FRAUD, NOW + HOUR)


@pytest.mark.parametrize(
    ("outcome", "let_through", "needed"),
    [
        ("approve", False, False),
        ("approve", True, True),
        ("monitor", False, True),
        ("step_up", False, True),
        ("block", False, True),
    ],
)
def test_what_is_not_approved_or_only_by_chance_needs_a_case(
    outcome: str, let_through: bool, needed: bool
) -> None:
    assert cases.needs_case(outcome, let_through) is needed


@pytest.mark.parametrize(
    ("blocks", "amount", "tier"),
    [
        (0, 49_999, 1),
        (0, 50_000, 2),
        (1, 0, 2),
        (2, 499_999, 2),
        (0, 500_000, 3),
        (3, 0, 3),
    ],
)
def test_the_tier_of_blocks_and_total_amount(blocks: int, amount: int, tier: int) -> None:
    assert POLICY.tier(blocks, amount) == tier


@pytest.mark.parametrize(("blocks", "hours"), [(0, 24), (1, 4), (3, 1)])
def test_a_new_case_has_the_time_of_its_tier(blocks: int, hours: int) -> None:
    outcomes = ["block"] * blocks or ["step_up"]
    case = a_case(*(suspect(n, outcome=outcome) for n, outcome in enumerate(outcomes)))
    assert case.due_ts == NOW + hours * HOUR
    assert (case.status, case.version, case.decisions) == (Status.OPEN, 1, len(outcomes))


def test_a_case_sums_what_joins_it_and_keeps_the_highest_score() -> None:
    case = a_case(suspect(1, 100, score=0.9), suspect(2, 200, score=0.4))
    grown = cases.joined(case, [suspect(3, 50, "block", 0.3)], POLICY, NOW + HOUR)
    assert (grown.amount_minor, grown.decisions, grown.blocks, grown.max_score) == (350, 3, 1, 0.9)
    assert (grown.version, grown.updated_ts, grown.opened_ts) == (2, NOW + HOUR, NOW)


@given(
    st.lists(
        st.tuples(st.integers(0, 300_000), st.sampled_from(["monitor", "step_up", "block"]), st.floats(0, 1)),
        min_size=1,
        max_size=8,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 7),
)
def test_a_case_does_not_depend_on_order_or_batches(
    made: list[tuple[int, str, float]], shuffle: st.DataObject, cut: int
) -> None:
    suspects = [suspect(n, amount, outcome, score) for n, (amount, outcome, score) in enumerate(made)]
    at_once = a_case(*suspects)
    shuffle.shuffle(suspects)  # type: ignore[attr-defined]
    case = a_case(*suspects[:cut])
    for one in suspects[cut:]:
        case = cases.joined(case, [one], POLICY, NOW)
    assert msgspec.structs.replace(case, version=1, alerted_tier=at_once.alerted_tier) == at_once


def test_a_higher_tier_brings_the_deadline_forward_and_never_puts_it_off() -> None:
    case = a_case()
    soon = cases.joined(case, [suspect(2, outcome="block")], POLICY, NOW + HOUR)
    late = cases.joined(case, [suspect(2, outcome="block")], POLICY, NOW + 22 * HOUR)
    assert (soon.tier, soon.due_ts) == (2, NOW + 5 * HOUR)
    assert (late.tier, late.due_ts) == (2, NOW + 24 * HOUR)
    assert cases.joined(soon, [suspect(3)], POLICY, NOW + 2 * HOUR).due_ts == soon.due_ts


def test_what_was_escalated_by_hand_does_not_fall_back_when_a_decision_joins() -> None:
    case = cases.escalated(cases.escalated(a_case(), POLICY, NOW), POLICY, NOW)
    assert cases.joined(case, [suspect(2)], POLICY, NOW).tier == 3


def test_an_overdue_case_rises_one_tier_with_a_new_deadline_and_at_the_top_stays_overdue() -> None:
    case = a_case()
    assert cases.after_deadline(case, POLICY, NOW + 24 * HOUR) is case
    much_later = NOW + 100 * HOUR
    second = cases.after_deadline(case, POLICY, much_later)
    assert (second.tier, second.due_ts) == (2, much_later + 4 * HOUR)
    assert cases.after_deadline(second, POLICY, much_later) is second
    third = cases.after_deadline(second, POLICY, much_later + 5 * HOUR)
    assert (third.tier, third.due_ts) == (3, much_later + 6 * HOUR)
    last = much_later + 7 * HOUR
    assert cases.after_deadline(third, POLICY, last) is third
    assert cases.overdue(third, last)
    assert not cases.overdue(cases.resolved(third, Resolution.FRAUD, last), last + HOUR)


def test_an_open_case_is_under_investigation_once_somebody_has_it() -> None:
    case = cases.assigned(a_case(), "ana", NOW + HOUR)
    assert (case.status, case.assignee, case.version) == (Status.INVESTIGATING, "ana", 2)
    assert cases.assigned(case, "ana", NOW + 2 * HOUR) is case
    back = cases.assigned(case, None, NOW + 2 * HOUR)
    assert (back.status, back.assignee, back.version) == (Status.INVESTIGATING, None, 3)
    assert cases.assigned(a_case(), None, NOW).status is Status.OPEN


def test_a_resolved_case_must_be_reopened_before_anything_but_a_note() -> None:
    case = resolved(a_case())
    with pytest.raises(NotAllowed, match="reopen it first"):
        cases.assigned(case, "ana", NOW)
    with pytest.raises(NotAllowed, match="reopen it first"):
        cases.escalated(case, POLICY, NOW)
    with pytest.raises(NotAllowed, match="reopen it first"):
        cases.resolved(case, Resolution.GENUINE, NOW)
    assert cases.noted(case, NOW + 2 * HOUR).status is Status.RESOLVED


def test_a_reopened_case_is_investigated_anew_with_the_time_of_its_tier() -> None:
    case = cases.reopened(resolved(a_case(suspect(1, outcome="block"))), POLICY, NOW + 50 * HOUR)
    assert (case.status, case.resolution, case.resolved_ts) == (Status.INVESTIGATING, None, None)
    assert case.due_ts == NOW + 54 * HOUR
    with pytest.raises(NotAllowed, match="investigating, not resolved"):
        cases.reopened(case, POLICY, NOW)


def test_the_highest_tier_cannot_be_escalated() -> None:
    case = cases.escalated(cases.escalated(a_case(), POLICY, NOW), POLICY, NOW)
    with pytest.raises(NotAllowed, match="tier 3"):
        cases.escalated(case, POLICY, NOW)


@pytest.mark.parametrize(
    ("resolution", "exceptions", "found"),
    [
        (Resolution.FRAUD, {}, Resolution.FRAUD),
        (Resolution.GENUINE, {}, Resolution.GENUINE),
        (Resolution.FRAUD, {"a": False}, Resolution.MIXED),
        (Resolution.GENUINE, {"b": True}, Resolution.MIXED),
        (Resolution.GENUINE, {"a": True, "b": True}, Resolution.FRAUD),
        (Resolution.FRAUD, {"a": False, "b": False}, Resolution.GENUINE),
    ],
)
def test_exceptions_make_a_resolution_mixed(
    resolution: Resolution, exceptions: dict[str, bool], found: Resolution
) -> None:
    assert cases.resolution_of(cases.verdicts(["a", "b"], resolution, exceptions)) is found


def test_an_exception_that_the_case_does_not_hold_is_named() -> None:
    with pytest.raises(UnknownTransactions) as caught:
        cases.verdicts(["a"], Resolution.FRAUD, {"z": True, "a": True, "y": False})
    assert caught.value.transaction_ids == ("y", "z")


def test_a_label_has_one_name_for_one_statement_in_every_time_zone() -> None:
    here = NOW.astimezone(timezone(timedelta(hours=5)))
    names = {cases.label_id("case-1", "tx-1", True, ts) for ts in (NOW, here)}
    assert len(names) == 1
    others = {
        cases.label_id("case-2", "tx-1", True, NOW),
        cases.label_id("case-1", "tx-2", True, NOW),
        cases.label_id("case-1", "tx-1", False, NOW),
        cases.label_id("case-1", "tx-1", True, NOW + HOUR),
    }
    assert len(others | names) == 5


@pytest.mark.parametrize(("blocks", "due"), [(0, False), (1, False), (3, True)])
def test_opening_calls_for_an_alert_at_the_highest_tier_only(blocks: int, due: bool) -> None:
    case = a_case(suspect(0), *(suspect(n, outcome="block") for n in range(1, blocks + 1)))
    assert (case.alerted_tier < case.tier) is due


def test_a_tier_reached_by_a_later_decision_calls_for_an_alert() -> None:
    case = cases.joined(a_case(), [suspect(2, outcome="block")], POLICY, NOW)
    assert (case.tier, case.alerted_tier) == (2, 1)


@pytest.mark.parametrize(("tier", "severity"), [(2, "warning"), (3, "critical")])
def test_an_escalation_is_an_alert_that_its_schema_takes(tier: int, severity: str) -> None:
    case = msgspec.structs.replace(a_case(), case_id="019c8a5e-7c41-7a31-8242-ac1200020001", tier=tier)
    alert = codec.decoder(AlertRaised)(codec.encode(cases.escalation_alert(case)))
    assert (alert.kind, alert.severity, alert.entity_id) == ("fraud.case_escalated", severity, "c-1")
    assert alert.alert_id == f"case-019c8a5e-7c41-7a31-8242-ac1200020001-tier-{tier}"
    assert alert.summary.endswith("1 decisions, 0 of them blocks, due 2026-03-02 12:00:00Z")


def test_a_policy_is_read_from_json_with_defaults_for_the_rest() -> None:
    read = escalation_policy('{"tier3_blocks": 5, "due_hours": [48, 8, 0.5]}')
    assert read == EscalationPolicy(tier3_blocks=5, due_hours=(48.0, 8.0, 0.5))
    assert read.due(3, NOW) == NOW + HOUR / 2
    assert escalation_policy("{}") == POLICY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("often", "malformed"),
        ("[3]", "object"),
        ('{"tier4_blocks": 1}', "tier4_blocks"),
        ('{"tier2_blocks": "two"}', "tier2_blocks"),
        ('{"tier2_blocks": 4}', "blocks must"),
        ('{"tier3_amount_minor": 10}', "amounts must"),
        ('{"tier2_amount_minor": 0}', "amounts must"),
        ('{"due_hours": [1, 2, 3]}', "due_hours must"),
        ('{"due_hours": [2, 1, 0]}', "due_hours must"),
        ('{"due_hours": [1e300, 1, 1]}', "due_hours must"),
        ('{"due_hours": [2, 1]}', "due_hours"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        escalation_policy(text)
