import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from plinth_kit import health as health_routes
from plinth_kit.health import Health, in_background


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


def test_what_is_degraded_is_said_and_changes_no_status() -> None:
    health = Health({"redis": lambda: None})
    health.add_degraded("kafka", lambda: "away, 3 events on disk")
    response = _get(health, "/readyz")
    assert response.status == 200
    assert json.loads(response.body) == {"ready": True, "degraded": ["kafka: away, 3 events on disk"]}

    health.add("redis", lambda: "gone")
    response = _get(health, "/readyz")
    assert response.status == 503
    assert json.loads(response.body) == {
        "ready": False,
        "waiting_for": ["redis: gone"],
        "degraded": ["kafka: away, 3 events on disk"],
    }


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


def test_a_check_in_the_background_holds_nobody_up_and_says_that_it_hangs() -> None:
    may = threading.Event()
    asked = in_background(lambda: None if may.wait(30) else "late", every_s=0.01)
    assert asked() == "not asked yet"
    wait_until(lambda: (asked() or "").startswith("no answer"))
    may.set()
    wait_until(lambda: asked() is None)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
