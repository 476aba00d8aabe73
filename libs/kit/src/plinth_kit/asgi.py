"""The little that raw ASGI routes need: a slim request and response, and bounded reading of bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from plinth_kit.auth import Principal, Role
from plinth_kit.tracing import TraceContext

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_JSON = (b"content-type", b"application/json")


class BodyTooLargeError(Exception):
    """The request body exceeds the limit."""


class ClientDisconnectedError(Exception):
    """The client went away before its body was complete."""


class Request(msgspec.Struct, frozen=True):
    """A request on a hot route: the body is complete, `headers` has lowercase names, both in bytes."""

    body: bytes
    headers: Mapping[bytes, bytes]
    query_string: bytes
    trace: TraceContext
    principal: Principal

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def header(self, name: str) -> str | None:
        """A header's value by its name in any case, or None."""
        value = self.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


class Response(msgspec.Struct, frozen=True):
    """An answer: status code, complete body, its media type, further headers with lowercase names."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[Header, ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class HotRoute(msgspec.Struct, frozen=True):
    """A route served as raw ASGI: the handler and the least role.

    For the docs a line, msgspec types of body and answer, and the statuses of problems beyond those of
    every route.
    """

    handler: Handler
    role: Role
    summary: str = ""
    request: Any = None
    response: Any = None
    problems: tuple[int, ...] = ()


class Outgoing:
    """Wraps `send`: adds the security headers that an answer lacks, remembers its status (0: not begun)."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Pass on a message of another application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = _secured(list(message.get("headers", ())))
        await self._send(message)

    async def answer(self, response: Response) -> None:
        """Send a complete answer."""
        self.status = response.status
        kind = response.content_type
        content_type = _JSON if kind == "application/json" else (b"content-type", kind.encode("latin-1"))
        length = (b"content-length", b"%d" % len(response.body))
        headers = [content_type, length, *(response.headers or SECURITY_HEADERS)]
        if response.headers:
            headers = _secured(headers)
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body})


def _secured(headers: list[Header]) -> list[Header]:
    names = {name.lower() for name, _ in headers}
    return headers + [item for item in SECURITY_HEADERS if item[0] not in names]


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body.

    Raises BodyTooLargeError as soon as more than `limit` bytes have come, ClientDisconnectedError if
    the client goes away first.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLargeError
        if not message.get("more_body", False):
            return part if not parts else b"".join((*parts, part))
        parts.append(part)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that yields a body already read, then whatever comes after it."""
    pending = True

    async def receive_again() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_again
