"""Running a Kafka worker: its loop in the main thread, health and metrics in another, signals to both."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from prometheus_client import CollectorRegistry

from plinth_kit import health as health_routes
from plinth_kit.asgi import ASGIApp
from plinth_kit.health import Health
from plinth_kit.server import serve_in_thread, spare_the_collector
from plinth_kit.settings import Settings

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
"""A loop that has not turned for so long counts as dead."""


class Runner(Protocol):
    """A consumer loop."""

    @property
    def heartbeat(self) -> float:
        """time.monotonic() of the loop's last turn; 0.0 before the first."""
        ...

    @property
    def waiting_for(self) -> str | None:
        """What the loop lacks to do its work, e.g. `assignment`; None when it works."""
        ...

    def run(self) -> None:
        """Work until stopped; raises where it cannot go on."""
        ...

    def stop(self) -> None:
        """Ask `run` to finish its batch and return. Called from a signal handler: sets a flag, no more."""
        ...


def run_worker(
    runner: Runner,
    settings: Settings,
    *,
    registry: CollectorRegistry,
    health: Health | None = None,
    app: ASGIApp | None = None,
    on_stop: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run a worker in the main thread until SIGTERM or SIGINT; returns the exit code for `sys.exit`.

    0 after a stop, 1 if `run` or `on_stop` raised; `on_stop` is called in both cases. The runner is
    added to `health`: ready while `waiting_for` is None, alive while its heartbeat is younger than
    30 s. `app` replaces the bare health application; it should be built on the same `health`.
    """
    health = health or Health()
    watch(runner, health, clock)
    server = serve_in_thread(app or health_routes.app(health, registry), settings.host, settings.port)
    logger.info("worker started", extra={"port": server.port})

    def stop(_signal: int, _frame: FrameType | None) -> None:
        runner.stop()

    spare_the_collector()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        try:
            runner.run()
        finally:
            if on_stop is not None:
                on_stop()
    except Exception as error:
        failure: Exception | None = error
    else:
        failure = None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        server.stop()
    if failure is not None:
        logger.error("worker failed: %s: %s", type(failure).__name__, failure, exc_info=failure)
        return 1
    logger.info("worker stopped")
    return 0


def watch(runner: Runner, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
    """Add a runner's readiness and liveness to `health`. Before its first turn its age counts from now."""
    begun = clock()

    def alive() -> str | None:
        age = clock() - max(runner.heartbeat, begun)
        return None if age < HEARTBEAT_SECONDS else f"no turn of the loop for {age:.0f} s"

    health.add("consumer", lambda: runner.waiting_for)
    health.add_liveness("consumer", alive)
