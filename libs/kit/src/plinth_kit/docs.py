"""API docs that need no internet: one OpenAPI document of all routes and a plain HTML page made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec
from fastapi import FastAPI

from plinth_kit.asgi import HotRoute, Response

PATHS = frozenset({"/docs", "/openapi.json"})

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f4f4;padding:1rem;"
    "overflow:auto}summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;width:4.5rem}"
)
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
    """The OpenAPI document of the FastAPI routes and the hot routes together."""
    empty: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": service, "version": "1"}, "paths": {}}
    spec: dict[str, Any] = json.loads(json.dumps(api.openapi())) if api else empty
    bodies = [body for route in hot.values() for body in (route.request, route.response) if body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    remaining = iter(schemas)
    for (method, path), route in hot.items():
        operation: dict[str, Any] = {
            "summary": route.summary,
            "description": f"Needs the role {route.role.name.lower()}.",
            "responses": {"200": {"description": "OK"}},
        }
        if route.request is not None:
            operation["requestBody"] = {"required": True, "content": _json_content(next(remaining))}
        if route.response is not None:
            operation["responses"]["200"]["content"] = _json_content(next(remaining))
        spec["paths"].setdefault(path, {})[method.lower()] = operation
    parts = spec.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components)
    parts["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    spec["security"] = [{"key": []}]
    return spec


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
    schemas = "".join(
        _details(f"<code>{escape(name)}</code>", schema)
        for name, schema in sorted(spec.get("components", {}).get("schemas", {}).items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        '<p>Send your key as <code>X-API-Key</code>. Machine-readable: <a href="openapi.json">openapi.json'
        f"</a></p><h2>Routes</h2>{routes}<h2>Schemas</h2>{schemas}</body></html>"
    )


def _summary(operation: Mapping[str, Any]) -> str:
    return escape(str(operation.get("summary", "")))


def _details(summary: str, content: Any) -> str:
    text = escape(json.dumps(content, indent=2))
    return f"<details><summary>{summary}</summary><pre>{text}</pre></details>"


def _json_content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
