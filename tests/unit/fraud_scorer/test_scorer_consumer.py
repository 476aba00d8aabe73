"""The Kafka edge: what comes in, what goes out, what goes to the dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fakes_scorer import FEATURES, START, FakeModel, MemoryState, scorer, transaction
from prometheus_client import CollectorRegistry

from fraud_scorer.consumer import TOPIC, TransactionHandler
from fraud_scorer.events import OTHER_PAYMENT, received
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.service import Serving
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, PredictionLogged, TransactionReceived
from plinth_kit.kafka.message import Handled, Message

START_MS = round(START.timestamp() * 1000)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Edge:
    """A handler with a model in memory, and its metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.state = MemoryState()
        self.serving = Serving(FakeModel(), [("shadow", FakeModel("2"))])
        metrics = ScorerMetrics(self.registry, "kafka")
        self.handle = TransactionHandler(
            scorer(self.state), lambda: self.serving, FEATURES.names, metrics, lambda: START
        )
        self.offset = 0

    def send(self, *values: bytes | TransactionReceived, trace: bytes = TRACE) -> Handled:
        return self.handle([self.message(value, (("traceparent", trace),)) for value in values])

    def message(
        self, value: bytes | TransactionReceived, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Message:
        self.offset += 1
        encoded = value if isinstance(value, bytes) else codec.encode(value)
        return Message(TOPIC, 0, self.offset, b"c-1", encoded, tuple(headers), START_MS)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"plinth_fraud_{name}", labels)


@pytest.fixture
def edge() -> Edge:
    return Edge()


def test_a_transaction_becomes_a_decision_its_predictions_and_an_alert(edge: Edge) -> None:
    handled = edge.send(transaction(1, 95_000))
    assert [out.topic for out in handled.outgoing] == [
        "decision.made",
        "prediction.logged",
        "prediction.logged",
        "alert.raised",
    ]
    assert {out.key for out in handled.outgoing} == {b"c-1"}
    assert all(("traceparent", TRACE) in out.headers for out in handled.outgoing)
    decision = codec.decoder(DecisionMade)(handled.outgoing[0].value)
    predictions = [codec.decoder(PredictionLogged)(out.value) for out in handled.outgoing[1:3]]
    assert (decision.transaction_id, decision.outcome.value, decision.policy) == ("tx-1", "block", "1")
    assert [p.variant for p in predictions] == ["champion", "shadow"]
    assert predictions[0].prediction_id == decision.decision_id
    ids = [dict(out.headers)["ce_id"] for out in handled.outgoing]
    assert len(set(ids)) == len(ids)


def test_a_decision_says_which_rules_fired_and_what_scored(edge: Edge) -> None:
    decode = codec.decoder(DecisionMade)
    several = edge.send(*(transaction(n, 100) for n in range(7)))
    decision = decode([out for out in several.outgoing if out.topic == "decision.made"][-1].value)
    assert decision.rules == ("velocity_check",)
    assert (decision.model_name, decision.model_version) == ("fraud", "1")
    edge.serving = Serving(None)
    alone = decode(edge.send(transaction(8)).outgoing[0].value)
    assert (alone.model_name, alone.model_version) == ("", "")


def test_a_redelivered_transaction_gives_the_same_messages(edge: Edge) -> None:
    first, again = edge.send(transaction(1)), edge.send(transaction(1))
    assert list(first.outgoing) == list(again.outgoing)
    assert edge.value("duplicates_total", path="kafka") == 1
    assert edge.value("decisions_total", path="kafka", outcome="approve") == 1
    assert edge.value("decision_seconds_count", path="kafka") == 1


@pytest.mark.parametrize(
    "other", [{"amount": 99}, {"customer": "c-2"}, {"terminal_id": "t-9"}, {"minutes": 1}]
)
def test_another_payment_under_the_same_id_is_set_aside(edge: Edge, other: dict[str, Any]) -> None:
    first = edge.send(transaction(1))
    handled = edge.send(transaction(1, **other), transaction(1))
    assert [invalid.reason for invalid in handled.invalid] == [OTHER_PAYMENT]
    assert list(handled.outgoing) == list(first.outgoing)
    within = edge.send(transaction(2), transaction(2, **other))
    assert len(within.invalid) == 1


def test_what_cannot_be_read_is_set_aside_and_the_rest_is_decided(edge: Edge) -> None:
    bad = [b"", b"{", b"[]", b'{"transaction_id":"x"}', codec.encode(transaction(2)).replace(b"c-1", b"c 1")]
    handled = edge.send(*bad, transaction(1))
    assert [i.message.value for i in handled.invalid] == bad
    assert "customer_id" in handled.invalid[-1].reason
    assert [out.topic for out in handled.outgoing][:1] == ["decision.made"]
    assert list(edge.state.decisions) == ["tx-1"]


def test_a_transaction_that_is_decided_already_is_counted_and_not_decided(edge: Edge) -> None:
    told = received(transaction(1, 1000), START)
    handled = edge.handle([edge.message(told.value, told.headers), edge.message(transaction(2, 3000))])
    decided = [out for out in handled.outgoing if out.topic == "decision.made"]
    assert len(decided) == 1
    features = codec.decoder(PredictionLogged)(handled.outgoing[1].value).features
    assert (features["customer_tx_count_1d"], features["customer_amount_mean_1d"]) == (2.0, 20.0)


def test_metrics_tell_rules_gaps_and_versions(edge: Edge) -> None:
    edge.send(*[transaction(n, 100) for n in range(7)])
    edge.state.away = True
    edge.send(transaction(8, 2_000_000))
    assert edge.value("rules_fired_total", rule="velocity_check") == 2
    assert edge.value("rules_fired_total", rule="high_amount") == 1
    assert edge.value("degraded_total", lacking="features") == 1
    assert edge.value("feature_rows_read_total", view="customer_transactions") == 1
    assert edge.value("feature_rows_empty_total", view="customer_transactions") == 1
    assert edge.value("model_version", alias="shadow") == 2
    edge.serving = Serving(FakeModel("3"))
    edge.send(transaction(9))
    assert edge.value("model_version", alias="champion") == 3
    assert edge.value("model_version", alias="shadow") is None
    assert edge.value("stream_seconds") == START.timestamp()


def test_a_payment_from_a_distant_future_is_set_aside(edge: Edge) -> None:
    handled = edge.send(transaction(1, minutes=24 * 60), transaction(2, minutes=24 * 60 + 1))
    assert [i.reason for i in handled.invalid] == ["`event_ts` must not lie more than a day ahead"]
    assert list(edge.state.decisions) == ["tx-1"]
