"""The face of the command line: help, codes, and what is not loaded for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plinth_cli.config import ROOT
from plinth_cli.main import app

runner = CliRunner()


def test_help_names_every_command() -> None:
    text = runner.invoke(app, ["--help"]).output
    named = re.findall(r"^  ([a-z][a-z-]*) ", text, re.MULTILINE)
    assert {"up", "down", "stop", "status", "demo", "replay", "train", "skip"} <= set(named)
    table = (ROOT / "cli/README.md").read_text()
    assert [command for command in named if not re.search(rf"`plinth {command}[ `]", table)] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--help"], ["PLINTH_PORT_OFFSET", "--yes"]),
        (["down", "--help"], ["--purge", "Data stays"]),
        (["replay-dlq", "--help"], ["--dry-run", "--limit"]),
        (["skip", "--help"], ["--to", "--partition", "plinth stop NAME"]),
        (["topics", "--help"], ["list", "describe", "create"]),
    ],
)
def test_help_of_a_command_says_what_matters(arguments: list[str], words: list[str]) -> None:
    text = runner.invoke(app, arguments).output
    assert [word for word in words if word not in text] == []


def test_help_loads_no_client_library() -> None:
    code = (
        "import sys\nfrom plinth_cli.main import app\napp(['--help'], standalone_mode=False)\n"
        "heavy = {'kafka', 'psycopg', 'psutil', 'rich', 'yaml', 'mlflow', 'supervisor'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_status_of_a_stopped_platform_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLINTH_STATE_DIR", str(tmp_path))
    found = runner.invoke(app, ["status", "--json"])
    assert found.exit_code == 1
    assert {row["name"]: row["state"] for row in json.loads(found.output)}["kafka"] == "stopped"


def test_an_unknown_process_is_answered_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLINTH_STATE_DIR", str(tmp_path))
    found = runner.invoke(app, ["logs", "kafak"])
    assert found.exit_code == 1
    assert "there is no process 'kafak'; the platform has: kafka, redis" in found.output
