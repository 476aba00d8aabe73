"""What a replay counts of the decisions that it sees."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pandas as pd

from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, Outcome
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Outgoing
from plinth_pipelines.fraud import replay, stream
from plinth_pipelines.fraud.replay import Watch

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


def test_decisions_made_before_are_counted_as_repeats_and_old_messages_are_left_out() -> None:
    clock_ms = int(time.time() * 1000) - 3_600_000
    broker = MemoryBroker(now_ms=lambda: clock_ms)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    broker.producer().produce(
        [decision("a", hour_ago, Outcome.BLOCK), decision("b", hour_ago, Outcome.BLOCK)]
    )
    answered = False

    def answer(watch: Watch) -> None:
        """The platform: it tells the decision of `a` again, decides `b` anew, twice because of a restart."""
        nonlocal answered, clock_ms
        if watch.sent == 2 and not answered:
            answered, now = True, datetime.now(UTC)
            clock_ms = int(now.timestamp() * 1000)
            again = [decision("b", now), decision("b", now), decision("a", hour_ago)]
            broker.producer().produce(again)

    watch = replay.replay(broker, stream.transactions(payments("a", "b")), observe=answer)
    assert (watch.sent, watch.decided, dict(watch.outcomes)) == (2, 2, {"approve": 2})
    assert (watch.earlier, watch.repeated, watch.repeats) == (1, 1, 2)
