"""What a replay counts of the decisions that it sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from plinth_contracts import codec
from plinth_contracts.events import AlertRaised, DecisionMade, LabelObserved, Outcome, TransactionReceived
from plinth_kit.kafka.deadletter import dead_letter
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Message, Outgoing
from plinth_pipelines.fraud import replay, stream
from plinth_pipelines.fraud.watch import Watch

START = datetime(2018, 8, 1, tzinfo=UTC)


def decision(transaction_id: str, made: datetime, outcome: Outcome = Outcome.APPROVE) -> Outgoing:
    event = DecisionMade(
        decision_id=f"d-{transaction_id}",
        transaction_id=transaction_id,
        customer_id="c-1",
        terminal_id="t-1",
        amount_minor=100,
        event_ts=START,
        outcome=outcome,
        score=0.5,
    )
    topic = codec.topic_of(DecisionMade)
    headers = codec.headers(topic, event_id=event.decision_id, source="fraud-scorer", time=made)
    return Outgoing(topic, b"c-1", codec.encode(event), headers)


def payments(*ids: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "transaction_id": list(ids),
            "customer_id": "c-1",
            "terminal_id": "t-1",
            "event_ts": pd.date_range(START, periods=len(ids), freq="1s"),
            "amount_minor": 100,
        }
    )


def once_sent(
    count: int, broker: MemoryBroker, answers: Callable[[], Sequence[Outgoing]]
) -> Callable[[Watch], None]:
    """The platform: it answers, once, when so many transactions were sent."""
    left = [answers]

    def observe(watch: Watch) -> None:
        if watch.sent == count and left:
            broker.producer().produce(left.pop()())

    return observe


def test_decisions_made_before_are_counted_as_repeats_and_old_messages_are_left_out() -> None:
    clock_ms = int(time.time() * 1000) - 3_600_000
    broker = MemoryBroker(now_ms=lambda: clock_ms)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    broker.producer().produce(
        [decision("a", hour_ago, Outcome.BLOCK), decision("b", hour_ago, Outcome.BLOCK)]
    )

    def answers() -> list[Outgoing]:
        """It tells the decision of `a` again, decides `b` anew, twice because of a restart."""
        nonlocal clock_ms
        now = datetime.now(UTC)
        clock_ms = int(now.timestamp() * 1000)
        return [decision("b", now), decision("b", now), decision("a", hour_ago)]

    observe = once_sent(2, broker, answers)
    watch = replay.replay(broker, stream.transactions(payments("a", "b")), observe=observe)
    assert (watch.sent, watch.decided, dict(watch.outcomes)) == (2, 2, {"approve": 2})
    assert (watch.earlier, watch.repeated, watch.repeats) == (1, 1, 2)


def letter(transaction_id: str, reason: str) -> Outgoing:
    """What the platform says of a transaction that it does not take."""
    topic = codec.topic_of(TransactionReceived)
    headers = codec.headers(topic, event_id=transaction_id, source="replay", time=START)
    message = Message(topic, 0, 0, b"c-1", b"{}", headers, 0)
    return dead_letter(message, reason)


def test_a_refused_transaction_is_not_waited_for_and_its_reason_is_kept() -> None:
    broker = MemoryBroker(now_ms=lambda: int(time.time() * 1000))

    def answers() -> list[Outgoing]:
        others = [letter("x", "somebody else's"), letter("b", "was decided with another payment")]
        return [*others, decision("a", datetime.now(UTC))]

    observe = once_sent(2, broker, answers)
    watch = replay.replay(broker, stream.transactions(payments("a", "b")), observe=observe)
    assert (watch.decided, watch.refused) == (1, {"b": "was decided with another payment"})


def test_no_label_follows_for_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "CHUNK", 2)
    broker = MemoryBroker(now_ms=lambda: int(time.time() * 1000))
    observe = once_sent(2, broker, lambda: [letter("b", "no"), decision("a", datetime.now(UTC))])
    items = stream.merged(
        payments("a", "b"), start=START, end=START + timedelta(days=1), delay=timedelta(days=7)
    )
    watch = replay.replay(broker, items, in_flight=1, observe=observe)
    assert watch.labels == 1
    (label,) = broker.messages(codec.topic_of(LabelObserved))
    assert b'"request_id":"a"' in label.value


def test_a_replay_without_answers_ends_and_says_what_it_waits_for() -> None:
    with pytest.raises(replay.Stalled, match="1 of 1 transactions are undecided, first 'a'"):
        replay.replay(MemoryBroker(), stream.transactions(payments("a")), patience_s=0.1)


def test_others_that_are_decided_all_the_time_do_not_keep_a_replay_from_beginning() -> None:
    broker = MemoryBroker(now_ms=lambda: int(time.time() * 1000))
    done = threading.Event()

    def others() -> None:
        while not done.wait(0.01):
            broker.producer().produce([decision("somebody else's", datetime.now(UTC))])

    thread = threading.Thread(target=others, daemon=True)
    thread.start()
    try:
        with pytest.raises(replay.Stalled, match="1 of 1"):
            replay.replay(broker, stream.transactions(payments("a")), patience_s=2.0)
    finally:
        done.set()
        thread.join()


def test_garbage_among_the_decisions_is_passed_over() -> None:
    broker = MemoryBroker(now_ms=lambda: int(time.time() * 1000))
    garbage = Outgoing(codec.topic_of(DecisionMade), b"c-1", b"what is this?")
    observe = once_sent(1, broker, lambda: [garbage, decision("a", datetime.now(UTC))])
    assert replay.replay(broker, stream.transactions(payments("a")), observe=observe).decided == 1


def test_the_alert_of_the_last_decision_is_waited_for() -> None:
    broker = MemoryBroker(now_ms=lambda: int(time.time() * 1000))
    alert = AlertRaised(
        alert_id="a-1",
        kind="fraud",
        severity="warning",
        entity_id="c-1",
        summary="blocked",
        event_ts=START,
        prediction_id="d-a",
    )
    raised = Outgoing(codec.topic_of(AlertRaised), b"c-1", codec.encode(alert))

    def answers() -> list[Outgoing]:
        threading.Timer(0.2, broker.producer().produce, [[raised]]).start()
        return [decision("a", datetime.now(UTC), Outcome.BLOCK)]

    observe = once_sent(1, broker, answers)
    assert replay.replay(broker, stream.transactions(payments("a")), observe=observe).alerts == 1
