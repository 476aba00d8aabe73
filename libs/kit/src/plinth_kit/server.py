"""Running an application: uvicorn on uvloop with httptools, in the main thread or beside a worker's loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from plinth_kit.asgi import ASGIApp
from plinth_kit.settings import Settings

DRAIN_SECONDS = 25
"""Time for open requests at a stop; below the 30 s after which Kubernetes kills."""

GC_THRESHOLD = 50_000
"""Requests and batches make many short-lived objects without cycles; collecting at every 700 cost a worker a
quarter of its CPU."""
SWITCH_SECONDS = 0.0005
"""A thread that computes lets the event loop have the interpreter after so long; by default after ten times
as long, which is what a late answer is made of."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's first line and headers, give or take what is received at once; uvicorn sets no limit."""

_BACKLOG = 2048
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


def serve(app: ASGIApp, settings: Settings, *, on_stop: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is open, call `on_stop` and return.

    A port in use ends the process with one line on stderr and exit code 1.
    """
    listener = listen(settings.host, settings.port)
    server = uvicorn.Server(_config(app))
    spare_the_collector()
    sys.setswitchinterval(SWITCH_SECONDS)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn puts these back and raises the signal once more when it has drained; they make that harmless.
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        listener.close()
        if on_stop is not None:
            on_stop()


def spare_the_collector() -> None:
    """What start-up made stays, so the collector need not look at it again, nor come so often."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


class ServerThread:
    """An application served in a thread."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._listener = listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._server = uvicorn.Server(_config(app))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="http", daemon=True
        )

    def start(self, timeout: float = 10.0) -> None:
        """Start and wait until requests are answered; RuntimeError after `timeout` seconds."""
        self._thread.start()
        deadline = time.monotonic() + timeout
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Answer what is open and end the thread. May be called twice."""
        self._server.should_exit = True
        self._thread.join(DRAIN_SECONDS + 5)
        self._listener.close()


def serve_in_thread(app: ASGIApp, host: str, port: int) -> ServerThread:
    """Serve in a thread, for workers that expose health and metrics beside their loop; `.stop()` ends it.

    Port 0 lets the system choose; the handle's `port` says which. A port in use ends the process as
    in `serve`.
    """
    thread = ServerThread(app, host, port)
    thread.start()
    return thread


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; SystemExit with one line where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SystemExit(f"cannot listen on {host}:{port}: {reason} (PLINTH_HOST, PLINTH_PORT)") from None


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but head and body of an answer leave in one piece, and a request's head has an end."""

    _head_bytes = 0  # received since the last head, part of a body, or end of a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joined(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()


class _Joined(asyncio.Transport):
    """A transport that writes what comes in one turn of the event loop at its end."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(bytes(data))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._flush()
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            if not self._transport.is_closing():
                self._transport.write(data)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        cast("uvicorn._types.ASGIApplication", app),
        loop="uvloop",
        http=_Protocol,
        ws="none",
        backlog=_BACKLOG,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
