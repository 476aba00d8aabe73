"""How the command line speaks: one console, and figures for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from plinth_cli.errors import PlatformError
from plinth_pipelines.errors import PipelineError

if TYPE_CHECKING:
    from rich.table import Table


def fail(message: str) -> NoReturn:
    """Say what is wrong on standard error and end with code 1."""
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an error that a person can act on into its message: it says what to do, a traceback would not."""
    try:
        yield
    except (PlatformError, PipelineError) as error:
        fail(str(error))


def show(table: Table) -> None:
    """Print a table; wide where there is no terminal to limit it."""
    from plinth_pipelines.terminal import console

    console().print(table)


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def megabytes(size: int) -> str:
    """Bytes as `185 MB` (10^6); empty for none."""
    return f"{size / 1e6:.0f} MB" if size else ""
