"""The routes of cases as an investigator's client meets them, over a real Postgres."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fraud_cases import HOUR, NOW, Clock, decision, ids
from prometheus_client import CollectorRegistry

from fraud_scorer import app, cases_api
from fraud_scorer.cases import Cases
from fraud_scorer.core.cases import EscalationPolicy
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, LabelObserved, Outcome
from plinth_kit import http
from plinth_kit.auth import KeyEntry, KeyRing, Role
from plinth_kit.health import Health
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.problems import Problem
from plinth_kit.settings import Settings


class Api:
    """The service's ordinary routes, its Kafka and its clock. A key is the name of its role."""

    def __init__(self, ledger: Ledger, outbox: Outbox) -> None:
        numbers = itertools.count(1)
        self.clock, self.registry = Clock(), CollectorRegistry()
        self.sent: list[Outgoing] = []
        self.kafka_is_away = False
        self.cases = Cases(ledger, EscalationPolicy(), lambda: f"case-{next(numbers)}")
        labels = LabelMetrics(self.registry)
        routes = cases_api.router(self.cases, self.publish, CaseMetrics(self.registry), labels, self.clock)
        digests = {role.name.lower(): hashlib.sha256(role.name.lower().encode()).hexdigest() for role in Role}
        self.asgi = http.build(
            service="fraud-scorer",
            settings=Settings(rate_limit_per_second=0),
            health=Health(),
            registry=self.registry,
            keyring=KeyRing([KeyEntry(name, name, digest) for name, digest in digests.items()]),
            api=app.api(ledger, outbox, labels, [routes]),
        )

    def publish(self, events: Sequence[Outgoing]) -> None:
        if self.kafka_is_away:
            raise Problem(503)
        self.sent += events

    def call(self, method: str, path: str, role: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                headers = {"content-type": "application/json"} | ({"x-api-key": role} if role else {})
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def get(self, path: str, role: str = "viewer", **query: Any) -> httpx.Response:
        return self.call("GET", f"/v1/cases{path}", role, params=query)

    def post(self, path: str, role: str = "operator", **body: Any) -> httpx.Response:
        return self.call("POST", f"/v1/cases{path}", role, content=json.dumps(body))

    def opened(self, *decisions: DecisionMade) -> str:
        (case,) = self.cases.record(decisions, self.clock()).opened
        return case.case_id

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"plinth_fraud_{name}", labels)


@pytest.fixture
def api(ledger: Ledger, tmp_path: Path) -> Iterator[Api]:
    outbox = Outbox(MemoryBroker(), tmp_path)
    yield Api(ledger, outbox)
    outbox.stop()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    return body


def wrong_fields(answer: httpx.Response) -> list[str]:
    return [error["field"] for error in problem(answer, 422)["errors"]]


def test_a_case_from_the_queue_to_its_labels(api: Api) -> None:
    case_id = api.opened(decision(1), decision(2, Outcome.MONITOR, score=0.4))
    (queued,) = api.get("", status="open").json()["cases"]
    assert (queued["case_id"], queued["tier"], queued["status"], queued["version"]) == (case_id, 2, "open", 1)

    assigned = api.post(f"/{case_id}/assign", assignee="ana", version=1).json()
    assert (assigned["status"], assigned["assignee"], assigned["version"]) == ("investigating", "ana", 2)
    api.post(f"/{case_id}/notes", text="The customer says: only the first was not mine.")
    api.clock.time = NOW + HOUR
    resolved = api.post(
        f"/{case_id}/resolve", resolution="fraud", transactions={"tx-2": False}, note="refunded", version=3
    )
    assert resolved.status_code == 200, resolved.text
    assert (resolved.json()["status"], resolved.json()["resolution"]) == ("resolved", "mixed")

    labels = [codec.decoder(LabelObserved)(one.value) for one in api.sent]
    assert {(one.request_id, one.label, one.source, one.known_ts) for one in labels} == {
        ("tx-1", 1.0, "analyst", NOW + HOUR),
        ("tx-2", 0.0, "analyst", NOW + HOUR),
    }
    assert {(one.topic, one.key) for one in api.sent} == {("label.observed", b"c-1")}
    detail = api.get(f"/{case_id}").json()
    assert detail["case"] == resolved.json()
    assert {one["transaction_id"]: (one["label"], one["fraud"]) for one in detail["decisions"]} == {
        "tx-1": (1.0, True),
        "tx-2": (0.0, False),
    }
    assert [one["text"] for one in detail["notes"]] == [
        "The customer says: only the first was not mine.",
        "refunded",
    ]
    assert [(one["who"], one["what"]) for one in detail["history"]] == [
        ("fraud-scorer", "opened"),
        ("operator", "assigned"),
        ("operator", "noted"),
        ("operator", "resolved"),
        ("operator", "noted"),
    ]
    assert api.get("/summary").json() == {
        "cases": [{"status": "resolved", "tier": 2, "cases": 1, "overdue": 0}],
        "overdue": 0,
        "median_seconds_to_resolve": 3600.0,
    }
    assert api.metric("cases_resolved_total", resolution="mixed") == 1
    assert api.metric("case_resolution_seconds_sum") == 3600
    assert api.metric("labels_total", outcome="block", fraud="true") == 1


def test_a_resolution_that_kafka_did_not_get_is_sent_again_and_counts_once(api: Api) -> None:
    case_id = api.opened(decision(1))
    api.kafka_is_away = True
    problem(api.post(f"/{case_id}/resolve", resolution="genuine", version=1), 503)
    assert api.get(f"/{case_id}").json()["case"]["status"] == "resolved"
    api.kafka_is_away = False
    for _ in range(2):
        api.clock.time += HOUR
        answer = api.post(f"/{case_id}/resolve", resolution="genuine", version=1)
        assert (answer.status_code, answer.json()["resolved_ts"]) == (200, "2026-03-01T12:00:00Z")
    assert len(set(ids(api.sent))) == 1
    assert len(api.sent) == 2
    assert api.metric("cases_resolved_total", resolution="genuine") == 1
    assert api.metric("labels_total", outcome="block", fraud="false") == 1


def test_a_resolution_labels_at_the_time_when_it_became_known(api: Api) -> None:
    case_id = api.opened(decision(1))
    answer = api.post(f"/{case_id}/resolve", resolution="fraud", observed_at="2018-08-08T00:00:00+02:00")
    assert answer.json()["resolved_ts"] == "2026-03-01T12:00:00Z"
    known = datetime(2018, 8, 7, 22, tzinfo=UTC)
    (entry,) = [e for e in api.get(f"/{case_id}").json()["history"] if e["what"] == "resolved"]
    assert datetime.fromisoformat(entry["details"]["observed_at"]) == known
    for again in ({}, {"observed_at": "2018-08-09T00:00:00Z"}):
        api.post(f"/{case_id}/resolve", resolution="fraud", **again)
    labels = [codec.decoder(LabelObserved)(event.value) for event in api.sent]
    assert len(labels) == 3
    assert {(label.label_id, label.known_ts) for label in labels} == {(labels[0].label_id, known)}


@pytest.mark.parametrize("observed_at", ["2018-08-08T00:00:00", "2199-01-01T00:00:00Z", "yesterday"])
def test_a_time_at_which_nothing_can_have_become_known_is_refused(api: Api, observed_at: str) -> None:
    case_id = api.opened(decision(1))
    answer = api.post(f"/{case_id}/resolve", resolution="fraud", observed_at=observed_at)
    assert wrong_fields(answer) == ["body.observed_at"]


def test_a_case_is_escalated_to_the_top_resolved_by_an_approver_and_reopened(api: Api) -> None:
    case_id = api.opened(decision(1))
    assert api.post(f"/{case_id}/escalate", reason="five more cards of that shop").json()["tier"] == 3
    assert "the highest" in problem(api.post(f"/{case_id}/escalate", reason="more"), 409)["detail"]
    assert "approver" in problem(api.post(f"/{case_id}/resolve", resolution="fraud"), 403)["detail"]
    assert api.post(f"/{case_id}/resolve", "approver", resolution="fraud").json()["status"] == "resolved"
    assert "reopen" in problem(api.post(f"/{case_id}/assign", assignee="ana"), 409)["detail"]
    reopened = api.post(f"/{case_id}/reopen", reason="the shop called").json()
    assert (reopened["status"], reopened["resolution"]) == ("investigating", None)
    assert "not resolved" in problem(api.post(f"/{case_id}/reopen", reason="again"), 409)["detail"]
    assert api.post(f"/{case_id}/assign", assignee=None).status_code == 200


ACTS: list[tuple[str, dict[str, Any]]] = [
    ("assign", {"assignee": "ana"}),
    ("notes", {"text": "seen"}),
    ("escalate", {"reason": "looks bad"}),
    ("resolve", {"resolution": "fraud"}),
    ("reopen", {"reason": "a mistake"}),
]


@pytest.mark.parametrize(("act", "body"), ACTS)
def test_every_act_needs_an_operator_a_case_and_its_present_version(
    api: Api, act: str, body: dict[str, Any]
) -> None:
    case_id = api.opened(decision(1))
    assert api.call("POST", f"/v1/cases/{case_id}/{act}", "", json=body).status_code == 401
    problem(api.post(f"/{case_id}/{act}", "viewer", **body), 403)
    assert "case-9" in problem(api.post(f"/case-9/{act}", **body), 404)["detail"]
    stale = problem(api.post(f"/{case_id}/{act}", **body, version=7), 409)
    assert "version 1, not 7" in stale["detail"]
    assert wrong_fields(api.post(f"/{case_id}/{act}", **body, version=0)) == ["body.version"]
    assert wrong_fields(api.post(f"/{case_id}/{act}", **body, wrong=1)) == ["body.wrong"]
    assert wrong_fields(api.post(f"/{case_id}/{act}")) == [f"body.{next(iter(body))}"]
    assert problem(api.call("POST", f"/v1/cases/{case_id}/{act}", "operator", content=b"{"), 400)
    assert api.get(f"/{case_id}").json()["case"]["version"] == 1


@pytest.mark.parametrize("path", ["", "/summary", "/case-1"])
def test_looking_needs_a_key(api: Api, path: str) -> None:
    assert api.get(path, role="").status_code == 401


def test_a_case_that_there_is_not(api: Api) -> None:
    assert "case-9" in problem(api.get("/case-9"), 404)["detail"]


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("assign", {"assignee": ""}, "body.assignee"),
        ("assign", {"assignee": "ana maria"}, "body.assignee"),
        ("assign", {"assignee": "a" * 65}, "body.assignee"),
        ("assign", {"assignee": "ana\u0000"}, "body.assignee"),
        ("assign", {"assignee": 7}, "body.assignee"),
        ("notes", {"text": ""}, "body.text"),
        ("notes", {"text": " \n"}, "body.text"),
        ("notes", {"text": "a\u0000b"}, "body.text"),
        ("notes", {"text": "\ud800"}, "body.text"),
        ("notes", {"text": "x" * 4_001}, "body.text"),
        ("notes", {"text": "x", "version": "1"}, "body.version"),
        ("notes", {"text": "x", "version": 10**30}, "body.version"),
        ("escalate", {"reason": "x" * 501}, "body.reason"),
        ("resolve", {"resolution": "mixed"}, "body.resolution"),
        ("resolve", {"resolution": "fraud", "note": ""}, "body.note"),
        ("resolve", {"resolution": "fraud", "transactions": {"tx-1": "yes"}}, "body.transactions.tx-1"),
        ("resolve", {"resolution": "fraud", "transactions": {"tx-9": True}}, "body.transactions.tx-9"),
        ("resolve", {"resolution": "fraud", "transactions": ["tx-1"]}, "body.transactions"),
        (
            "resolve",
            {"resolution": "fraud", "transactions": {f"tx-{n}": True for n in range(1_001)}},
            "body.transactions",
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_done(
    api: Api, act: str, body: dict[str, Any], field: str
) -> None:
    case_id = api.opened(decision(1))
    assert wrong_fields(api.post(f"/{case_id}/{act}", **body)) == [field]
    assert api.get(f"/{case_id}").json()["case"]["version"] == 1


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("status", "closed"),
        ("tier", "0"),
        ("tier", "4"),
        ("assignee", "ana\u0000"),
        ("customer_id", "x" * 65),
        ("overdue", "perhaps"),
        ("limit", "0"),
        ("limit", "201"),
        ("cursor", "é"),
        ("cursor", "bm9uc2Vuc2U"),
        ("cursor", "WzksIjIwMjYtMDMtMDFUMTI6MDA6MDBaIiwiYyJd"),  # tier 9
        ("cursor", "WzEsIjIwMjYtMDMtMDFUMTI6MDA6MDAiLCJjIl0"),  # no time zone
        ("cursor", "WzEsIjIwMjYtMDMtMDFUMTI6MDA6MDBaIiwiXHUwMDAwIl0"),  # NUL in the id
        ("cursor", "x" * 257),
    ],
)
def test_a_wrong_query_is_named(api: Api, query: str, value: str) -> None:
    assert wrong_fields(api.get("", **{query: value})) == [f"query.{query}"]


def test_the_queue_comes_in_pages_and_takes_filters(api: Api) -> None:
    for n in range(7):
        api.opened(decision(n, Outcome.MONITOR, f"c-{n}", amount_minor=60_000 if n % 2 else 100))
    api.post("/case-2/assign", assignee="ana")
    seen, query = [], {"limit": 3}
    for size in (3, 3, 1):
        page = api.get("", **query).json()
        assert len(page["cases"]) == size
        seen += [case["case_id"] for case in page["cases"]]
        query["cursor"] = page["next_cursor"]
    assert query["cursor"] is None
    assert seen == [f"case-{n}" for n in (2, 4, 6, 1, 3, 5, 7)], "tier 2 first"

    def found(**query: Any) -> list[str]:
        return [case["case_id"] for case in api.get("", **query).json()["cases"]]

    assert found(assignee="ana") == found(status="investigating") == ["case-2"]
    assert found(customer_id="c-6") == ["case-7"]
    assert found(tier=1, limit=1) == ["case-1"]
    assert found(overdue=True) == []
    api.clock.time = NOW + 5 * HOUR
    assert found(overdue=True) == ["case-2", "case-4", "case-6"]


def test_a_label_by_hand_and_a_resolution_revise_each_other(api: Api) -> None:
    case_id = api.opened(decision(1))
    body = {"transaction_id": "tx-1", "label": True, "observed_at": (NOW - HOUR).isoformat()}
    assert api.call("POST", "/v1/labels", "operator", json=body).status_code == 202
    api.post(f"/{case_id}/resolve", resolution="genuine")
    (event,) = [codec.decoder(LabelObserved)(one.value) for one in api.sent]
    assert (event.label, event.previous_label) == (0.0, 1.0)
