"""The fraud scorer's API as its callers use it, from a decision to its label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fixtures_platform import HIGH_AMOUNT_MINOR, RunningPlatform, find_decision, new_transaction, wait_until
from kafka_tail import Send, Tail

MAX_BATCH = 1_000


def test_a_decision_is_the_same_when_asked_again(api: httpx.Client, tail: Tail) -> None:
    transaction = new_transaction(amount_minor=HIGH_AMOUNT_MINOR)
    first, again = (api.post("/v1/decisions", json=transaction).json() for _ in range(2))
    assert (first["outcome"], first["duplicate"], again["duplicate"]) == ("block", False, True)
    assert {k: v for k, v in again.items() if k != "duplicate"} == {
        k: v for k, v in first.items() if k != "duplicate"
    }
    assert tail.json("transaction.received", transaction_id=transaction["transaction_id"])[
        "amount_minor"
    ] == (HIGH_AMOUNT_MINOR)
    decision = tail.json("decision.made", transaction_id=transaction["transaction_id"])
    assert decision["decision_id"] == first["decision_id"]


def test_http_and_kafka_give_one_answer(api: httpx.Client, tail: Tail, send: Send) -> None:
    transaction = new_transaction()
    send("transaction.received", transaction["customer_id"], transaction)
    decision = tail.json("decision.made", transaction_id=transaction["transaction_id"])
    answer = api.post("/v1/decisions", json=transaction).json()
    assert (answer["duplicate"], answer["decision_id"]) == (True, decision["decision_id"])


def test_a_batch_is_answered_in_its_order(api: httpx.Client) -> None:
    transactions = [
        new_transaction(amount_minor=HIGH_AMOUNT_MINOR if n % 3 == 0 else 1_000) for n in range(20)
    ]
    answers = api.post("/v1/decisions/batch", json={"transactions": transactions}).json()["decisions"]
    assert [a["transaction_id"] for a in answers] == [t["transaction_id"] for t in transactions]
    assert [a["outcome"] == "block" for a in answers] == [n % 3 == 0 for n in range(20)]
    assert len({a["decision_id"] for a in answers}) == 20


def test_a_batch_has_a_limit(api: httpx.Client) -> None:
    answer = api.post("/v1/decisions/batch", json={"transactions": [new_transaction()] * (MAX_BATCH + 1)})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "transactions")


@pytest.mark.parametrize(
    ("field", "value"),
    [("amount_minor", -1), ("amount_minor", "12"), ("currency", "euro"), ("event_ts", "2024-05-01T10:00:00")],
)
def test_a_wrong_field_is_named(api: httpx.Client, field: str, value: Any) -> None:
    answer = api.post("/v1/decisions", json=new_transaction(**{field: value}))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_without_a_key_nothing_is_decided(platform: RunningPlatform) -> None:
    with platform.client(role="") as nobody:
        assert nobody.post("/v1/decisions", json=new_transaction()).status_code == 401
        assert nobody.get("/v1/decisions/any").status_code == 401
        assert nobody.get("/v1/decisions/any", headers={"x-api-key": "guessed"}).status_code == 401


def test_a_viewer_looks_but_does_not_decide(platform: RunningPlatform, decided: dict[str, Any]) -> None:
    label = {"transaction_id": decided["transaction_id"], "label": False, "observed_at": _iso(0)}
    with platform.client("viewer") as viewer:
        assert viewer.post("/v1/decisions", json=new_transaction()).status_code == 403
        assert viewer.post("/v1/labels", json=label).status_code == 403
        assert viewer.get(f"/v1/decisions/{decided['transaction_id']}").status_code == 200


def test_a_label_of_an_unknown_decision_is_refused(api: httpx.Client) -> None:
    label = {"decision_id": "nobody-decided-this", "label": True, "observed_at": _iso(0)}
    assert api.post("/v1/labels", json=label).status_code == 404


def test_a_label_reaches_sql_kafka_and_the_terminal(api: httpx.Client, tail: Tail) -> None:
    transaction = new_transaction(event_ts=_iso(-3))
    decision_id = api.post("/v1/decisions", json=transaction).json()["decision_id"]
    wait_until(lambda: find_decision(api, decision_id), "the decision is recorded")
    body = {"decision_id": decision_id, "label": True, "source": "analyst", "observed_at": _iso(-2)}
    first, again = (api.post("/v1/labels", json=body) for _ in range(2))
    assert (first.status_code, first.json()) == (202, again.json())

    recorded = find_decision(api, decision_id)
    assert recorded is not None
    assert (recorded["label"], recorded["label_source"]) == (1.0, "analyst")
    event = tail.json("label.observed", label_id=first.json()["label_id"])
    assert (event["prediction_id"], event["label"], event["previous_label"]) == (decision_id, 1.0, None)

    def share() -> tuple[float, float]:
        seen = new_transaction(terminal_id=transaction["terminal_id"], event_ts=_iso(-1))
        assert api.post("/v1/decisions", json=seen).status_code == 200
        features = tail.json("prediction.logged", request_id=seen["transaction_id"])["features"]
        return features["terminal_label_count_7d"], features["terminal_fraud_share_7d"]

    wait_until(lambda: share() == (1.0, 1.0), "the terminal has one label, and it is fraud")

    revised = api.post("/v1/labels", json=body | {"label": False, "observed_at": _iso(-1.5)}).json()
    assert (revised["label"], revised["previous_label"]) == (False, True)
    wait_until(lambda: share() == (1.0, 0.0), "the terminal still has one label, and it is not fraud")


def _iso(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()
