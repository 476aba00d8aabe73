"""The generated configuration, read back by supervisor's own parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from supervisor.options import ServerOptions

from plinth_cli.config import Config, Ports
from plinth_cli.errors import PlatformError
from plinth_cli.supervisor_conf import render
from plinth_cli.table import Process, Stop, Table


def parsed(tmp_path: Path, process: Process) -> Any:
    """The process as supervisor understands it."""
    config = Config(tmp_path, tmp_path, tmp_path, tmp_path / "platform.yaml", Ports())
    for folder in (config.run, config.log):
        folder.mkdir()
    config.supervisor_conf.write_text(render(Table((process,)), config, as_root=False))
    options = ServerOptions()
    options.realize(["-c", str(config.supervisor_conf)])
    return options.process_group_configs[0].process_configs[0]


def row(**fields: Any) -> Process:
    return msgspec.structs.replace(Process(name="web", description="d", port=80, command="serve"), **fields)


def test_the_command_and_environment_arrive_unchanged(tmp_path: Path) -> None:
    env = {"URL": "postgresql://u:p%40@127.0.0.1:1/db,x", "WORDS": 'a "b" = c', "EMPTY": ""}
    found = parsed(tmp_path, row(command="sh -c 'date +%s | cat'", env=env))
    assert found.command == "sh -c 'date +%s | cat'"
    assert found.environment == env


def test_how_a_process_starts_and_stops(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(stop=Stop("INT", 20)))
    assert (found.stopsignal, found.stopwaitsecs, found.stopasgroup, found.killasgroup) == (2, 20, True, True)
    assert found.autostart is False
    assert found.stdout_logfile == str(tmp_path / "log/web.log")
    assert (found.stdout_logfile_maxbytes, found.stdout_logfile_backups) == (10 * 2**20, 3)


@pytest.mark.parametrize(
    "fields",
    [{"command": "sh -c 'a ; b'"}, {"env": {"A": "x #1"}}, {"env": {"A": "\"'"}}, {"env": {"A": "1\n2"}}],
)
def test_what_the_format_cannot_hold_is_refused_with_its_row(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(PlatformError, match="row web: "):
        parsed(tmp_path, row(**fields))
