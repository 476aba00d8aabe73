"""Health and metrics: `/livez`, `/readyz` and `/metrics`, open to everybody, for services and workers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from plinth_kit.asgi import ASGIApp, Outgoing, Receive, Response, Scope, Send
from plinth_kit.problems import Problem, problem_response

Check = Callable[[], str | None]
"""Returns None if all is well, else what is missing. Runs in a thread; may take some milliseconds."""

PATHS = frozenset({"/livez", "/readyz", "/metrics"})


def in_background(check: Check, every_s: float = 2.0) -> Check:
    """The same check made now and then in a thread of its own: a neighbour that hangs holds nobody up.

    Gives the last answer; where none came for three turns, that.
    """
    last: list[tuple[float, str | None]] = [(time.monotonic(), "not asked yet")]

    def ask() -> None:
        while True:
            try:
                said = check()
            except Exception as error:  # a broken check is an answer too; its text may hold secrets
                said = type(error).__name__
            last[0] = (time.monotonic(), said)
            time.sleep(every_s)

    def answer() -> str | None:
        at, said = last[0]
        age = time.monotonic() - at
        return said if age < 3 * every_s else f"no answer for {age:.0f} s"

    threading.Thread(target=ask, name="check", daemon=True).start()
    return answer


class Health:
    """Named checks. Readiness says whether work can be done now, liveness whether only a restart helps."""

    def __init__(
        self, checks: Mapping[str, Check] | None = None, *, liveness: Mapping[str, Check] | None = None
    ) -> None:
        self._checks = dict(checks or {})
        self._degraded: dict[str, Check] = {}
        self._liveness = dict(liveness or {})

    def add(self, name: str, check: Check) -> None:
        """Add or replace a readiness check."""
        self._checks[name] = check

    def add_degraded(self, name: str, check: Check) -> None:
        """Add or replace a check of something that is missed but not needed: readiness names it, no more."""
        self._degraded[name] = check

    def add_liveness(self, name: str, check: Check) -> None:
        """Add or replace a liveness check."""
        self._liveness[name] = check

    def waiting_for(self) -> list[str]:
        """What readiness lacks, e.g. `["redis: connection refused"]`; empty when ready."""
        return _failing(self._checks)

    def degraded(self) -> list[str]:
        """What works less well, e.g. `["kafka: away, 12 events on disk"]`; empty when all is well."""
        return _failing(self._degraded)

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
        waiting, degraded = await asyncio.to_thread(lambda: (health.waiting_for(), health.degraded()))
        return _state("ready", waiting_for=waiting, degraded=degraded)
    return _state("alive", because=health.dead_because())


async def lifespan(receive: Receive, send: Send) -> None:
    """The lifespan protocol of an application that has nothing to start or stop."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _state(name: str, degraded: Sequence[str] = (), **reasons: list[str]) -> Response:
    """503 where there is a reason against `name`; what is degraded is only said."""
    against = {key: texts for key, texts in reasons.items() if texts}
    body = {name: not against, **against, **({"degraded": degraded} if degraded else {})}
    return Response(503 if against else 200, msgspec.json.encode(body))


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
