"""Waiting for a platform, and showing it: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from plinth_cli.errors import PlatformError
from plinth_cli.platform import Platform, Status

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_INTERVAL_SECONDS = 0.2
_LOG_LINES = 12

Report = Callable[[Sequence[Status]], None]


def wait(platform: Platform, names: Sequence[str], timeout: float, report: Report) -> None:
    """Wait until the named processes are ready and set up, reporting every change.

    Raises PlatformError, with the end of the log, for a process that fails or is not ready in time.
    """
    deadline = time.monotonic() + timeout
    to_set_up = {name for name in names if platform.table.find(name).setup}
    while True:
        statuses = [status for status in platform.statuses() if status.name in names]
        for status in statuses:
            if status.name in to_set_up and status.ready and platform.set_up(status.name):
                to_set_up.discard(status.name)
        report([_with_setup(platform, status, to_set_up) for status in statuses])
        lacking = [status for status in statuses if status.name in to_set_up or not status.ready]
        if not lacking:
            return
        for status in lacking:
            if status.state == "failed" or time.monotonic() > deadline:
                raise PlatformError(_explain(platform, status, timeout))
        time.sleep(_INTERVAL_SECONDS)


def live(console: Console, began: float) -> tuple[Report, Callable[[], None]]:
    """A report that draws a table in place, and the function that ends it."""
    from rich.live import Live

    display = Live(console=console, refresh_per_second=5)
    display.start()
    since: dict[str, float] = {}

    def report(statuses: Sequence[Status]) -> None:
        elapsed = time.monotonic() - began
        for status in statuses:
            if status.ready:
                since.setdefault(status.name, elapsed)
        display.update(_table(statuses, since, elapsed), refresh=True)

    return report, display.stop


def lines(console: Console, began: float) -> tuple[Report, Callable[[], None]]:
    """A report that prints one line when a process becomes ready."""
    told: set[str] = set()

    def report(statuses: Sequence[Status]) -> None:
        for status in statuses:
            if status.ready and status.name not in told:
                told.add(status.name)
                console.print(f"{status.name} ready after {time.monotonic() - began:.1f} s")

    return report, lambda: None


def _table(statuses: Sequence[Status], since: dict[str, float], elapsed: float) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("process", "state", "seconds", "lacks"):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    for status in statuses:
        colour = {"ready": "green", "failed": "red"}.get(status.state, "yellow")
        seconds = since.get(status.name, elapsed)
        table.add_row(status.name, f"[{colour}]{status.state}", f"{seconds:.1f}", status.lacks)
    return table


def _with_setup(platform: Platform, status: Status, to_set_up: set[str]) -> Status:
    if not (status.ready and status.name in to_set_up):
        return status
    return Status(status.name, "waiting", False, f"its {platform.table.find(status.name).setup}")


def _explain(platform: Platform, status: Status, timeout: float) -> str:
    from plinth_cli.logs import tail

    reason = "failed" if status.state == "failed" else f"is not ready after {timeout:.0f} s"
    waiting = f" (waits for {status.lacks})" if status.lacks else ""
    end = "\n".join(f"  {line}" for line in tail(platform.config.log / f"{status.name}.log", _LOG_LINES))
    return (
        f"{status.name} {reason}{waiting}. The end of its log:\n{end}\n"
        f"Read more with `plinth logs {status.name}`; the others keep running, `plinth down` stops them."
    )
