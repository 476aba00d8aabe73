"""The local platform as a user runs it: four servers and one more row, on free ports, in a new folder.

The tests share one platform and run in the order of this file.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
import yaml

# kafka-python reads its schemas in a way that Python 3.11 calls old, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
PLINTH = Path(sys.executable).with_name("plinth")
SERVERS = ["kafka", "redis", "postgres", "mlflow"]
EXTRA_ROW = {
    "name": "echo",
    "description": "Any further service is one row",
    "port": 8300,
    "command": "${python} -m http.server ${port} --bind ${host} --directory ${data}",
    "ready": {"http": "/"},
}
DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class Local:
    """A platform under test."""

    state: Path
    offset: int
    environ: dict[str, str]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PLINTH, *arguments], env=self.environ | environ, capture_output=True, text=True, timeout=240
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"plinth {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.run("status", "--json").stdout)}

    def pids(self) -> dict[str, int]:
        return {name: row["pid"] for name, row in self.rows().items()}

    def port(self, documented: int) -> int:
        return documented + self.offset

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port(9092)}"

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.state / "run/supervisord.pid").read_text()))

    def family(self) -> list[psutil.Process]:
        supervisor = self.supervisor()
        return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    folder = tmp_path_factory.mktemp("platform")
    table = yaml.safe_load((ROOT / "infra/local/platform.yaml").read_text())
    table["processes"] = [row for row in table["processes"] if row["name"] in SERVERS] + [EXTRA_ROW]
    (folder / "platform.yaml").write_text(yaml.safe_dump(table))
    offset = free_offset()
    environ = os.environ | {
        "PLINTH_STATE_DIR": str(folder / "state"),
        "PLINTH_CACHE_DIR": os.environ.get("PLINTH_CACHE_DIR", str(ROOT / ".plinth/cache")),
        "PLINTH_PLATFORM_FILE": str(folder / "platform.yaml"),
        "PLINTH_PORT_OFFSET": str(offset),
    }
    platform = Local(folder / "state", offset, environ)
    platform.ok("up", "--timeout", "200")
    yield platform
    platform.run("down", "--purge")


def free_offset() -> int:
    """An offset at which every port of the table is free."""
    documented = [9092, 9093, 6379, 5432, 5000, 8300]
    offsets = random.Random(os.getpid()).sample(range(11_000, 23_000), 100)
    return next(offset for offset in offsets if all(is_free(port + offset) for port in documented))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.1)


def test_everything_is_ready_with_its_topics_databases_and_keys(local: Local) -> None:
    assert {name: row["state"] for name, row in local.rows().items()} == dict.fromkeys(
        [*SERVERS, "echo"], "ready"
    )
    topics = {line.split()[0]: line.split()[1] for line in local.ok("topics", "list").splitlines()}
    assert (topics["transaction.received"], topics["transaction.received.dlq"]) == ("6", "1")
    mlflow = f"http://127.0.0.1:{local.port(5000)}/api/2.0/mlflow"
    assert httpx.post(f"{mlflow}/experiments/create", json={"name": "first"}).json() == {"experiment_id": "1"}
    private = ["api-keys.env", "keys.json", "postgres-password", "let-through-key", "run/supervisord.conf"]
    assert [(local.state / name).stat().st_mode & 0o077 for name in private] == [0] * len(private)


def test_nothing_listens_beyond_loopback(local: Local) -> None:
    addresses = {
        connection.laddr.ip
        for process in local.family()
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert addresses
    assert [a for a in addresses if not ipaddress.ip_address(a.removeprefix("::ffff:")).is_loopback] == []


def test_mlflow_runs_as_two_processes(local: Local) -> None:
    assert len(psutil.Process(local.pids()["mlflow"]).children(recursive=True)) == 1


def test_a_second_up_changes_nothing(local: Local) -> None:
    before = local.pids()
    local.ok("up")
    assert local.pids() == before


def test_a_second_platform_on_the_same_ports_is_told_who_has_them(local: Local, tmp_path: Path) -> None:
    done = local.run("up", PLINTH_STATE_DIR=str(tmp_path / "second"))
    assert done.returncode == 1
    assert (
        f"port {local.port(6379)} of redis is used by redis-server (pid {local.pids()['redis']})"
        in done.stderr
    )
    assert "PLINTH_PORT_OFFSET" in done.stderr


@pytest.mark.parametrize("name", ["redis", "postgres", "kafka"])
def test_a_killed_process_comes_back(local: Local, name: str) -> None:
    before = local.rows()[name]
    os.kill(before["pid"], signal.SIGKILL)

    def is_back() -> bool:
        row = local.rows()[name]
        return row["ready"] and row["pid"] not in (0, before["pid"])

    wait_until(is_back, f"{name} restarted and ready")
    assert local.rows()[name]["restarts"] == before["restarts"] + 1


def test_dead_letters_go_back_once_with_their_bytes_and_headers(local: Local) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=local.bootstrap)
    origin = [
        ("plinth_dlq_topic", b"label.observed"),
        ("plinth_dlq_reason", b"bad"),
    ]
    for number in range(3):
        place = [("plinth_dlq_partition", b"4"), ("plinth_dlq_offset", b"%d" % number)]
        headers = [("ce_id", b"\xff%d" % number), *origin, *place]
        for _ in range(1 + (number == 2)):  # the last one of two readers
            producer.send("label.observed.dlq", value=b"\x00%d" % number, key=b"k", headers=headers)
    producer.close()

    assert "3 dead letters would be sent" in local.ok("replay-dlq", "label.observed", "--dry-run")
    assert "1 dead letter sent" in local.ok("replay-dlq", "label.observed", "--limit", "1")
    assert "2 dead letters sent" in local.ok("replay-dlq", "label.observed")
    assert "0 dead letters sent" in local.ok("replay-dlq", "label.observed")

    counted = ("plinth_dlq_replays", b"1")
    assert read(local.bootstrap, "label.observed", 4, count=3) == [
        (b"k", b"\x00%d" % number, [("ce_id", b"\xff%d" % number), counted]) for number in range(3)
    ]


def test_a_dead_letter_that_fails_again_says_so(local: Local) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=local.bootstrap)
    headers = [("plinth_dlq_reason", b"bad"), ("plinth_dlq_replays", b"2")]
    producer.send("decision.made.dlq", value=b"x", headers=headers)
    producer.close()
    said = local.ok("replay-dlq", "decision.made", "--dry-run")
    assert "sent back 2 x before: bad" in said
    assert "1 had been sent back before and failed again" in said


def read(bootstrap: str, topic: str, partition: int, count: int) -> list[tuple[Any, ...]]:
    """Key, value and headers of the first messages of a partition."""
    from kafka import KafkaConsumer, TopicPartition

    source = TopicPartition(topic, partition)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([source])
    found: list[tuple[Any, ...]] = []

    def enough() -> bool:
        records = consumer.poll(500).get(source, [])
        found.extend((record.key, record.value, list(record.headers)) for record in records)
        return len(found) >= count

    wait_until(enough, f"{count} messages in {topic}")
    consumer.close()
    return found


def test_down_leaves_no_process_port_or_socket_but_the_data(local: Local) -> None:
    with redis.Redis(port=local.port(6379)) as client:
        client.set("kept", "yes")
    family = local.family()
    assert len(family) >= 8
    local.ok("down")
    assert [process for process in family if process.is_running()] == []
    assert [p for p in (9092, 9093, 6379, 5432, 5000, 8300) if not is_free(local.port(p))] == []
    assert list((local.state / "run").glob("*.sock*")) == []
    assert {row["state"] for row in local.rows().values()} == {"stopped"}

    local.ok("up", "redis", "echo")
    with redis.Redis(port=local.port(6379)) as client:
        assert client.get("kept") == b"yes"


def test_what_a_killed_supervisor_left_is_found_and_ended(local: Local) -> None:
    left = local.supervisor().children()
    assert {process.name() for process in left} >= {"redis-server"}
    local.supervisor().kill()
    local.ok("down", "--purge")
    assert [process for process in left if process.is_running()] == []
    assert not local.state.exists()
