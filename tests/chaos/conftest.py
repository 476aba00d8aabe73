"""The table of what was taken away and how long it took to recover, at the end of pytest's output."""

from __future__ import annotations

import pytest

RECOVERIES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """A place for the lines."""
    config.stash[RECOVERIES] = []


@pytest.fixture
def recoveries(pytestconfig: pytest.Config) -> list[str]:
    """Lines of the table."""
    return pytestconfig.stash[RECOVERIES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    lines = config.stash[RECOVERIES]
    if lines:
        terminalreporter.section("each accepted transaction decided, recorded, filed and counted once")
        titles = ("what happens", "recovered in", "accepted", "published", "in cases", "answers without")
        terminalreporter.line("{:<34}{:>14}{:>10}{:>11}{:>10}  {}".format(*titles))
        for line in lines:
            terminalreporter.line(line)
