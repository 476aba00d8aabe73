"""What is checked before a start, and the words in which it is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plinth_cli import debian, preflight
from plinth_cli.table import Process, Table

GIB = 1024**3


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_used_port_is_refused_with_its_owner_and_the_ways_out(taken: int) -> None:
    table = Table((Process(name="kafka", description="d", port=taken, command="c"),))
    (problem,) = preflight.ports(table, ["kafka"])
    assert str(problem).startswith(f"port {taken} of kafka is used by ")
    assert f"(pid {os.getpid()})" in problem.what
    assert problem.fix == (
        "stop it, or set PLINTH_PORT_KAFKA to a free port, or PLINTH_PORT_OFFSET=1000 to move all"
    )


def test_a_second_port_of_a_process_is_checked_too(taken: int) -> None:
    row = Process(name="kafka", description="d", port=1, more_ports={"controller": taken}, command="c")
    problems = preflight.ports(Table((row,)), ["kafka"])
    assert [problem.what.split(" is used")[0] for problem in problems if "controller" in problem.what] == [
        f"port {taken} of kafka-controller"
    ]
    assert "PLINTH_PORT_KAFKA_CONTROLLER" in problems[-1].fix


def test_a_port_of_an_unseen_owner_is_refused() -> None:
    problem = preflight.check_port("redis", 6379, False, None)
    assert problem is not None
    assert "a process of another user" in problem.what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "Kafka needs Java, and there is no `java`"),
        ('openjdk version "11.0.2" 2019-01-15', "Java 11 is too old for Kafka"),
        ('java version "1.8.0_392"', "Java 1 is too old for Kafka"),
        ("Unable to locate a Java Runtime.", "`java -version` does not name its version"),
    ],
)
def test_java_that_cannot_run_kafka(text: str | None, what: str) -> None:
    problem = preflight.check_java(text)
    assert problem is not None
    assert problem.what == what
    assert problem.packages == ("openjdk-17-jdk-headless",)


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_java_that_can(version: str) -> None:
    assert preflight.check_java(f'openjdk version "{version}" 2025-04-15') is None


def test_maven_is_needed_only_while_jars_are_missing() -> None:
    assert preflight.check_maven(present=False, jars_present=True) is None
    problem = preflight.check_maven(present=False, jars_present=False)
    assert problem is not None
    assert problem.packages == ("maven",)


def test_limits_of_disk_memory_and_python() -> None:
    assert preflight.check_disk(3 * GIB, Path("/s")) is None
    assert str(preflight.check_disk(GIB // 2, Path("/s"))).startswith("only 0.5 GB of disk are free at /s: ")
    assert preflight.check_memory(3 * GIB) is None
    assert str(preflight.check_memory(2 * GIB)).startswith("only 2.0 GB of memory are free: ")
    assert preflight.check_python((3, 11)) is None
    assert preflight.check_python((3, 10)) is not None


def test_a_state_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    problem = preflight.check_writable(tmp_path / "file" / "state")
    assert problem is not None
    assert "PLINTH_STATE_DIR" in problem.fix
    assert preflight.check_writable(tmp_path / "new" / "state") is None


def test_nothing_is_installed_for_problems_that_no_package_solves() -> None:
    problem = preflight.Problem("only 0.5 GB", "free some")
    assert debian.offer([problem], yes=True, environ={}) is False
