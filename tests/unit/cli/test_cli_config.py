"""Where a platform lives, and which ports it was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from plinth_cli import config
from plinth_cli.errors import PlatformError


def test_ports_are_remembered_and_the_environment_wins(tmp_path: Path) -> None:
    environ = {
        "PLINTH_STATE_DIR": str(tmp_path),
        "PLINTH_PORT_OFFSET": "1000",
        "PLINTH_PORT_KAFKA_CONTROLLER": "7",
    }
    config.remember_ports(config.load(environ))
    again = config.load({"PLINTH_STATE_DIR": str(tmp_path)})
    assert again.ports == config.Ports(port_offset=1000, ports={"kafka-controller": 7})
    moved = config.load({"PLINTH_STATE_DIR": str(tmp_path), "PLINTH_PORT_OFFSET": "0"})
    assert moved.ports.port_offset == 0


@pytest.mark.parametrize("text", ["a", "-1", "70000"])
def test_what_is_no_port_is_refused_with_its_variable(text: str) -> None:
    with pytest.raises(PlatformError, match=f"PLINTH_PORT_OFFSET='{text}' is not a port number"):
        config.load({"PLINTH_PORT_OFFSET": text})


def test_a_broken_file_of_ports_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("port_offset: many\n")
    with pytest.raises(PlatformError, match=r"config\.yaml cannot be read .*correct or delete it"):
        config.load({"PLINTH_STATE_DIR": str(tmp_path)})


def test_the_socket_of_a_deep_folder_is_short_enough_for_the_kernel(tmp_path: Path) -> None:
    deep = config.load({"PLINTH_STATE_DIR": str(tmp_path / ("x" * 100))})
    assert len(str(deep.supervisor_socket)) < 90
    other = config.load({"PLINTH_STATE_DIR": str(tmp_path / ("y" * 100))})
    assert deep.supervisor_socket != other.supervisor_socket
    near = config.load({"PLINTH_STATE_DIR": "/srv/plinth"})
    assert near.supervisor_socket == Path("/srv/plinth/run/supervisor.sock")
