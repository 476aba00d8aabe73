"""The table of processes: what is refused, how ports move, what variables become."""

from __future__ import annotations

from pathlib import Path

import pytest

from plinth_cli import table
from plinth_cli.config import ROOT, Config, Ports
from plinth_cli.errors import PlatformError

ROW = """
processes:
  - name: a-b
    description: d
    port: 100
    more_ports: {admin: 101}
    command: run ${port} ${other_port} ${data}
  - {name: other, description: d, port: 200, command: serve, database: shop, env: {URL: "${database_url}"}}
  - {name: postgres, description: d, port: 300, command: serve}
"""


def config(tmp_path: Path, text: str = ROW, ports: Ports | None = None) -> Config:
    file = tmp_path / "platform.yaml"
    file.write_text(text)
    return Config(tmp_path, tmp_path / "state", tmp_path / "cache", file, ports or Ports())


def test_every_row_of_the_real_table_resolves_and_common_ports_are_the_documented_ones(
    tmp_path: Path,
) -> None:
    real = ROOT / "infra/local/platform.yaml"
    found = table.load(Config(ROOT, tmp_path, tmp_path, real, Ports()), "secret")
    documented = {
        "kafka": 9092,
        "kafka-controller": 9093,
        "redis": 6379,
        "postgres": 5432,
        "mlflow": 5000,
        "feature-store-engine": 8101,
        "fraud-scorer-api": 8200,
        "fraud-scorer-worker": 8201,
    }
    ports = {name: port for process in found.processes for name, port in process.ports.items()}
    assert {name: ports[name] for name in documented} == documented
    assert {"fraud_scorer", "mlflow"} <= set(found.databases)
    assert found.find("fraud-scorer-worker").env["PLINTH_PORT"] == "8201"
    assert found.find("fraud-scorer-worker").env["PLINTH_KAFKA_INSTANCE_ID"] == "fraud-scorer-worker"
    assert found.find("fraud-scorer-api").env["PLINTH_KAFKA_BOOTSTRAP"] == "127.0.0.1:9092"


def test_passwords_are_in_no_command_line(tmp_path: Path) -> None:
    real = ROOT / "infra/local/platform.yaml"
    found = table.load(Config(ROOT, tmp_path, tmp_path, real, Ports()), "the-password")
    assert [process.name for process in found.processes if "the-password" in process.command] == []
    assert "the-password" in found.find("mlflow").env["MLFLOW_BACKEND_STORE_URI"]


def test_variables_are_the_row_s_own_port_other_ports_data_and_database(tmp_path: Path) -> None:
    found = table.load(config(tmp_path), "pw")
    assert found.find("a-b").command == f"run 100 200 {tmp_path}/state/data/a-b"
    assert found.find("other").env["URL"] == "postgresql://plinth:pw@127.0.0.1:300/shop"


def test_a_folder_with_a_space_stays_one_argument(tmp_path: Path) -> None:
    folder = tmp_path / "my state"
    folder.mkdir()
    found = table.load(config(folder), "pw")
    assert found.find("a-b").command == f"run 100 200 '{folder}/state/data/a-b'"


def test_an_offset_moves_every_port_and_own_ports_win(tmp_path: Path) -> None:
    found = table.load(config(tmp_path, ports=Ports(port_offset=1000, ports={"a-b-admin": 7})))
    assert found.find("a-b").ports == {"a-b": 1100, "a-b-admin": 7}
    assert found.find("other").port == 1200


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (Ports(ports={"kafak": 1}), r"no port is named 'kafak'; ports are: a-b, a-b-admin, other, postgres"),
        (Ports(port_offset=65500), r"port 65600 of a-b is above 65535; use a smaller PLINTH_PORT_OFFSET"),
        (Ports(ports={"other": 101}), r"a-b-admin and other would both use port 101"),
    ],
)
def test_impossible_ports_are_named(tmp_path: Path, ports: Ports, message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        table.load(config(tmp_path, ports=ports))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{name: A, description: d, port: 1, command: c}", r"\$\.processes\[0\]\.name"),
        ("{name: a, description: d, port: 1, command: c, restart: no}", "unknown field `restart`"),
        ("{name: a, description: d, port: 1, command: c, depends: [b]}", "a depends on b, which is not in"),
        (
            "{name: a, description: d, port: 1, command: 'run ${prot}'}",
            r"row a: there is no variable \$\{prot\}",
        ),
        ("{name: a, description: d, port: 1, command: 'echo $'}", r"a plain dollar sign is \$\$"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        table.load(config(tmp_path, f"processes:\n  - {row}\n"))


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    row = "  - {name: a, description: d, port: %d, command: c}\n"
    with pytest.raises(PlatformError, match="two processes are named a"):
        table.load(config(tmp_path, "processes:\n" + row % 1 + row % 2))


def test_a_missing_process_lists_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no process 'kafka'; the platform has: a-b, other, postgres"):
        table.load(config(tmp_path)).find("kafka")
