"""The front application: what reaches a route, what is refused, and how."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import numpy as np
import pytest
from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from plinth_kit import problems, tracing
from plinth_kit.auth import KeyEntry, KeyRing, Principal, Role
from plinth_kit.health import Health
from plinth_kit.http import HotRoute, Request, Response, build, requires
from plinth_kit.problems import Problem
from plinth_kit.settings import Settings

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Amount(msgspec.Struct):
    amount_minor: int


class Item(BaseModel):
    amount_minor: int


class Basket(BaseModel):
    items: list[Item]


async def _echo(request: Request) -> Response:
    amount = problems.decode(msgspec.json.Decoder(Amount).decode, request.body)
    answer = {
        "amount": amount.amount_minor,
        "who": request.principal.name,
        "trace": request.trace.trace_id,
        "query": request.query,
        "agent": request.header("X-Agent"),
    }
    return Response(200, msgspec.json.encode(answer))


async def _fail(_: Request) -> Response:
    raise RuntimeError("internals")


async def _conflict(_: Request) -> Response:
    raise Problem(409, detail="changed meanwhile")


HOT = {
    ("POST", "/v1/echo"): HotRoute(_echo, Role.OPERATOR, "Echo an amount", Amount),
    ("POST", "/v1/fail"): HotRoute(_fail, Role.VIEWER),
    ("POST", "/v1/conflict"): HotRoute(_conflict, Role.VIEWER),
}


def _api() -> FastAPI:
    api = FastAPI(title="Things")

    @api.get("/v1/things/{number}")
    async def thing(number: int) -> int:
        return number

    @api.post("/v1/basket")
    def basket(basket: Basket) -> dict[str, Any]:
        trace = tracing.current.get()
        return {"items": len(basket.items), "trace": trace.trace_id if trace else None}

    @api.delete("/v1/things/{number}")
    async def delete(number: int, who: Annotated[Principal, Depends(requires(Role.ADMIN))]) -> str:
        return who.name

    @api.get("/v1/broken")
    async def broken() -> None:
        raise RuntimeError("internals")

    @api.get("/v1/refused")
    async def refused() -> None:
        raise Problem(409, "Stale", "read it again")

    return api


class App:
    """One application, its registry and its clock; `call` sends one request with a role's key."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.registry = CollectorRegistry()
        entries = [
            KeyEntry(role.name.lower(), role.name.lower(), hashlib.sha256(role.name.encode()).hexdigest())
            for role in Role
        ]
        self.asgi = build(
            service="things",
            settings=Settings(**settings),
            health=Health({"redis": lambda: "gone"}),
            registry=self.registry,
            keyring=KeyRing(entries),
            hot=HOT,
            api=_api(),
            clock=lambda: self.now,
            rng=np.random.default_rng(1),
        )

    def call(self, method: str, path: str, role: Role | None = Role.ADMIN, **options: Any) -> httpx.Response:
        headers = {**({"x-api-key": role.name} if role else {}), **options.pop("headers", {})}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def count(self, route: str, method: str, status: str) -> float | None:
        labels = {"route": route, "method": method, "status": status}
        return self.registry.get_sample_value("plinth_http_requests_total", labels)


@pytest.fixture
def app() -> App:
    return App()


def _is_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert len(body["trace_id"]) == 32
    return body


def test_a_hot_route_gets_body_query_headers_caller_and_trace(app: App) -> None:
    response = app.call(
        "POST",
        "/v1/echo?a=1&b=",
        json={"amount_minor": 5},
        headers={"traceparent": TRACEPARENT, "x-agent": "t"},
    )

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "amount": 5,
        "who": "admin",
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
        "query": {"a": "1", "b": ""},
        "agent": "t",
    }


def test_fastapi_routes_see_the_trace_even_in_threads(app: App) -> None:
    response = app.call(
        "POST", "/v1/basket", json={"items": [{"amount_minor": 1}]}, headers={"traceparent": TRACEPARENT}
    )

    assert response.json() == {"items": 1, "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert tracing.current.get() is None


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/things/1", "/nowhere", "/"])
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Basic ADMIN"}])
def test_without_a_known_key_everything_is_401(app: App, path: str, headers: dict[str, str]) -> None:
    response = app.call("POST", path, None, headers=headers)

    _is_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_bearer_token_is_a_key_too(app: App) -> None:
    response = app.call("GET", "/v1/things/7", None, headers={"authorization": "Bearer VIEWER"})

    assert response.json() == 7


def test_without_keys_nobody_gets_in_and_a_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "plinth_kit.http"):
        asgi = build(
            service="x",
            settings=Settings(),
            health=Health(),
            registry=CollectorRegistry(),
            keyring=KeyRing.load(None),
        )

    assert "PLINTH_API_KEYS_FILE" in caplog.text
    app = App()
    app.asgi = asgi
    _is_problem(app.call("GET", "/v1/things/1"), 401)
    assert app.call("GET", "/readyz", None).json() == {"ready": True}


@pytest.mark.parametrize(
    ("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 200), (Role.APPROVER, 200), (Role.ADMIN, 200)]
)
def test_a_hot_route_needs_its_role(app: App, role: Role, status: int) -> None:
    assert app.call("POST", "/v1/echo", role, json={"amount_minor": 1}).status_code == status


def test_a_fastapi_route_needs_its_role(app: App) -> None:
    body = _is_problem(app.call("DELETE", "/v1/things/1", Role.APPROVER), 403)

    assert "admin" in body["detail"]
    assert app.call("DELETE", "/v1/things/1", Role.ADMIN).json() == "admin"


def test_validation_names_the_fields(app: App) -> None:
    hot = _is_problem(app.call("POST", "/v1/echo", json={"amount_minor": "x"}), 422)
    assert hot["errors"] == [{"field": "amount_minor", "message": "Expected `int`, got `str`"}]

    items = [{"amount_minor": 1}, {"amount_minor": "hunter2"}, {}]
    cold = app.call("POST", "/v1/basket", json={"items": items})
    fields = [error["field"] for error in _is_problem(cold, 422)["errors"]]
    assert fields == ["body.items[1].amount_minor", "body.items[2].amount_minor"]
    assert "hunter2" not in cold.text


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/basket"])
def test_a_body_that_is_not_json_is_400_on_both_kinds_of_route(app: App, path: str) -> None:
    response = app.call("POST", path, content=b"{", headers={"content-type": "application/json"})

    _is_problem(response, 400)


@pytest.mark.parametrize(("path", "allow"), [("/v1/echo", "POST"), ("/v1/basket", "POST")])
def test_a_known_path_with_another_method_is_405(app: App, path: str, allow: str) -> None:
    response = app.call("PUT", path)

    _is_problem(response, 405)
    assert response.headers["allow"] == allow


def test_unknown_paths_and_cdn_docs_are_404(app: App) -> None:
    _is_problem(app.call("GET", "/nowhere"), 404)
    _is_problem(app.call("GET", "/redoc"), 404)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/fail"), ("GET", "/v1/broken")])
def test_an_unexpected_error_is_logged_and_not_told(
    app: App, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    response = app.call(method, path)

    _is_problem(response, 500)
    assert "internals" not in response.text
    assert "RuntimeError: internals" in caplog.text
    assert app.count(path, method, "500") == 1.0


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/conflict"), ("GET", "/v1/refused")])
def test_a_problem_raised_by_a_route_is_its_answer(app: App, method: str, path: str) -> None:
    _is_problem(app.call(method, path), 409)


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/basket"])
def test_a_large_body_is_413_declared_or_streamed(path: str) -> None:
    app = App(max_body_bytes=20)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b'{"a":1}'

    _is_problem(app.call("POST", path, content=b"x" * 21), 413)
    _is_problem(app.call("POST", path, None, content=b"x" * 21), 413)
    _is_problem(app.call("POST", path, content=chunks()), 413)
    assert app.call("POST", "/v1/echo", content=b'{"amount_minor": 12}').status_code == 200


def test_the_rate_limit_is_per_key_and_says_when_to_come_back() -> None:
    app = App(rate_limit_per_second=0.5, rate_limit_burst=1)

    assert app.call("GET", "/v1/things/1", Role.VIEWER).status_code == 200
    refused = app.call("GET", "/v1/things/1", Role.VIEWER)
    _is_problem(refused, 429)
    assert refused.headers["retry-after"] == "2"
    assert app.call("GET", "/v1/things/1", Role.ADMIN).status_code == 200
    app.now += 2.0
    assert app.call("GET", "/v1/things/1", Role.VIEWER).status_code == 200


def test_a_rate_of_zero_is_no_limit() -> None:
    app = App(rate_limit_per_second=0, rate_limit_burst=1)

    assert {app.call("GET", "/v1/things/1").status_code for _ in range(5)} == {200}


def test_metrics_use_route_templates(app: App) -> None:
    app.call("GET", "/v1/things/1")
    app.call("GET", "/v1/things/2")
    app.call("GET", "/scan/1")
    app.call("GET", "/scan/2")
    app.call("BREW", "/v1/echo")
    app.call("GET", "/livez", None)

    assert app.count("/v1/things/{number}", "GET", "200") == 2.0
    assert app.count("unmatched", "GET", "404") == 2.0
    assert app.count("/v1/echo", "OTHER", "405") == 1.0
    seconds = {"route": "/v1/things/{number}"}
    assert app.registry.get_sample_value("plinth_http_request_seconds_count", seconds) == 2.0
    assert 'route="/livez"' not in app.call("GET", "/metrics", None).text


def test_health_is_open_and_reports(app: App) -> None:
    assert app.call("GET", "/readyz", None).json() == {"ready": False, "waiting_for": ["redis: gone"]}


def test_docs_list_both_kinds_of_route_without_scripts_or_links_elsewhere(app: App) -> None:
    page = app.call("GET", "/docs", None)
    spec = app.call("GET", "/openapi.json", None).json()

    assert "/v1/echo" in page.text
    assert "/v1/things/{number}" in page.text
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "style-src" in page.headers["content-security-policy"]
    schema = spec["paths"]["/v1/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Amount"}
    assert spec["components"]["schemas"]["Amount"]["required"] == ["amount_minor"]


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/things/1", "/livez", "/nowhere"])
def test_every_answer_has_the_security_headers_once(app: App, path: str) -> None:
    names = [name for name, _ in app.call("GET", path).headers.multi_items()]

    for name in ("x-content-type-options", "x-frame-options", "content-security-policy"):
        assert names.count(name) == 1


def test_a_client_that_goes_away_gets_no_answer_and_is_counted(app: App) -> None:
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/echo",
        "headers": [(b"x-api-key", b"ADMIN")],
        "query_string": b"",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app.asgi(scope, receive, send))  # type: ignore[arg-type]

    assert sent == []
    assert app.count("/v1/echo", "POST", "499") == 1.0


def test_no_source_builds_on_starlettes_slow_middleware() -> None:
    kit = Path(problems.__file__).parent

    assert [path.name for path in kit.rglob("*.py") if "BaseHTTPMiddleware" in path.read_text()] == []


def test_a_path_is_exact_so_that_nothing_redirects() -> None:
    assert App().call("POST", "/v1/basket/").status_code == 404


def test_a_content_length_too_long_to_be_a_number_is_too_large() -> None:
    answer = App().call("POST", "/v1/echo", headers={"content-length": "9" * 5_000}, content=b"{}")
    assert answer.status_code == 413
