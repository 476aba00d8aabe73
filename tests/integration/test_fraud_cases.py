"""Cases in a real Postgres: filed once whoever files them, changed by one person at a time, told of once."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import sqlalchemy as sql
from fraud_cases import HOUR, NOW, chargeback, decision, ids
from msgspec.structs import replace

from fraud_scorer.case_rows import Place, Wanted
from fraud_scorer.cases import Act, Cases, Ruling, Settled, TierTooHigh, UnknownCase
from fraud_scorer.core.cases import (
    Case,
    EscalationPolicy,
    NotAllowed,
    Resolution,
    Status,
    UnknownTransactions,
)
from fraud_scorer.ledger import Judged, Ledger
from plinth_contracts.events import DecisionMade, Outcome
from plinth_kit.kafka.message import Outgoing

ACT = Act("ana", NOW + HOUR)
FRAUD, GENUINE = Ruling(Resolution.FRAUD), Ruling(Resolution.GENUINE)
ALL = Wanted()


def cases_of(ledger: Ledger) -> Cases:
    numbers = itertools.count(1)
    return Cases(ledger, EscalationPolicy(), lambda: f"case-{id(ledger)}-{next(numbers)}")


@pytest.fixture
def cases(ledger: Ledger) -> Cases:
    return cases_of(ledger)


@pytest.fixture
def other(ledger: Ledger, postgres_url: str) -> Iterator[Cases]:
    """The same cases as another process sees them."""
    another = Ledger(postgres_url)
    yield cases_of(another)
    another.close()


def members(cases: Cases, case: Case) -> set[str]:
    return {filed.transaction_id for filed in cases.find(case.case_id).decisions}


def opened(cases: Cases, *decisions: DecisionMade) -> Case:
    (case,) = cases.record(decisions, NOW).opened
    return case


def history(cases: Cases, case: Case) -> list[tuple[str, str]]:
    return [(event.who, event.what) for event in cases.find(case.case_id).history]


def test_what_is_not_approved_and_what_chance_let_through_open_a_case_for_each_card(cases: Cases) -> None:
    made = cases.record(
        [
            decision(1, Outcome.MONITOR, "c-1"),
            decision(2, Outcome.APPROVE, "c-1"),
            decision(3, Outcome.BLOCK, "c-2"),
            decision(4, Outcome.APPROVE, "c-3", let_through=True, propensity=0.1),
            decision(5, Outcome.STEP_UP, "c-1"),
            decision(6, Outcome.APPROVE, "c-4"),
        ],
        NOW,
    ).opened
    found = {case.customer_id: (members(cases, case), case.tier, case.decisions) for case in made}
    assert found == {"c-1": ({"tx-1", "tx-5"}, 1, 2), "c-2": ({"tx-3"}, 2, 1), "c-3": ({"tx-4"}, 1, 1)}


def test_recording_again_changes_nothing_whatever_is_new_beside_it(cases: Cases) -> None:
    case = opened(cases, decision(1), decision(1), decision(2))
    assert cases.record([decision(1), decision(2)], NOW + HOUR).opened == []
    assert cases.find(case.case_id).case == case
    assert cases.record([decision(2), decision(3, score=0.9)], NOW + HOUR).opened == []
    grown = cases.find(case.case_id).case
    assert (grown.decisions, grown.amount_minor, grown.max_score, grown.version) == (3, 3_000, 0.9, 2)
    assert history(cases, case) == [("fraud-scorer", "opened"), ("fraud-scorer", "joined")]


def test_the_decision_that_was_recorded_first_is_the_one_that_counts(cases: Cases) -> None:
    cases.record([decision(1, Outcome.APPROVE)], NOW)
    assert cases.record([decision(1, Outcome.BLOCK)], NOW).opened == []


def test_after_its_resolution_a_card_gets_a_new_case(cases: Cases) -> None:
    first = opened(cases, decision(1))
    cases.resolve(first.case_id, ACT, FRAUD, 3)
    second = opened(cases, decision(1), decision(2))
    assert second.case_id != first.case_id
    assert (members(cases, first), members(cases, second)) == ({"tx-1"}, {"tx-2"})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_recorders_file_every_decision_once(cases: Cases, other: Cases, seed: int) -> None:
    """A third of the decisions comes to both, as after a rebalance; both have decisions of the same cards."""
    rng = np.random.default_rng(seed)
    made = [
        decision(
            n,
            Outcome(rng.choice(list(Outcome))),
            f"c-{rng.integers(20)}",
            amount_minor=int(rng.integers(100, 90_000)),
            score=float(rng.random()),
        )
        for n in range(300)
    ]
    barrier = Barrier(2)

    def file(cases: Cases, consumed: Sequence[DecisionMade]) -> list[Case]:
        barrier.wait()
        batches = [consumed[start : start + 30] for start in range(0, len(consumed), 30)]
        return [case for batch in batches for case in cases.record(batch, NOW).opened]

    with ThreadPoolExecutor(2) as pool:
        new = [case for one in pool.map(file, (cases, other), (made[:200], made[100:])) for case in one]

    suspects = defaultdict(list)
    for one in made:
        if one.outcome is not Outcome.APPROVE:
            suspects[one.customer_id].append(one)
    found = {case.customer_id: case for case in cases.queue(ALL, NOW, 100)}
    assert sorted(case.customer_id for case in new) == sorted(found) == sorted(suspects)
    for card, case in found.items():
        own = suspects[card]
        assert members(cases, case) == {one.transaction_id for one in own}
        assert case.decisions == len(own)
        assert case.amount_minor == sum(one.amount_minor for one in own)
        assert case.blocks == sum(one.outcome is Outcome.BLOCK for one in own)
        assert case.max_score == max(one.score for one in own)


def test_an_act_on_a_version_that_is_past_is_refused(cases: Cases) -> None:
    case = opened(cases, decision(1))
    cases.note(case.case_id, ACT, "called the customer")
    stale = Act("ben", NOW, version=case.version)
    acts: list[Callable[[], object]] = [
        lambda: cases.assign(case.case_id, stale, "ben"),
        lambda: cases.note(case.case_id, stale, "me too"),
        lambda: cases.escalate(case.case_id, stale, "looks bad"),
        lambda: cases.resolve(case.case_id, stale, FRAUD, 3),
    ]
    for act in acts:
        with pytest.raises(NotAllowed, match="at version 2, not 1"):
            act()
    assert cases.assign(case.case_id, Act("ben", NOW, version=2), "ben").version == 3
    assert history(cases, case)[1:] == [("ana", "noted"), ("ben", "assigned")]


def test_of_two_who_write_on_the_same_version_one_is_refused(cases: Cases, other: Cases) -> None:
    case = opened(cases, decision(1))
    said = at_once(
        lambda who, mine: mine.note(case.case_id, Act(who, NOW, case.version), who).version, cases, other
    )
    assert sorted(said, key=str) == [2, NotAllowed]


def test_an_unknown_case(cases: Cases) -> None:
    for act in (lambda: cases.find("none"), lambda: cases.note("none", ACT, "?")):
        with pytest.raises(UnknownCase):
            act()


def test_an_overdue_case_rises_once_and_its_history_says_so(cases: Cases) -> None:
    case = opened(cases, decision(1, Outcome.MONITOR))
    assert cases.escalate_overdue(NOW + 24 * HOUR) == []
    (raised,) = cases.escalate_overdue(NOW + 25 * HOUR)
    assert (raised.case_id, raised.tier, raised.due_ts) == (case.case_id, 2, NOW + 29 * HOUR)
    assert cases.escalate_overdue(NOW + 25 * HOUR) == []
    assert cases.find(case.case_id).case == raised
    last = cases.find(case.case_id).history[-1]
    assert (last.who, last.what, last.details) == (
        "fraud-scorer",
        "escalated",
        {"tier": 2, "reason": "overdue"},
    )


def test_an_overdue_case_that_somebody_is_changing_is_left_for_the_next_look(
    cases: Cases, ledger: Ledger
) -> None:
    case = opened(cases, decision(1, Outcome.MONITOR))
    with ledger.transaction() as connection:
        connection.execute(sql.text("select 1 from cases for update"))
        assert cases.escalate_overdue(NOW + 25 * HOUR) == []
    assert [one.case_id for one in cases.escalate_overdue(NOW + 25 * HOUR)] == [case.case_id]


def test_every_rise_of_a_tier_is_told_once_by_whatever_way_it_came(cases: Cases, other: Cases) -> None:
    by_hand = opened(cases, decision(1, Outcome.MONITOR, "c-1"))
    by_time = opened(cases, decision(2, Outcome.MONITOR, "c-2"))
    by_decision = opened(cases, decision(3, Outcome.MONITOR, "c-3"))
    cases.record([decision(9, Outcome.BLOCK, "c-4")], NOW)  # its block has an alert of its own
    sent: list[Outgoing] = []
    cases.tell(sent.extend)
    assert sent == []

    cases.escalate(by_hand.case_id, ACT, "knows the victim")
    cases.record([decision(4, Outcome.BLOCK, "c-3", amount_minor=500_000)], NOW)
    assert {case.case_id for case in cases.tell(sent.extend)} == {by_hand.case_id, by_decision.case_id}
    cases.assign(by_hand.case_id, ACT, "ana")
    cases.resolve(by_decision.case_id, ACT, FRAUD, 3)
    cases.escalate_overdue(NOW + 30 * HOUR)
    other.tell(sent.extend)
    cases.tell(sent.extend)
    assert sorted(ids(sent)) == sorted(
        [
            f"case-{by_hand.case_id}-tier-2",
            f"case-{by_decision.case_id}-tier-3",
            f"case-{by_hand.case_id}-tier-3",
            f"case-{by_time.case_id}-tier-2",
            f"case-{cases.queue(Wanted(customer_id='c-4'), NOW, 1)[0].case_id}-tier-3",
        ]
    )


def test_a_crash_after_an_alert_went_out_sends_the_same_one_again(cases: Cases) -> None:
    case = opened(cases, decision(1))
    cases.escalate(case.case_id, ACT, "looks bad")
    sent: list[Outgoing] = []

    def crash(events: Sequence[Outgoing]) -> None:
        sent.extend(events)
        raise SystemExit("killed")

    with pytest.raises(SystemExit):
        cases.tell(crash)
    cases.note(case.case_id, ACT, "the world moves on")
    cases.tell(sent.extend)
    cases.tell(sent.extend)
    assert ids(sent) == [f"case-{case.case_id}-tier-3"] * 2


def test_while_one_process_tells_another_does_not_and_cases_can_be_changed(
    cases: Cases, other: Cases
) -> None:
    case = opened(cases, decision(1))
    cases.escalate(case.case_id, ACT, "looks bad")

    def publish(_: Sequence[Outgoing]) -> None:
        assert other.tell(lambda _: pytest.fail("told twice")) == []
        assert other.assign(case.case_id, ACT, "ben").assignee == "ben"

    assert [one.case_id for one in cases.tell(publish)] == [case.case_id]
    assert cases.find(case.case_id).case.assignee == "ben"


def test_a_resolution_labels_every_decision_and_knows_what_it_revises(cases: Cases, ledger: Ledger) -> None:
    case = opened(cases, decision(1), decision(2, let_through=True, propensity=0.2, outcome=Outcome.APPROVE))
    ledger.record_labels([chargeback(1, fraud=False)])
    settled = cases.resolve(case.case_id, ACT, FRAUD, 3)
    assert {(label.request_id, label.label, label.previous_label) for label in settled.labels} == {
        ("tx-1", 1.0, 0.0),
        ("tx-2", 1.0, None),
    }
    assert {(label.source, label.known_ts) for label in settled.labels} == {("analyst", ACT.now)}
    assert settled.judged == [Judged(1.0, "approve", 1_000, True, 0.2)]
    assert (settled.case.status, settled.case.resolution, settled.case.resolved_ts) == (
        Status.RESOLVED,
        Resolution.FRAUD,
        ACT.now,
    )
    filed = {one.transaction_id: (one.label, one.fraud) for one in cases.find(case.case_id).decisions}
    assert filed == {"tx-1": (1.0, True), "tx-2": (1.0, True)}
    assert ledger.record_labels(settled.labels) == [], "by Kafka they arrive a second time and judge nothing"


def test_a_resolution_said_again_gives_the_same_labels_and_another_one_is_refused(cases: Cases) -> None:
    case = opened(cases, decision(1), decision(2))
    first = cases.resolve(case.case_id, Act("ana", NOW + HOUR, version=1), FRAUD, 3)
    again = cases.resolve(case.case_id, Act("ana", NOW + 2 * HOUR, version=1), FRAUD, 3)
    assert again == Settled(first.case, first.labels, [], repeated=True)
    assert not first.repeated
    for ruling in (GENUINE, Ruling(Resolution.FRAUD, {"tx-1": False})):
        with pytest.raises(NotAllowed, match="reopen it first"):
            cases.resolve(case.case_id, ACT, ruling, 3)
    assert [what for _, what in history(cases, case)] == ["opened", "resolved"]


def test_exceptions_make_a_resolution_mixed_and_must_be_in_the_case(cases: Cases) -> None:
    case = opened(cases, decision(1), decision(2))
    with pytest.raises(UnknownTransactions):
        cases.resolve(case.case_id, ACT, Ruling(Resolution.FRAUD, {"tx-3": False}), 3)
    assert cases.find(case.case_id).case == case
    settled = cases.resolve(case.case_id, ACT, Ruling(Resolution.FRAUD, {"tx-2": False}, "one was his"), 3)
    assert settled.case.resolution is Resolution.MIXED
    assert {label.request_id: label.label for label in settled.labels} == {"tx-1": 1.0, "tx-2": 0.0}
    assert cases.find(case.case_id).history[-1].details == {"text": "one was his"}


def test_a_case_above_the_callers_tier_stays_as_it_is(cases: Cases) -> None:
    case = opened(cases, decision(1, amount_minor=500_000))
    with pytest.raises(TierTooHigh, match="tier 3"):
        cases.resolve(case.case_id, ACT, FRAUD, 2)
    assert cases.find(case.case_id).case == case


def test_of_two_who_resolve_differently_one_is_refused(cases: Cases, other: Cases) -> None:
    case = opened(cases, decision(1), decision(2))
    rulings = {"ana": FRAUD, "ben": GENUINE}
    said = at_once(
        lambda who, mine: mine.resolve(case.case_id, Act(who, NOW), rulings[who], 3).case.resolution,
        cases,
        other,
    )
    assert NotAllowed in said
    file = cases.find(case.case_id)
    assert file.case.resolution in said
    assert {one.label for one in file.decisions} == {float(file.case.resolution is Resolution.FRAUD)}


def test_two_who_resolve_alike_say_it_once(cases: Cases, other: Cases) -> None:
    case = opened(cases, decision(1), decision(2))
    said = at_once(lambda who, mine: mine.resolve(case.case_id, Act(who, NOW), FRAUD, 3), cases, other)
    settled = [one for one in said if isinstance(one, Settled)]
    assert sorted(one.repeated for one in settled) == [False, True]
    assert settled[0].labels == settled[1].labels
    assert sorted(len(one.judged) for one in settled) == [0, 2]


def test_a_reopened_case_that_is_resolved_otherwise_revises_its_labels(cases: Cases, ledger: Ledger) -> None:
    case = opened(cases, decision(1))
    first = cases.resolve(case.case_id, ACT, FRAUD, 3)
    reopened = cases.reopen(case.case_id, Act("ben", NOW + 2 * HOUR), "the customer called")
    assert (reopened.status, reopened.due_ts) == (Status.INVESTIGATING, NOW + 6 * HOUR)
    second = cases.resolve(case.case_id, Act("ben", NOW + 3 * HOUR), GENUINE, 3)
    (before,), (after,) = first.labels, second.labels
    assert (after.label, after.previous_label) == (0.0, 1.0)
    assert after.label_id != before.label_id
    assert second.judged == []
    found = ledger.find(transaction_id="tx-1")
    assert found is not None
    assert (found.label, found.label_known_ts) == (0.0, NOW + 3 * HOUR)


def test_a_case_is_not_reopened_beside_another_of_its_card(cases: Cases) -> None:
    first = opened(cases, decision(1))
    cases.resolve(first.case_id, ACT, FRAUD, 3)
    second = opened(cases, decision(2))
    with pytest.raises(NotAllowed, match=second.case_id):
        cases.reopen(first.case_id, ACT, "again")
    cases.resolve(second.case_id, ACT, FRAUD, 3)
    assert cases.reopen(first.case_id, ACT, "again").status is Status.INVESTIGATING


def test_pages_of_the_queue_put_together_are_the_queue(cases: Cases) -> None:
    rng = np.random.default_rng(5)
    for n in range(40):
        made = decision(n, Outcome.MONITOR, f"c-{n}", amount_minor=int(rng.choice([100, 60_000, 900_000])))
        opened(cases, made) if n % 3 else cases.record([made], NOW - HOUR * int(rng.integers(30)))
    everything = cases.queue(ALL, NOW, 100)
    for case in everything[::5]:
        cases.assign(case.case_id, ACT, "ana")
    for case in everything[::7]:
        cases.resolve(case.case_id, ACT, GENUINE, 3)
    everything = sorted(cases.queue(ALL, NOW, 100), key=lambda case: (-case.tier, case.due_ts, case.case_id))
    assert len(everything) == 40

    wishes: list[tuple[Wanted, Callable[[Case], bool]]] = [
        (Wanted(), lambda case: True),
        (Wanted(status=Status.RESOLVED), lambda case: case.status is Status.RESOLVED),
        (Wanted(tier=2), lambda case: case.tier == 2),
        (Wanted(assignee="ana"), lambda case: case.assignee == "ana"),
        (Wanted(customer_id="c-7"), lambda case: case.customer_id == "c-7"),
        (
            Wanted(overdue=True, tier=1),
            lambda case: case.status is not Status.RESOLVED and case.due_ts < NOW and case.tier == 1,
        ),
        (Wanted(overdue=False), lambda case: case.status is Status.RESOLVED or case.due_ts >= NOW),
    ]
    for wanted, fits in wishes:
        expected = [case for case in everything if fits(case)]
        assert expected
        assert list(pages(cases, wanted, 3)) == expected


def test_a_summary_counts_and_takes_the_median(cases: Cases) -> None:
    durations = []
    for n in range(4):
        case = opened(cases, decision(n, Outcome.MONITOR, f"c-{n}"))
        durations.append((n + 1) ** 2 * 600.0)
        cases.resolve(case.case_id, Act("ana", NOW + durations[-1] * HOUR / 3600), GENUINE, 3)
    assert cases.summary(NOW).cases[0].status is Status.RESOLVED
    cases.record([decision(8, Outcome.BLOCK, "c-8"), decision(9, Outcome.MONITOR, "c-9")], NOW)
    summary = cases.summary(NOW + 5 * HOUR)
    assert [(tally.status, tally.tier, tally.cases, tally.overdue) for tally in summary.cases] == [
        (Status.OPEN, 1, 1, 0),
        (Status.OPEN, 2, 1, 1),
        (Status.RESOLVED, 1, 4, 0),
    ]
    assert (summary.overdue, summary.median_seconds_to_resolve) == (1, statistics.median(durations))


def pages(cases: Cases, wanted: Wanted, size: int) -> Iterator[Case]:
    while page := cases.queue(wanted, NOW, size):
        yield from page
        wanted = replace(wanted, after=Place(page[-1].tier, page[-1].due_ts, page[-1].case_id))


def at_once(act: Callable[[str, Cases], object], *processes: Cases) -> list[object]:
    """What ana and ben get, who act at the same time in different processes: an answer or an error's type."""
    barrier = Barrier(len(processes))

    def one(who: str, cases: Cases) -> object:
        barrier.wait()
        try:
            return act(who, cases)
        except NotAllowed as error:
            return type(error)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(one, ("ana", "ben"), processes))
