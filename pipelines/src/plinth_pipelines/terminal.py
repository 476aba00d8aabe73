"""What a person at a terminal sees: bars and tables, and nothing of what libraries say meanwhile."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

PIPE_WIDTH = 200


class Report(Protocol):
    """Takes the share of a step that is done, and what is being done in it."""

    def __call__(self, share: float, /, doing: str = "") -> None: ...


Step = Callable[[str], Report]


def console() -> Console:
    """A console on standard output; wide where that is no terminal, unless COLUMNS says how wide."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(file=sys.stdout, highlight=False, width=PIPE_WIDTH if piped else None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what Feast and MLflow print and log. Errors are raised as ever.

    A console must name its file before, or it is kept back as well.
    """
    silence = io.StringIO()
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def steps(console: Console) -> Iterator[Step]:
    """A progress bar per step; a step's function takes the share that is done."""
    columns = (
        TextColumn("{task.description:<38}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", style="dim"),
    )
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:

        def step(description: str) -> Report:
            task = progress.add_task(description, total=1.0, doing="")

            def report(share: float, /, doing: str = "") -> None:
                progress.update(task, completed=share, doing="" if share >= 1.0 else doing)

            return report

        yield step
