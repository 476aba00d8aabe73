"""API docs that need no internet: one OpenAPI document of all routes and a plain HTML page made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI

from plinth_kit import fastapi_adapter
from plinth_kit import problems as problems_module
from plinth_kit.asgi import HotRoute, Response
from plinth_kit.auth import Role
from plinth_kit.problems import ProblemBody

_WHY = {
    400: "The body is not JSON.",
    401: "No key, or one that is not known.",
    403: "The role of the key is too low.",
    404: "There is no such thing, or not yet.",
    409: "Not possible as things stand; `detail` says why.",
    413: "The body is too large.",
    422: "`errors` names the fields that do not fit.",
    429: "Too many requests with this key; `Retry-After` says when.",
    503: "A neighbour is away; send it again.",
}

PATHS = frozenset({"/docs", "/openapi.json"})

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f4f4;padding:1rem;"
    "overflow:auto}summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;width:4.5rem}"
)
_REFERENCE = re.compile(r"(#/components/(schemas|responses)/([\w.-]+))")
_PAGE_CSP = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
)


class Docs:
    """The docs of one application, made at the first request."""

    def __init__(self, service: str, hot: Mapping[tuple[str, str], HotRoute], api: FastAPI | None) -> None:
        self._service = service
        self._hot = hot
        self._api = api
        self._answers: dict[str, Response] = {}

    def respond(self, path: str) -> Response:
        """The answer for one of PATHS."""
        if not self._answers:
            spec = openapi(self._service, self._hot, self._api)
            html = page(spec).encode()
            self._answers["/openapi.json"] = Response(200, msgspec.json.encode(spec))
            self._answers["/docs"] = Response(200, html, "text/html; charset=utf-8", (_PAGE_CSP,))
        return self._answers[path]


def openapi(service: str, hot: Mapping[tuple[str, str], HotRoute], api: FastAPI | None) -> dict[str, Any]:
    """The OpenAPI document of the FastAPI routes and the hot routes together.

    Each says the role that it needs (also as `x-role`), what it answers, and with which problems.
    """
    empty: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": service, "version": "1"}, "paths": {}}
    spec: dict[str, Any] = json.loads(json.dumps(api.openapi())) if api else empty
    told = [] if api is None else list(fastapi_adapter.documented(api))
    bodies = [route.answer for route in told if route.answer is not None]
    bodies += [body for route in hot.values() for body in (route.request, route.response) if body is not None]
    schemas, components = msgspec.json.schema_components(
        [*bodies, ProblemBody], ref_template="#/components/schemas/{name}"
    )
    remaining = iter(schemas)
    for own in told:
        operation = spec["paths"][own.path][own.method]
        if own.answer is not None:
            good = next(status for status in operation["responses"] if status.startswith("2"))
            operation["responses"][good]["content"] = _json_content(next(remaining))
        _complete(operation, own.role, own.problems)
    for (method, path), route in hot.items():
        operation = {"summary": route.summary, "responses": {"200": {"description": "OK"}}}
        if route.request is not None:
            operation["requestBody"] = {"required": True, "content": _json_content(next(remaining))}
        if route.response is not None:
            operation["responses"]["200"]["content"] = _json_content(next(remaining))
        _complete(operation, route.role, route.problems)
        spec["paths"].setdefault(path, {})[method.lower()] = operation
    parts = spec.setdefault("components", {})
    shapes = parts.setdefault("schemas", {})
    shapes.update(components)
    for pydantics in ("HTTPValidationError", "ValidationError"):
        shapes.pop(pydantics, None)
    problem = {problems_module.CONTENT_TYPE: {"schema": next(remaining)}}
    parts["responses"] = {
        _name(status): {"description": _WHY.get(status, HTTPStatus(status).phrase), "content": problem}
        for status in sorted(_statuses(spec))
    }
    parts["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    spec["security"] = [{"key": []}]
    return spec


def _complete(operation: dict[str, Any], role: Role, problems: Sequence[int]) -> None:
    """Add what the kit answers on every route to what the route says of itself."""
    said = operation.get("description", "")
    operation["description"] = f"{said}\n\nNeeds the role {role.name.lower()} or above.".strip()
    operation["x-role"] = role.name.lower()
    every = [401, 429, *((403,) if role > Role.VIEWER else ()), *problems]
    if "requestBody" in operation:
        every += [400, 413, 422]
    elif "parameters" in operation:
        every += [422]
    for status in sorted(set(every)):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}


def _statuses(spec: Mapping[str, Any]) -> set[int]:
    answers = [
        operation["responses"] for operations in spec["paths"].values() for operation in operations.values()
    ]
    return {int(status) for responses in answers for status, answer in responses.items() if "$ref" in answer}


def _name(status: int) -> str:
    return "".join(word.capitalize() for word in HTTPStatus(status).phrase.split())


def page(spec: Mapping[str, Any]) -> str:
    """A page without scripts that lists an OpenAPI document's routes and schemas."""
    title = escape(str(spec["info"]["title"]))
    routes = "".join(
        _details(
            f"<b>{escape(method.upper())}</b><code>{escape(path)}</code> {_summary(operation)}", operation
        )
        for path, operations in sorted(spec["paths"].items())
        for method, operation in operations.items()
    )
    parts = spec.get("components", {})
    shapes = "".join(
        _details(f"<code>{escape(name)}</code>", part, f"{kind}-{name}")
        for kind in ("schemas", "responses")
        for name, part in sorted(parts.get(kind, {}).items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        '<p>Send your key as <code>X-API-Key</code>. Machine-readable: <a href="openapi.json">openapi.json'
        f"</a></p><h2>Routes</h2>{routes}<h2>Schemas and problems</h2>{shapes}</body></html>"
    )


def _summary(operation: Mapping[str, Any]) -> str:
    role = operation.get("x-role", "")
    return escape(str(operation.get("summary", ""))) + (f" <small>{escape(role)}</small>" if role else "")


def _details(summary: str, content: Any, name: str = "") -> str:
    """A part to open; what it refers to is linked."""
    text = _REFERENCE.sub(r'<a href="#\2-\3">\1</a>', escape(json.dumps(content, indent=2)))
    own = f' id="{escape(name)}"' if name else ""
    return f"<details{own}><summary>{summary}</summary><pre>{text}</pre></details>"


def _json_content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
