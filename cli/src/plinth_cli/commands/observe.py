"""`plinth status` and `plinth logs`: look at the platform."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from plinth_cli.console import duration, megabytes, plain_errors, show

if TYPE_CHECKING:
    from plinth_cli.platform import Status

_POLL_SECONDS = 0.2


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show every process: state, memory, restarts, address, and what it lacks.

    Ends with code 1 unless everything is ready, so that scripts can ask.
    """
    from plinth_cli.platform import current

    with plain_errors():
        platform = current()
        statuses = platform.statuses()
        orphans = platform.orphans()
    if orphans:
        left = ", ".join(str(process.pid) for process in orphans)
        typer.echo(
            f"supervisor was killed and left processes {left}; `plinth up` or `plinth down` ends them",
            err=True,
        )
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(statuses))
    else:
        from plinth_cli.advice import advice

        _print(statuses)
        for line in advice(statuses):
            typer.echo(line)
    if not all(status.ready for status in statuses):
        raise typer.Exit(1)


def logs(
    name: Annotated[str | None, typer.Argument(help="Process; all by default.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing what is added; end with Ctrl-C.")
    ] = False,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines from the end of each file.")] = 30,
) -> None:
    """Print the end of log files (.plinth/log/NAME.log)."""
    from plinth_cli.logs import Follower, tail
    from plinth_cli.platform import current

    with plain_errors():
        platform = current()
        names = [platform.table.find(name).name] if name else [p.name for p in platform.table.processes]
    prefix = "" if name else f"{{:<{max(map(len, names))}}} | "
    files = {n: platform.config.log / f"{n}.log" for n in names}
    followers = {n: Follower(path) for n, path in files.items()}
    if not any(path.exists() for path in files.values()):
        typer.echo(f"no log yet in {platform.config.log}; `plinth up` starts the platform", err=True)
    for n, path in files.items():
        for line in tail(path, count):
            typer.echo(prefix.format(n) + line)
    try:
        while follow:
            for n, follower in followers.items():
                for line in follower.lines():
                    typer.echo(prefix.format(n) + line)
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _print(statuses: Sequence[Status]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("process", "state", "pid", "up", "memory", "restarts", "address", "lacks"):
        table.add_column(title, justify="right" if title in ("pid", "up", "memory", "restarts") else "left")
    for row in statuses:
        colour = {"ready": "green", "failed": "red", "stopped": "dim"}.get(row.state, "yellow")
        table.add_row(
            row.name,
            f"[{colour}]{row.state}",
            str(row.pid or ""),
            duration(row.uptime) if row.pid else "",
            megabytes(row.memory),
            str(row.restarts or ""),
            row.address,
            row.lacks,
        )
    show(table)
