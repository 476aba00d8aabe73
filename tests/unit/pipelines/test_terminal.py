"""How wide is printed, and what is kept back."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest
from rich.console import Console

from plinth_pipelines import terminal


@pytest.mark.parametrize(("columns", "width"), [(None, terminal.PIPE_WIDTH), ("120", 120)])
def test_a_pipe_is_wide_unless_columns_says_otherwise(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal.console().width == width


def test_what_libraries_say_is_kept_back_and_errors_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal.console()
    with terminal.quiet():
        sys.stdout.write("noise")
        sys.stderr.write("noise")
        logging.getLogger("somebody").warning("noise")
        warnings.warn("noise", stacklevel=1)
        console.print("ours")
    with pytest.raises(ValueError, match="wrong"), terminal.quiet():
        raise ValueError("wrong")
    assert capsys.readouterr() == ("ours\n", "")
    assert logging.getLogger("somebody").isEnabledFor(logging.WARNING)


def test_a_step_says_what_is_being_done_until_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=sys.stdout, width=120, force_terminal=True, color_system=None)
    with terminal.steps(console) as step:
        report = step("model")
        report(0.3, "selection")
    assert "selection" in capsys.readouterr().out
    with terminal.steps(console) as step:
        report = step("model")
        report(0.3, "selection")
        report(1.0)
    last = capsys.readouterr().out.rsplit("model", 1)[1]
    assert "100%" in last
    assert "selection" not in last
