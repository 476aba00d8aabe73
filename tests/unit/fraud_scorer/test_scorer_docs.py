"""What the docs say of each route: who may call it, what it answers, and how it refuses."""

from __future__ import annotations

from typing import Any, cast

import pytest
from fakes_scorer import FEATURES, START, policy
from prometheus_client import CollectorRegistry

from fraud_scorer import app, cases_api
from fraud_scorer.core.answer import Answers
from fraud_scorer.core.policy import Judge
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from plinth_kit import docs

KEYED = {"401", "429"}
BODY = {"400", "413", "422"}
CHANGE = KEYED | BODY | {"403", "404", "409", "503"}
ROUTES = {
    "GET /v1/cases": ("viewer", "CasePage", KEYED | {"422", "503"}),
    "GET /v1/cases/summary": ("viewer", "Summary", KEYED | {"503"}),
    "GET /v1/cases/{case_id}": ("viewer", "CaseDetail", KEYED | {"404", "422", "503"}),
    "POST /v1/cases/{case_id}/assign": ("operator", "Case", CHANGE),
    "POST /v1/cases/{case_id}/notes": ("operator", "Case", CHANGE),
    "POST /v1/cases/{case_id}/escalate": ("operator", "Case", CHANGE),
    "POST /v1/cases/{case_id}/resolve": ("operator", "Case", CHANGE),
    "POST /v1/cases/{case_id}/reopen": ("operator", "Case", CHANGE),
    "GET /v1/decisions/{some_id}": ("viewer", "Recorded", KEYED | {"404", "422", "503"}),
    "POST /v1/labels": ("operator", "LabelOut", CHANGE - {"409"}),
    "POST /v1/decisions": ("operator", "Answer", CHANGE - {"404", "409"}),
    "POST /v1/decisions/batch": ("operator", "BatchOut", CHANGE - {"404", "409"}),
}


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """Neither a store nor a broker is needed to describe the routes."""
    nothing, registry = cast(Any, None), CollectorRegistry()
    labels = LabelMetrics(registry)
    cases = cases_api.router(nothing, nothing, CaseMetrics(registry), labels, lambda: START)
    answers = Answers(Judge(policy(), FEATURES.names), len(FEATURES.request))
    api = app.api(nothing, nothing, labels, [cases])
    return docs.openapi("fraud-scorer", app.hot_routes(nothing, answers), api)


def operations(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_described(spec: dict[str, Any]) -> None:
    assert operations(spec).keys() == ROUTES.keys()


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_says_who_may_call_it_what_it_answers_and_how_it_refuses(
    spec: dict[str, Any], route: str
) -> None:
    role, answer, refusals = ROUTES[route]
    operation = operations(spec)[route]
    assert operation["x-role"] == role
    assert operation["description"].endswith(f"Needs the role {role} or above.")
    (good,) = [said for status, said in operation["responses"].items() if status.startswith("2")]
    assert good["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{answer}"}
    assert {status for status in operation["responses"] if not status.startswith("2")} == refusals


def test_every_reference_leads_somewhere_and_problems_are_problems(spec: dict[str, Any]) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [found for value in part.values() for found in references(value)]
        return [found for value in part for found in references(value)] if isinstance(part, list) else []

    for reference in references(spec):
        _, _, kind, name = reference.split("/")
        assert name in spec["components"][kind], reference
    problem = spec["components"]["responses"]["NotFound"]["content"]
    assert problem == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    assert "HTTPValidationError" not in spec["components"]["schemas"]


def test_the_page_links_what_it_refers_to(spec: dict[str, Any]) -> None:
    page = docs.page(spec)
    assert '<a href="#schemas-CasePage">' in page
    assert '<details id="schemas-CasePage">' in page
    assert '<details id="responses-NotFound">' in page
    assert "<small>operator</small>" in page
