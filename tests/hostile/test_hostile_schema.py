"""Requests made from the service's own OpenAPI document: none makes a server error."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hostile_service import Failures, Service
from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = 40


@pytest.mark.timeout(1_800)
def test_no_documented_request_makes_a_server_error(
    service: Service, failures: Failures, how_many: int
) -> None:
    document = schemathesis.openapi.from_asgi("/openapi.json", service.asgi)
    statuses = Counter[int]()
    for result in document.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=max(EXAMPLES, how_many // 2_000),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def attack(case: schemathesis.Case) -> None:
            answer = case.call(headers={"x-api-key": "admin"})
            assert answer.status_code < 500, (case, answer.text, failures.texts)
            statuses[answer.status_code] += 1

        attack()
    assert failures.texts == []
    assert {200, 422} <= statuses.keys()
