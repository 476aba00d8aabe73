"""Benchmarks against a running platform; without one those that need it are skipped.

Each report is printed at the end of the run and written to `bench-results/`. Tests assert that what was
measured was also right; how fast it was is reported, never asserted.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from bench_platform import Platform
from bench_report import Report
from rich.console import Console

REPORTS = pytest.StashKey[list[Report]]()


def pytest_configure(config: pytest.Config) -> None:
    """A place for the reports of this run."""
    config.stash[REPORTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print every report."""
    reports = config.stash.get(REPORTS, [])
    if reports:
        console = Console(file=terminalreporter._tw._file, width=110)
        for report in reports:
            console.print(f"\n{report.machine}", soft_wrap=True, highlight=False)
            console.print(report.table())


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """The report of this module's benchmark, named after it."""
    made = Report(request.module.__name__.removeprefix("test_bench_").replace("_", "-"))
    yield made
    if made.figures:
        made.write()
        request.config.stash[REPORTS].append(made)


@pytest.fixture(scope="session")
def seconds() -> float:
    """Length of a run under load."""
    return float(os.environ.get("PLINTH_BENCH_SECONDS", "20"))


@pytest.fixture(scope="session")
def _running() -> Platform:
    platform = Platform()
    if (missing := platform.missing()) is not None:
        pytest.skip(missing)
    return platform


@pytest.fixture
def platform(_running: Platform) -> Platform:
    """The running platform, at rest."""
    _running.rest()
    return _running


@pytest.fixture
def prefix(_running: Platform) -> Iterator[str]:
    """Start of this test's transaction ids: no other run has it."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    yield name
    _running.forget(name)
