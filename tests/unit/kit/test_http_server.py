"""Real servers on free ports: draining at SIGTERM, a port in use, a server in a thread, a worker."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from plinth_kit import health
from plinth_kit.asgi import Outgoing, Response
from plinth_kit.health import Health
from plinth_kit.server import serve_in_thread

SLOW_SERVER = """
import asyncio, os, sys
from plinth_kit.asgi import Outgoing, Response
from plinth_kit.server import serve
from plinth_kit.settings import Settings

go, begun = os.environ["GO"], os.environ["BEGUN"]

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    open(begun, "w").close()
    while not os.path.exists(go):
        await asyncio.sleep(0.01)
    await Outgoing(send).answer(Response(200, b"done"))

print(os.environ["PLINTH_PORT"], flush=True)
serve(app, Settings(), on_stop=lambda: print("stopped", flush=True))
"""

WORKER = """
import sys, threading, time
from prometheus_client import CollectorRegistry
from plinth_kit.settings import Settings
from plinth_kit.worker import run_worker

class Runner:
    heartbeat, waiting_for = 0.0, None
    stopped = threading.Event()
    def run(self):
        print("running", flush=True)
        while not self.stopped.wait(0.01):
            self.heartbeat = time.monotonic()
        if sys.argv[1] == "fail":
            raise RuntimeError("broken")
    def stop(self):
        self.stopped.set()

sys.exit(run_worker(Runner(), Settings(), registry=CollectorRegistry(), on_stop=lambda: print("flushed")))
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _process(code: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _get(port: int, path: str = "/") -> httpx.Response:
    transport = httpx.HTTPTransport(retries=20)  # tries again while nobody listens yet
    with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        return client.get(path)


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_a_request_open_at_sigterm_is_answered_before_the_server_ends(tmp_path: os.PathLike[str]) -> None:
    port = _free_port()
    go, begun = os.path.join(tmp_path, "go"), os.path.join(tmp_path, "begun")

    with (
        _process(SLOW_SERVER, GO=go, BEGUN=begun, PLINTH_PORT=str(port)) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        assert _first_line(server) == str(port)
        answer = pool.submit(_get, port)
        _until(lambda: os.path.exists(begun))
        server.send_signal(signal.SIGTERM)
        _until(lambda: _refuses(port))
        with open(go, "w"):
            pass

        assert answer.result(timeout=30).text == "done"
        output, _ = server.communicate(timeout=30)
        assert server.returncode == 0
        assert output == "stopped\n"


def test_a_port_in_use_ends_with_one_line_and_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _process(SLOW_SERVER, GO="", BEGUN="", PLINTH_PORT=str(port)) as server:
            _, errors = server.communicate(timeout=30)

    assert server.returncode == 1
    assert errors == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use (PLINTH_HOST, PLINTH_PORT)\n"
    )


def test_a_server_in_a_thread_answers_until_it_is_stopped() -> None:
    handle = serve_in_thread(health.app(Health(), CollectorRegistry()), "127.0.0.1", 0)
    try:
        assert _get(handle.port, "/livez").json() == {"alive": True}
    finally:
        handle.stop()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", handle.port), 1)


@pytest.mark.parametrize(("outcome", "code"), [("stop", 0), ("fail", 1)])
def test_a_worker_serves_health_and_ends_at_sigterm_with_the_outcome_of_its_loop(
    outcome: str, code: int
) -> None:
    port = _free_port()

    with _process(WORKER, outcome, PLINTH_PORT=str(port)) as worker:
        assert _first_line(worker) == "running"
        assert _get(port, "/readyz").json() == {"ready": True}
        worker.send_signal(signal.SIGTERM)
        output, _ = worker.communicate(timeout=30)

    assert worker.returncode == code
    assert output == "flushed\n"


async def _lengths(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path says."""
    if scope["type"] == "http":
        await Outgoing(send).answer(Response(200, b"x" * int(scope["path"][1:]), "text/plain"))


def test_head_and_body_leave_in_one_piece() -> None:
    server = serve_in_thread(_lengths, "127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /100 HTTP/1.1\r\nhost: h\r\n\r\n")
            answer = client.recv(65536)
    finally:
        server.stop()
    assert answer.endswith(b"\r\n\r\n" + b"x" * 100)


def test_answers_to_pipelined_requests_are_complete_in_order_and_followed_by_the_close() -> None:
    lengths = [3, 5_000_000, 0, 70_000]
    server = serve_in_thread(_lengths, "127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            for length in lengths[:-1]:
                client.sendall(b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % length)
            client.sendall(b"GET /%d HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % lengths[-1])
            received = b"".join(iter(lambda: client.recv(1 << 20), b""))
    finally:
        server.stop()
    bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"x" * length for length in lengths]


def test_headers_without_an_end_are_not_read_for_ever_and_large_bodies_are() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            event = await receive()
            size, more = size + len(event.get("body", b"")), event.get("more_body", False)
        await Outgoing(send).answer(Response(200, b"%d" % size))

    server = serve_in_thread(app, "127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
            with suppress(OSError):
                for number in range(1_000):
                    client.sendall(b"x-%d: %s\r\n" % (number, b"y" * 10_000))
            with suppress(ConnectionResetError):
                assert client.recv(100).startswith(b"HTTP/1.1 431 ")
        answer = httpx.post(f"http://127.0.0.1:{server.port}/", content=b"z" * 1_000_000)
        assert answer.text == "1000000"
    finally:
        server.stop()
