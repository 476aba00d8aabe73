import asyncio
import json
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from plinth_kit import health as health_routes
from plinth_kit.health import Health


def _broken() -> str | None:
    raise ZeroDivisionError("secret detail")


def _get(health: Health, path: str, registry: CollectorRegistry | None = None) -> Any:
    return asyncio.run(health_routes.respond("GET", path, health, registry or CollectorRegistry()))


def test_readiness_names_all_that_is_missing() -> None:
    health = Health({"redis": lambda: "connection refused", "model": lambda: None})
    health.add("kafka", _broken)

    response = _get(health, "/readyz")

    assert response.status == 503
    assert json.loads(response.body) == {
        "ready": False,
        "waiting_for": ["redis: connection refused", "kafka: check failed with ZeroDivisionError"],
    }


def test_ready_and_alive() -> None:
    health = Health({"redis": lambda: None})

    assert (_get(health, "/readyz").status, json.loads(_get(health, "/readyz").body)) == (
        200,
        {"ready": True},
    )
    assert (_get(health, "/livez").status, json.loads(_get(health, "/livez").body)) == (200, {"alive": True})


def test_what_is_not_ready_is_still_alive_unless_a_liveness_check_objects() -> None:
    health = Health({"redis": lambda: "gone"})
    assert _get(health, "/livez").status == 200

    health.add_liveness("loop", lambda: "stuck")
    response = _get(health, "/livez")
    assert response.status == 503
    assert json.loads(response.body) == {"alive": False, "because": ["loop: stuck"]}


def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("plinth_things_total", "Things", registry=registry).inc(2)

    response = _get(Health(), "/metrics", registry)

    assert b"plinth_things_total 2.0" in response.body
    assert response.content_type.startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/readyz", 405), ("HEAD", "/readyz", 200), ("GET", "/other", 404), ("GET", "/livez", 200)],
)
def test_the_bare_application(method: str, path: str, status: int) -> None:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=health_routes.app(Health(), CollectorRegistry()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path)

    response = asyncio.run(call())

    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
