"""Decisions and labels in a real Postgres: recorded once, judged once, revised without counting twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sql
from sqlalchemy.exc import OperationalError

from fraud_scorer.ledger import Judged, Ledger
from plinth_contracts.events import DecisionMade, LabelObserved, LabelSource, Outcome

START = datetime(2018, 8, 1, tzinfo=UTC)


def decision(n: int, outcome: Outcome = Outcome.APPROVE) -> DecisionMade:
    return DecisionMade(
        decision_id=f"d-{n}",
        transaction_id=f"tx-{n}",
        customer_id="c-1",
        terminal_id="t-1",
        amount_minor=1000 + n,
        event_ts=START,
        outcome=outcome,
        score=0.25,
    )


def label(n: int, value: float = 1.0, previous: float | None = None, label_id: str = "") -> LabelObserved:
    return LabelObserved(
        label_id=label_id or f"label-{n}",
        request_id=f"tx-{n}",
        entity_id="c-1",
        entities={"customer": "c-1", "terminal": "t-1"},
        event_ts=START,
        known_ts=START + timedelta(days=7),
        label=value,
        previous_label=previous,
        source=LabelSource.CHARGEBACK,
    )


def test_a_decision_is_found_by_its_id_and_by_its_transaction(ledger: Ledger) -> None:
    ledger.record_decisions([decision(1, Outcome.BLOCK), decision(2)])
    by_id, by_transaction = ledger.find(decision_id="d-1"), ledger.find(transaction_id="tx-1")
    assert by_id == by_transaction
    assert by_id is not None
    assert (by_id.outcome, by_id.amount_minor, by_id.event_ts, by_id.label) == ("block", 1001, START, None)
    assert ledger.find(transaction_id="tx-9") is None
    assert ledger.find(decision_id="d-1", transaction_id="tx-1") == by_id
    assert ledger.find(decision_id="d-1", transaction_id="tx-2") is None
    assert ledger.find(decision_id="tx-1") is None, "a transaction may be named as a decision of another is"


def test_recording_again_changes_and_counts_nothing(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.record_decisions([decision(1), decision(1), decision(2)])
    assert ledger.record_labels([label(1), label(2, 0.0)]) == [
        Judged(1.0, "approve", 1001, False, 1.0),
        Judged(0.0, "approve", 1002, False, 1.0),
    ]
    assert ledger.record_labels([label(1), label(2, 0.0)]) == []


def test_a_label_of_a_transaction_that_was_not_decided_here(ledger: Ledger) -> None:
    assert ledger.record_labels([label(7)]) == [Judged(1.0, None, None, None, None)]


def test_a_label_that_came_before_its_decision_judges_it_once_it_is_recorded(ledger: Ledger) -> None:
    revision = label(1, 0.0, previous=1.0, label_id="later")
    ledger.record_labels([label(1), revision])
    waited = [Judged(1.0, "block", 1001, False, 1.0)]
    assert ledger.record_decisions([decision(1, Outcome.BLOCK), decision(2)]) == waited
    assert ledger.record_decisions([decision(1, Outcome.BLOCK), decision(2)]) == []
    assert ledger.record_labels([label(1), revision]) == []


def test_a_label_and_its_decision_recorded_at_once_meet_once(ledger: Ledger) -> None:
    ns = range(60)
    with ThreadPoolExecutor(2) as both:
        decided = both.submit(lambda: [ledger.record_decisions([decision(n)]) for n in ns])
        labelled = both.submit(lambda: [ledger.record_labels([label(n)]) for n in ns])
        found = [judged for part in (*decided.result(), *labelled.result()) for judged in part]
    assert sorted(judged.amount_minor for judged in found if judged.amount_minor) == [1000 + n for n in ns]


def test_a_server_that_does_not_answer_is_given_up_and_asked_again_later(postgres_url: str) -> None:
    ledger = Ledger(postgres_url, patience_s=2.0)
    for _ in range(2):
        with pytest.raises(OperationalError, match="no answer within"), ledger.transaction() as connection:
            connection.execute(sql.text("select pg_sleep(60)"))
        with ledger.transaction() as connection:
            assert connection.execute(sql.text("select 7")).scalar() == 7
    ledger.close()


def test_a_revision_does_not_judge_again_and_is_what_a_reader_sees(ledger: Ledger) -> None:
    ledger.record_decisions([decision(1)])
    ledger.record_labels([label(1)])
    assert ledger.record_labels([label(1, 0.0, previous=1.0, label_id="later")]) == []
    found = ledger.find(decision_id="d-1")
    assert found is not None
    assert found.label is not None


def test_a_label_by_hand_knows_what_it_revises_and_can_be_sent_again(ledger: Ledger) -> None:
    ledger.record_decisions([decision(1)])
    recorded = ledger.find(decision_id="d-1")
    assert recorded is not None
    first, judged = ledger.add_label(recorded, "l-1", 1.0, LabelSource.ANALYST, START + timedelta(days=1))
    second, revised = ledger.add_label(recorded, "l-2", 0.0, LabelSource.ANALYST, START + timedelta(days=2))
    again, repeated = ledger.add_label(recorded, "l-2", 0.0, LabelSource.ANALYST, START + timedelta(days=2))
    assert (first.previous_label, second.previous_label) == (None, 1.0)
    assert again == second
    assert (judged, revised, repeated) == ([Judged(1.0, "approve", 1001, False, 1.0)], [], [])
    found = ledger.find(transaction_id="tx-1")
    assert found is not None
    assert (found.label, found.label_known_ts) == (0.0, START + timedelta(days=2))


def test_the_last_word_counts_whatever_time_it_speaks_of(ledger: Ledger) -> None:
    ledger.record_decisions([decision(1)])
    recorded = ledger.find(decision_id="d-1")
    assert recorded is not None
    said = [("l-1", 1.0, 2.0), ("l-2", 0.0, 1.0), ("l-3", 1.0, 3.0)]
    events = [
        ledger.add_label(recorded, name, value, LabelSource.ANALYST, START + timedelta(days=days))[0]
        for name, value, days in said
    ]
    assert [event.previous_label for event in events] == [None, 1.0, 0.0]
    assert sum(event.label - (event.previous_label or 0.0) for event in events) == 1.0
    found = ledger.find(decision_id="d-1")
    assert found is not None
    assert found.label == 1.0


def test_two_processes_may_migrate_at_once(ledger: Ledger, postgres_url: str) -> None:
    others = [Ledger(postgres_url) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(Ledger.migrate, others))
    assert ledger.check() is None
    for other in others:
        other.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"password": "wrong"}, "the password is refused"), ({"port": 1}, "no connection")],
)
def test_readiness_tells_a_refused_password_from_a_database_that_is_away(
    postgres_url: str, wrong: dict[str, object], says: str
) -> None:
    url = sql.make_url(postgres_url).set(**wrong)
    ledger = Ledger(url.render_as_string(hide_password=False))
    assert ledger.check() == says
    ledger.close()
