"""A case on the running platform, from a blocked payment to the label that its resolution gives."""

from __future__ import annotations

from typing import Any

import httpx
from fixtures_platform import HIGH_AMOUNT_MINOR, RunningPlatform, find_decision, new_transaction, wait_until
from kafka_tail import Tail


def find_case(client: httpx.Client, transaction: dict[str, Any]) -> dict[str, Any] | None:
    """The case of a transaction's card, or None while there is none."""
    answer = client.get("/v1/cases", params={"customer_id": transaction["customer_id"]}).raise_for_status()
    cases: list[dict[str, Any]] = answer.json()["cases"]
    return cases[0] if cases else None


def test_a_blocked_payment_opens_a_case_whose_resolution_labels_it(
    platform: RunningPlatform, api: httpx.Client, tail: Tail
) -> None:
    transaction = new_transaction(amount_minor=HIGH_AMOUNT_MINOR)
    decision = api.post("/v1/decisions", json=transaction).json()
    assert decision["outcome"] == "block"
    case = wait_until(lambda: find_case(api, transaction), "the case is there")
    url = f"/v1/cases/{case['case_id']}"
    assert (case["status"], case["tier"], case["blocks"]) == ("open", 2, 1)

    assigned = api.post(f"{url}/assign", json={"assignee": "ana", "version": case["version"]}).json()
    assert (assigned["status"], assigned["assignee"]) == ("investigating", "ana")
    assert api.post(f"{url}/escalate", json={"reason": "one of a series"}).json()["tier"] == 3
    alert = tail.json("alert.raised", alert_id=f"case-{case['case_id']}-tier-3")
    assert (alert["kind"], alert["severity"]) == ("fraud.case_escalated", "critical")
    assert alert["entity_id"] == transaction["customer_id"]

    ruling = {"resolution": "fraud", "note": "card reported stolen"}
    assert api.post(f"{url}/resolve", json=ruling).status_code == httpx.codes.FORBIDDEN
    with platform.client("approver") as approver:
        resolved = approver.post(f"{url}/resolve", json=ruling).json()
    assert (resolved["status"], resolved["resolution"]) == ("resolved", "fraud")
    label = tail.json("label.observed", request_id=transaction["transaction_id"])
    assert (label["prediction_id"], label["label"], label["source"]) == (
        decision["decision_id"],
        1.0,
        "analyst",
    )
    recorded = find_decision(api, decision["decision_id"])
    assert recorded is not None
    assert (recorded["label"], recorded["label_source"]) == (1.0, "analyst")
    assert [one["fraud"] for one in api.get(url).json()["decisions"]] == [True]


def test_an_approved_payment_opens_none(api: httpx.Client) -> None:
    approved, blocked = new_transaction(), new_transaction(amount_minor=HIGH_AMOUNT_MINOR)
    assert api.post("/v1/decisions", json=approved).json()["outcome"] == "approve"
    api.post("/v1/decisions", json=blocked)
    wait_until(lambda: find_decision(api, approved["transaction_id"]), "the approval is recorded")
    wait_until(lambda: find_case(api, blocked), "the case of the block is there")
    assert find_case(api, approved) is None
