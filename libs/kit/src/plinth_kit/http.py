"""The HTTP face of a service: one pure ASGI application in front of raw hot routes and FastAPI.

Order: health, metrics and docs (open to all) → declared size → key → rate limit → trace → route → role.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from plinth_kit import docs, fastapi_adapter, tracing
from plinth_kit import health as health_routes
from plinth_kit.asgi import (
    ASGIApp,
    BodyTooLargeError,
    ClientDisconnectedError,
    HotRoute,
    Outgoing,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    read_body,
    replay,
)
from plinth_kit.auth import KeyRing, Principal, Role, key_of
from plinth_kit.fastapi_adapter import answers, requires
from plinth_kit.health import Health
from plinth_kit.http_metrics import UNMATCHED, HttpMetrics
from plinth_kit.problems import Problem, problem_response
from plinth_kit.ratelimit import RateLimiter, TokenBucket
from plinth_kit.settings import Settings
from plinth_kit.tracing import ByteSource, TraceContext

__all__ = ["HotRoute", "Request", "Response", "Role", "answers", "build", "requires"]

logger = logging.getLogger(__name__)

_MAX_LENGTH_DIGITS = 20
"""Of a content-length; the interpreter refuses to convert much longer numbers."""


def build(
    *,
    service: str,
    settings: Settings,
    health: Health,
    registry: CollectorRegistry,
    keyring: KeyRing,
    hot: Mapping[tuple[str, str], HotRoute] | None = None,
    api: FastAPI | None = None,
    clock: Callable[[], float] = time.monotonic,
    rng: ByteSource = tracing.SYSTEM,
) -> ASGIApp:
    """The application of a service.

    `hot` maps (method, path) to a route; its paths are exact and take precedence over `api`. Any valid
    key reaches the routes of `api`; they ask for more with `requires(role)`, and find who calls in
    `scope["plinth.principal"]`, `["plinth.role"]` and `["plinth.trace"]`. `clock` counts seconds.
    """
    if not keyring:
        logger.warning("no API keys: every route that needs one answers 401; set PLINTH_API_KEYS_FILE")
    if api is not None:
        fastapi_adapter.install(api)
    limited = settings.rate_limit_per_second > 0
    bucket = TokenBucket(settings.rate_limit_per_second, settings.rate_limit_burst)
    return _Application(
        health=health,
        registry=registry,
        keyring=keyring,
        limiter=RateLimiter(bucket) if limited else None,
        max_body=settings.max_body_bytes,
        hot=dict(hot or {}),
        api=api,
        docs_pages=docs.Docs(service, hot or {}, api),
        clock=clock,
        rng=rng,
    )


class _Application:
    def __init__(
        self,
        *,
        health: Health,
        registry: CollectorRegistry,
        keyring: KeyRing,
        limiter: RateLimiter | None,
        max_body: int,
        hot: Mapping[tuple[str, str], HotRoute],
        api: FastAPI | None,
        docs_pages: docs.Docs,
        clock: Callable[[], float],
        rng: ByteSource,
    ) -> None:
        self._health = health
        self._registry = registry
        self._keyring = keyring
        self._limiter = limiter
        self._max_body = max_body
        self._hot = hot
        self._hot_methods = _methods_by_path(hot)
        self._api = api
        self._docs = docs_pages
        self._clock = clock
        self._rng = rng
        self._metrics = HttpMetrics(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, Outgoing(send))
        elif scope["type"] == "lifespan":
            if self._api is not None:
                await self._api(scope, receive, send)
            else:
                await health_routes.lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Outgoing) -> None:
        method, path = scope["method"], scope["path"]
        if path in health_routes.PATHS:
            await send.answer(await health_routes.respond(method, path, self._health, self._registry))
            return
        begun = self._clock()
        headers = dict(scope["headers"])
        parent = tracing.parse(headers.get(b"traceparent"))
        trace = parent.child(self._rng) if parent else tracing.new(self._rng)
        token = tracing.current.set(trace)
        route = self._hot.get((method, path))
        try:
            if route is not None:
                await self._hot_route(route, scope, receive, send, headers, trace)
            else:
                await self._other_route(scope, receive, send, headers, trace)
        except Exception as error:
            response = _failure(error, method, path)
            if response is not None and not send.status:
                await send.answer(response)
        finally:
            tracing.current.reset(token)
            name = path if route is not None else self._route_name(scope)
            self._metrics.observe(name, method, send.status or 499, self._clock() - begun)

    async def _hot_route(
        self,
        route: HotRoute,
        scope: Scope,
        receive: Receive,
        send: Outgoing,
        headers: dict[bytes, bytes],
        trace: TraceContext,
    ) -> None:
        principal = self._admit(headers)
        fastapi_adapter.ensure(principal, route.role)
        body = await read_body(receive, self._max_body)
        request = Request(body, headers, scope["query_string"], trace, principal)
        await send.answer(await route.handler(request))

    async def _other_route(
        self, scope: Scope, receive: Receive, send: Outgoing, headers: dict[bytes, bytes], trace: TraceContext
    ) -> None:
        method, path = scope["method"], scope["path"]
        if path in docs.PATHS and method == "GET":
            await send.answer(self._docs.respond(path))
            return
        principal = self._admit(headers)
        if path in self._hot_methods:
            raise Problem(405, headers=[(b"allow", self._hot_methods[path])])
        elif self._api is None:
            raise Problem(404)
        else:
            body = await read_body(receive, self._max_body)
            scope["plinth.principal"] = principal
            scope["plinth.role"] = principal.role
            scope["plinth.trace"] = trace
            await self._api(scope, replay(body, receive), send)

    def _admit(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Who sends the request, if its size, key and rate are in order."""
        self._check_declared_size(headers)
        principal = self._identify(headers)
        self._check_rate(principal)
        return principal

    def _check_declared_size(self, headers: Mapping[bytes, bytes]) -> None:
        declared = headers.get(b"content-length")
        if declared is None:
            return
        if not declared.isdigit():
            raise Problem(400, detail="content-length is not a number")
        if len(declared) > _MAX_LENGTH_DIGITS or int(declared) > self._max_body:
            raise BodyTooLargeError

    def _identify(self, headers: Mapping[bytes, bytes]) -> Principal:
        key = key_of(headers)
        principal = self._keyring.find(key) if key else None
        if principal is None:
            detail = "the key is not known" if key else "send a key as X-API-Key or as a bearer token"
            raise Problem(401, detail=detail, headers=[(b"www-authenticate", b"Bearer")])
        return principal

    def _check_rate(self, principal: Principal) -> None:
        if self._limiter is None:
            return
        wait = self._limiter.admit(principal.name, self._clock())
        if wait > 0.0:
            after = b"%d" % max(1, math.ceil(wait))
            raise Problem(429, detail="too many requests with this key", headers=[(b"retry-after", after)])

    def _route_name(self, scope: Scope) -> str:
        path: str = scope["path"]
        if path in self._hot_methods or path in docs.PATHS:
            return path
        name: str | None = getattr(scope.get("route"), "path", None)
        return name or UNMATCHED


def _failure(error: Exception, method: str, path: str) -> Response | None:
    if isinstance(error, ClientDisconnectedError):
        return None
    if isinstance(error, Problem):
        return problem_response(error)
    if isinstance(error, BodyTooLargeError):
        return problem_response(Problem(413, detail="the request body is too large"))
    logger.error("unexpected error in %s %s", method, path, exc_info=error)
    return problem_response(Problem(500))


def _methods_by_path(hot: Mapping[tuple[str, str], HotRoute]) -> dict[str, bytes]:
    paths: dict[str, list[str]] = {}
    for method, path in hot:
        paths.setdefault(path, []).append(method)
    return {path: ", ".join(sorted(methods)).encode() for path, methods in paths.items()}
