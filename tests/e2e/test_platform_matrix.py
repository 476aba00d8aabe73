"""Each service of the table: alive, ready, measured; each edge: what one sends the others see."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fixtures_platform import (
    HIGH_AMOUNT_MINOR,
    RunningPlatform,
    find_decision,
    is_ready,
    new_transaction,
    wait_until,
)
from kafka_tail import Send, Tail
from prometheus_client.parser import text_string_to_metric_families
from service_table import EDGES, SERVICES, Edge, Service

from plinth_contracts import topics

each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@each_service
def test_it_is_alive_and_ready(platform: RunningPlatform, service: Service) -> None:
    assert httpx.get(f"{platform.url(service.name)}/livez").status_code == httpx.codes.OK
    wait_until(lambda: is_ready(platform, service.name), f"{service.name} is ready")


@each_service
def test_it_has_the_metrics_of_the_table(platform: RunningPlatform, service: Service, decided: Any) -> None:
    def missing() -> set[str]:
        text = httpx.get(f"{platform.url(service.name)}/metrics").text
        samples = {s.name for family in text_string_to_metric_families(text) for s in family.samples}
        types = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        return set(service.metrics) - samples - types

    wait_until(lambda: not missing(), f"{service.name} measures {sorted(missing())}")


@each_service
def test_its_topics_are_declared_with_it(service: Service) -> None:
    member = "feature-store" if service.name.startswith("feature-store") else "fraud-scorer"
    declared = topics.by_name()
    assert [topic for topic in service.reads if member not in declared[topic].consumers] == []
    assert [topic for topic in service.writes if member not in declared[topic].producers] == []


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: f"{edge.cause} to {edge.effect}")
def test_a_message_arrives_at_the_other_end(edge: Edge, tail: Tail, send: Send) -> None:
    transaction = new_transaction()
    send(edge.cause, transaction["customer_id"], transaction)
    effect = tail.find(edge.effect, **{edge.field: transaction["transaction_id"]})
    headers = dict(effect.headers())
    assert effect.key() == transaction["customer_id"].encode()
    assert headers["ce_type"] == edge.effect.encode()
    assert headers["ce_specversion"] == b"1.0"


def test_one_transaction_has_one_id_everywhere(api: httpx.Client, tail: Tail, send: Send) -> None:
    transaction = new_transaction(amount_minor=HIGH_AMOUNT_MINOR)
    send("transaction.received", transaction["customer_id"], transaction)
    decision = tail.json("decision.made", transaction_id=transaction["transaction_id"])
    prediction = tail.json("prediction.logged", request_id=transaction["transaction_id"])
    alert = tail.json("alert.raised", prediction_id=decision["decision_id"])
    recorded = wait_until(lambda: find_decision(api, decision["decision_id"]), "the decision is recorded")
    assert prediction["prediction_id"] == recorded["decision_id"] == decision["decision_id"]
    assert decision["outcome"] == prediction["decision"] == recorded["outcome"] == "block"
    assert decision["score"] == prediction["score"] == recorded["score"] > 0.8
    assert alert["entity_id"] == recorded["customer_id"] == transaction["customer_id"]
    assert prediction["features"]["amount"] == HIGH_AMOUNT_MINOR / 100
    assert prediction["features"]["customer_tx_count_1d"] == 1.0
    assert find_decision(api, transaction["transaction_id"]) == recorded


def test_a_transaction_counts_in_the_row_of_its_customer(platform: RunningPlatform, send: Send) -> None:
    platform.local_environ()
    first = new_transaction()
    second = new_transaction(customer_id=first["customer_id"], amount_minor=3_750)
    for transaction in (first, second, second):  # the last was sent twice and counts once
        send("transaction.received", transaction["customer_id"], transaction)

    def features() -> dict[str, float]:
        (row,) = platform.rows("customer_transactions", [first["customer_id"]])
        return row

    wait_until(lambda: features()["customer_tx_count_1d"] == 2, "both transactions are in the row")
    assert features()["customer_amount_mean_1d"] == pytest.approx((12.50 + 37.50) / 2)


def test_an_unreadable_message_goes_to_the_dead_letters(
    platform: RunningPlatform, tail: Tail, send: Send
) -> None:
    after = new_transaction()
    broken = b'{"transaction_id": "' + after["transaction_id"].encode() + b'", "amount_minor": -1}'
    send("transaction.received", after["customer_id"], broken)
    send("transaction.received", after["customer_id"], after)
    tail.find("decision.made", transaction_id=after["transaction_id"])

    letter = tail.find("transaction.received.dlq", transaction_id=after["transaction_id"])
    headers = dict(letter.headers())
    assert letter.value() == broken
    assert letter.key() == after["customer_id"].encode()
    assert headers["plinth_dlq_topic"] == b"transaction.received"
    assert b"amount_minor" in headers["plinth_dlq_reason"] or b"missing" in headers["plinth_dlq_reason"]
    if platform.environ is not None:
        listed = platform.plinth("replay-dlq", "transaction.received", "--dry-run")
        assert after["customer_id"] in listed
        assert "would be sent back to transaction.received" in listed
