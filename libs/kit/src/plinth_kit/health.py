"""Health and metrics: `/livez`, `/readyz` and `/metrics`, open to everybody, for services and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from plinth_kit.asgi import ASGIApp, Outgoing, Receive, Response, Scope, Send
from plinth_kit.problems import Problem, problem_response

Check = Callable[[], str | None]
"""Returns None if all is well, else what is missing. Runs in a thread; may take some milliseconds."""

PATHS = frozenset({"/livez", "/readyz", "/metrics"})


class Health:
    """Named checks. Readiness says whether work can be done now, liveness whether only a restart helps."""

    def __init__(
        self, checks: Mapping[str, Check] | None = None, *, liveness: Mapping[str, Check] | None = None
    ) -> None:
        self._checks = dict(checks or {})
        self._liveness = dict(liveness or {})

    def add(self, name: str, check: Check) -> None:
        """Add or replace a readiness check."""
        self._checks[name] = check

    def add_liveness(self, name: str, check: Check) -> None:
        """Add or replace a liveness check."""
        self._liveness[name] = check

    def waiting_for(self) -> list[str]:
        """What readiness lacks, e.g. `["redis: connection refused"]`; empty when ready."""
        return _failing(self._checks)

    def dead_because(self) -> list[str]:
        """Why only a restart helps; empty while alive."""
        return _failing(self._liveness)


def app(health: Health, registry: CollectorRegistry) -> ASGIApp:
    """An application with the three routes alone, for workers that serve nothing else."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            response = await respond(scope["method"], scope["path"], health, registry)
            await Outgoing(send).answer(response)

    return serve


async def respond(method: str, path: str, health: Health, registry: CollectorRegistry) -> Response:
    """The answer of a health route; a problem for other paths and methods."""
    if path not in PATHS:
        return problem_response(Problem(404))
    if method not in ("GET", "HEAD"):
        return problem_response(Problem(405, headers=[(b"allow", b"GET, HEAD")]))
    if path == "/metrics":
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(200, text, CONTENT_TYPE_LATEST)
    if path == "/readyz":
        waiting = await asyncio.to_thread(health.waiting_for)
        return _state("ready", "waiting_for", waiting)
    return _state("alive", "because", health.dead_because())


async def lifespan(receive: Receive, send: Send) -> None:
    """The lifespan protocol of an application that has nothing to start or stop."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _state(name: str, reason_name: str, reasons: list[str]) -> Response:
    if not reasons:
        return Response(200, msgspec.json.encode({name: True}))
    return Response(503, msgspec.json.encode({name: False, reason_name: reasons}))


def _failing(checks: Mapping[str, Check]) -> list[str]:
    failing = []
    for name, check in list(checks.items()):
        try:
            missing = check()
        except Exception as error:  # a broken check is a reason not to be ready, not a 500
            missing = f"check failed with {type(error).__name__}"
        if missing is not None:
            failing.append(f"{name}: {missing}")
    return failing
