"""What counts as ready, and what is said about the rest."""

from __future__ import annotations

import socket

from plinth_cli.readiness import READY, Readiness, judge, probe
from plinth_cli.table import Process, Ready


def row(port: int, ready: Ready) -> Process:
    return Process(name="web", description="d", port=port, command="c", ready=ready)


def test_an_answer_of_200_is_ready_whatever_its_body() -> None:
    assert judge(200, b"OK") == READY
    assert judge(200, b'{"ready": true}') == READY


def test_an_unready_service_says_what_it_waits_for() -> None:
    body = b'{"ready": false, "waiting_for": ["redis: connection refused", "model: none"]}'
    assert judge(503, body) == Readiness(False, "redis: connection refused, model: none")
    assert judge(200, b'{"ready": true, "degraded": ["model: none"]}') == Readiness(True, "model: none")
    assert judge(503, b"[]") == Readiness(False, "HTTP 503")
    assert judge(500, b"oops") == Readiness(False, "HTTP 500")


def test_a_port_is_ready_while_somebody_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert probe(row(port, Ready())) == READY
    assert probe(row(port, Ready())) == Readiness(False, f"port {port}")
    assert probe(row(port, Ready(http="/readyz"))) == Readiness(False, f"port {port}")


def test_a_command_is_ready_when_it_ends_with_0() -> None:
    assert probe(row(1, Ready(command="true"))) == READY
    assert not probe(row(1, Ready(command="false"))).ready
    assert probe(row(1, Ready(command="no-such-command-here"))) == Readiness(False, "FileNotFoundError")
