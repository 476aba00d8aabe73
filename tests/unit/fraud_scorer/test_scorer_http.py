"""The HTTP edge: answers, wrong fields, and what is said while something is away."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fakes_scorer import FEATURES, START, FakeModel, MemoryState, policy, scorer, transaction
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from fraud_scorer import app
from fraud_scorer.core.answer import Answers
from fraud_scorer.core.policy import Judge
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.service import Serving
from plinth_kit import http
from plinth_kit.auth import KeyEntry, KeyRing
from plinth_kit.health import Health
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.settings import Settings


class Api:
    """The hot routes over fakes, and what they have published."""

    def __init__(self, outbox: Outbox, broker: MemoryBroker, state: MemoryState | None = None) -> None:
        self.broker, self.state = broker, state or MemoryState()
        self.serving = Serving(FakeModel())
        judge = Judge(policy(), FEATURES.names)
        registry = CollectorRegistry()
        self.decider = app.Decider(
            scorer(self.state),
            lambda: self.serving,
            outbox,
            ScorerMetrics(registry, "http"),
            FEATURES.names,
            lambda: START,
        )
        self.asgi = http.build(
            service="fraud-scorer",
            settings=Settings(rate_limit_per_second=0),
            health=Health(),
            registry=registry,
            keyring=KeyRing([KeyEntry("ana", "operator", hashlib.sha256(b"key").hexdigest())]),
            hot=app.hot_routes(self.decider, Answers(judge, len(FEATURES.request))),
        )

    def post(self, *bodies: Any, path: str = "/v1/decisions") -> list[httpx.Response]:
        """All at once, in one event loop."""

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.asgi)
            headers = {"x-api-key": "key"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://test", headers=headers
            ) as client:
                contents = [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies]
                return list(await asyncio.gather(*(client.post(path, content=c) for c in contents)))

        return asyncio.run(send())


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def api(broker: MemoryBroker, tmp_path: Path) -> Iterator[Api]:
    outbox = Outbox(broker, tmp_path / "outbox", flush_seconds=0.01)
    yield Api(outbox, broker)
    outbox.stop()


def topics(broker: MemoryBroker) -> dict[str, int]:
    names = ("transaction.received", "decision.made", "prediction.logged", "alert.raised")
    return {name: len(broker.messages(name)) for name in names}


def test_an_answer_says_what_was_decided_and_why(api: Api) -> None:
    (answer,) = api.post(transaction(1, 95_000))
    body = answer.json()
    assert (answer.status_code, body["outcome"], body["score"], body["duplicate"]) == (
        200,
        "block",
        0.95,
        False,
    )
    assert body["reasons"] == [
        {"code": "new_merchant", "text": "The card was not used at this merchant before."},
        {"code": "amount_unusual", "text": "The amount is unusual for this card."},
    ]
    assert {rule["name"]: rule["outcome"] for rule in body["rules"]} == {
        "high_amount": "passed",
        "velocity_check": "passed",
        "location_anomaly": "passed",
        "new_merchant": "fired",
    }
    (model,) = body["models"]
    assert (model["version"], model["members"]) == ("1", {"trees": 0.95, "forest": 0.475})
    assert model["contributions"][0] == {"feature": "amount", "log_odds": 9.5}
    assert (body["policy"], body["features_fingerprint"], body["degraded"]) == ("1", FEATURES.fingerprint, [])


def test_events_are_there_when_the_answer_comes(api: Api, broker: MemoryBroker) -> None:
    api.post(transaction(1, 95_000), transaction(2, 100, customer="c-2"))
    assert topics(broker) == {
        "transaction.received": 2,
        "decision.made": 2,
        "prediction.logged": 2,
        "alert.raised": 1,
    }
    assert ("plinth_decided", b"1") in broker.messages("transaction.received")[0].headers


def test_a_repeat_is_told_again_and_logged_once(api: Api, broker: MemoryBroker) -> None:
    batch = {"transactions": [transaction(number) for number in range(50)]}
    api.post(batch, batch, path="/v1/decisions/batch")
    api.post(batch, path="/v1/decisions/batch")
    assert topics(broker)["transaction.received"] == 50
    assert topics(broker)["decision.made"] == 150


def test_what_somebody_else_has_logged_is_not_logged_again(
    api: Api, broker: MemoryBroker, tmp_path: Path
) -> None:
    api.post(transaction(1))
    (decision,) = api.state.decisions.values()
    assert decision.logged
    other = Outbox(broker, tmp_path / "other", flush_seconds=0.01)
    Api(other, broker, api.state).post(transaction(1))
    other.stop()
    assert topics(broker)["transaction.received"] == 1


def test_a_repeat_of_what_was_never_logged_is_logged_however_late(api: Api, broker: MemoryBroker) -> None:
    api.post(transaction(1))
    api.state.decisions = {name: replace(one, logged=False) for name, one in api.state.decisions.items()}
    api.decider._logged.clear()  # as in a new process
    api.post(transaction(1))
    assert topics(broker)["transaction.received"] == 2


def test_another_payment_under_the_same_id_is_refused_and_told_to_nobody(
    api: Api, broker: MemoryBroker
) -> None:
    api.post(transaction(1))
    (refused,) = api.post(transaction(1, 99))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "transaction_id")
    batch = {"transactions": [transaction(2), transaction(1, customer="c-2"), transaction(1)]}
    (refused,) = api.post(batch, path="/v1/decisions/batch")
    assert [error["field"] for error in refused.json()["errors"]] == ["transactions[1].transaction_id"]
    told = [msgspec.json.decode(m.value) for m in broker.messages("decision.made")]
    assert [(one["transaction_id"], one["amount_minor"], one["customer_id"]) for one in told] == [
        ("tx-1", 5000, "c-1"),
        ("tx-2", 5000, "c-1"),
        ("tx-1", 5000, "c-1"),
    ]


def test_while_kafka_is_away_answers_say_so_and_events_are_kept(api: Api, broker: MemoryBroker) -> None:
    broker.go_away()
    (answer,) = api.post(transaction(1))
    assert (answer.status_code, answer.json()["degraded"]) == (200, ["kafka"])
    assert topics(broker)["decision.made"] == 0


def test_while_redis_is_away_rules_decide_and_the_answer_says_what_was_not_evaluated(api: Api) -> None:
    api.state.away = True
    (answer,) = api.post(transaction(1, 2_000_000))
    body = answer.json()
    assert (body["degraded"], body["models"], body["features_fingerprint"]) == (["features"], [], None)
    assert {rule["name"]: rule["outcome"] for rule in body["rules"]} == {
        "high_amount": "fired",
        "velocity_check": "not_evaluated",
        "location_anomaly": "not_evaluated",
        "new_merchant": "not_evaluated",
    }


def test_without_a_model_rules_decide_on_all_features(api: Api) -> None:
    api.serving = Serving(None)
    (answer,) = api.post(transaction(1))
    assert (answer.json()["degraded"], answer.json()["models"]) == (["model"], [])
    assert [rule["outcome"] for rule in answer.json()["rules"]] == ["passed", "passed", "passed", "fired"]


def test_a_batch_is_answered_in_its_order(api: Api) -> None:
    sent = [transaction(n, 100 * n, customer=f"c-{n}") for n in range(50)]
    (answer,) = api.post({"transactions": sent}, path="/v1/decisions/batch")
    assert [d["transaction_id"] for d in answer.json()["decisions"]] == [t.transaction_id for t in sent]
    assert [d["score"] for d in answer.json()["decisions"]] == [round(n / 1000, 6) for n in range(50)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"transaction_id":1}', "transaction_id"),
        (b"{}", "transaction_id"),
        (b'{"transactions":[]}', "transactions"),
        (b'{"transactions":[{"transaction_id":"a"}]}', "transactions"),
    ],
)
def test_a_wrong_field_is_named(api: Api, body: bytes, field: str) -> None:
    path = "/v1/decisions/batch" if b"transactions" in body else "/v1/decisions"
    (answer,) = api.post(body, path=path)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field) or field in answer.json()["detail"]
