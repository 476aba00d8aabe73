"""`plinth up`, `down`, `restart`, `stop`: start and stop the platform on this machine."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from plinth_cli.console import fail, plain_errors

if TYPE_CHECKING:
    from plinth_cli.platform import Platform


def up(
    names: Annotated[list[str] | None, typer.Argument(help="Processes to start; all by default.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install missing Debian packages without asking.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until everything is ready.")] = 180.0,
) -> None:
    """Start the platform and wait until every process is ready.

    Real servers as ordinary processes: no root, no containers. Everything listens on 127.0.0.1 and
    lives in .plinth: data, logs, generated configuration, demo API keys (.plinth/api-keys.env).

    Safe to repeat: what runs is left alone, what changed in the table of processes is restarted.
    A second platform can run beside the first with PLINTH_STATE_DIR and PLINTH_PORT_OFFSET.
    """
    from plinth_cli.platform import current

    with plain_errors():
        start(current(), names, yes=yes, timeout=timeout)


def start(
    platform: Platform,
    names: list[str] | None = None,
    *,
    yes: bool,
    timeout: float = 180.0,
    hint: bool = True,
) -> None:
    """What `plinth up` does. `hint` also tells where to look and what to do next."""
    began = time.monotonic()
    chosen = names or [process.name for process in platform.table.processes]
    _stop_orphans(platform)
    _preflight(platform, chosen, yes=yes)
    platform.prepare()
    _fetch_jars(platform, chosen)
    platform.start(chosen)
    _wait(platform, chosen, timeout, began)
    if hint:
        where_to_look(platform, chosen)


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete data, logs, keys; keeps .plinth/cache.")
    ] = False,
) -> None:
    """Stop the platform; wait until every process, port and socket is gone.

    Data stays, and the next `plinth up` continues with it. With --purge it goes too.
    """
    from plinth_cli.platform import current

    began = time.monotonic()
    with plain_errors():
        platform = current()
        for name in platform.stop():
            typer.secho(f"{name} did not stop in time and was killed", fg="yellow", err=True)
        if purge:
            platform.purge()
        typer.echo(f"stopped{' and purged' if purge else ''} in {time.monotonic() - began:.1f} s")


def restart(
    names: Annotated[list[str], typer.Argument(help="Processes to restart.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait until they are ready.")] = 180.0,
) -> None:
    """Restart processes, say after a change to their code, and wait until they are ready."""
    from plinth_cli.platform import running

    began = time.monotonic()
    with plain_errors():
        platform = running(names)
        for name in names:
            platform.supervisor.stop(name)
        platform.start(names)
        _wait(platform, names, timeout, began)


def stop(names: Annotated[list[str], typer.Argument(help="Processes to stop.")]) -> None:
    """Stop processes and let the others run; `plinth up NAME` starts them again."""
    from plinth_cli.platform import running

    with plain_errors():
        platform = running(names)
        for name in names:
            platform.supervisor.stop(name)
            typer.echo(f"{name} is stopped")


def _stop_orphans(platform: Platform) -> None:
    if orphans := platform.orphans():
        typer.echo(f"stopping {len(orphans)} processes that an earlier run left behind")
        platform.stop()


def _preflight(platform: Platform, names: list[str], *, yes: bool) -> None:
    from plinth_cli.debian import offer

    problems = platform.problems(names)
    if problems and offer(problems, yes=yes, environ=os.environ):
        problems = platform.problems(names)
    if problems:
        fail("\n".join(f"✗ {problem}" for problem in problems))


def _fetch_jars(platform: Platform, names: list[str]) -> None:
    from plinth_cli import provision

    if "kafka" in names and not provision.jars_present(platform.config):
        typer.echo("fetching Kafka's jars (54 MB, once)")
        provision.fetch_jars(platform.config)


def _wait(platform: Platform, names: list[str], timeout: float, began: float) -> None:
    from plinth_cli import progress
    from plinth_pipelines.terminal import console as make_console

    console = make_console()
    report, end = (progress.live if sys.stdout.isatty() else progress.lines)(console, began)
    try:
        progress.wait(platform, names, timeout, report)
    finally:
        end()
    console.print(f"ready in {time.monotonic() - began:.1f} s")


def where_to_look(platform: Platform, names: list[str]) -> None:
    """Tell the addresses of the named processes, where the keys are, and how to get a model."""
    from plinth_cli.advice import advice

    for line in advice([status for status in platform.statuses() if status.name in names]):
        typer.echo(f"  {line}")
    for process in platform.table.processes:
        if process.url and process.name in names:
            typer.echo(f"  {process.name:<22} {process.url}")
    typer.echo(f"  API keys: {platform.config.clear_keys_file}")
