"""Whether a process does its work, asked from outside."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import subprocess
from dataclasses import dataclass

from plinth_cli.table import HOST, Process

_TIMEOUT = 2.0


@dataclass(frozen=True)
class Readiness:
    """Whether it is ready, and what it waits for or does without, in the words of the process."""

    ready: bool
    lacks: str = ""


READY = Readiness(True)


def probe(process: Process) -> Readiness:
    """Ask a resolved row's process; takes at most some seconds."""
    if process.ready.http:
        return _http(process.port, process.ready.http)
    if process.ready.command:
        return _command(process.ready.command)
    return _tcp(process.port)


def accepts(port: int) -> bool:
    """Whether somebody listens on that loopback port."""
    with socket.socket() as connection:
        connection.settimeout(_TIMEOUT)
        return connection.connect_ex((HOST, port)) == 0


def _tcp(port: int) -> Readiness:
    return READY if accepts(port) else Readiness(False, f"port {port}")


def _command(command: str) -> Readiness:
    try:
        code = subprocess.run(shlex.split(command), capture_output=True, timeout=_TIMEOUT).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        return Readiness(False, type(error).__name__)
    return READY if code == 0 else Readiness(False, "its first answer")


def _http(port: int, path: str) -> Readiness:
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return Readiness(False, f"port {port}")
    finally:
        connection.close()
    return judge(response.status, body)


def judge(status: int, body: bytes) -> Readiness:
    """The meaning of a health route's answer: 200 is ready; it names what it lacks."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    ready = status == 200
    lacks = answer.get("degraded" if ready else "waiting_for") if isinstance(answer, dict) else None
    return Readiness(ready, ", ".join(map(str, lacks)) if lacks else "" if ready else f"HTTP {status}")
