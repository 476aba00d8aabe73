"""FastAPI on this kit: problem answers instead of its own error bodies, and roles as dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException

from plinth_kit import problems
from plinth_kit.auth import Principal, Role
from plinth_kit.problems import FieldError, Problem, problem_response

F = TypeVar("F", bound=Callable[..., Any])

_ROLE, _ANSWERS = "plinth_role", "plinth_answers"
_CDN_PAGES = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})


class Documented(NamedTuple):
    """A route: its least role, the msgspec type of its answer (None: FastAPI knows), its own problems."""

    path: str
    method: str
    role: Role
    answer: Any
    problems: tuple[int, ...]


def install(api: FastAPI) -> None:
    """Make an app answer every error as a problem, and drop its docs pages, which load scripts from a CDN."""
    api.router.routes[:] = [r for r in api.router.routes if getattr(r, "path", None) not in _CDN_PAGES]
    api.router.redirect_slashes = (
        False  # a path is exact, and a redirect cannot tell a query that is no UTF-8
    )
    api.add_exception_handler(Problem, _on_problem)
    api.add_exception_handler(RequestValidationError, _on_invalid)
    api.add_exception_handler(HTTPException, _on_http_exception)
    api.add_exception_handler(Exception, _on_exception)


def requires(role: Role) -> Callable[[Request], Principal]:
    """A dependency that answers 403 below that role and otherwise yields who sent the request.

    `dependencies=[Depends(requires(Role.ADMIN))]`, or `Annotated[Principal, Depends(requires(...))]`.
    """

    def check(request: Request) -> Principal:
        principal: Principal = request.scope["plinth.principal"]
        ensure(principal, role)
        return principal

    vars(check)[_ROLE] = role
    return check


def answers(kind: Any = None, *problems: int) -> Callable[[F], F]:
    """Tell the docs what a route answers with, below its `@app.get(...)`.

    `kind` is the msgspec type of a route that makes its Response itself; `problems` are statuses beyond those
    that every route may answer with.
    """

    def note(endpoint: F) -> F:
        vars(endpoint)[_ANSWERS] = (kind, problems)
        return endpoint

    return note


def documented(api: FastAPI) -> Iterator[Documented]:
    """What the routes of an app that are in its docs say of themselves, those of included routers too."""
    for route in iter_route_contexts(api.routes):
        if not isinstance(route.original_route, APIRoute) or not route.include_in_schema:
            continue
        needed = [getattr(one.call, _ROLE, Role.VIEWER) for one in route.dependant.dependencies]
        kind, problems = getattr(route.endpoint, _ANSWERS, (None, ()))
        for method in sorted(route.methods or ()):
            role = max(needed, default=Role.VIEWER)
            yield Documented(str(route.path_format), method.lower(), role, kind, problems)


def ensure(principal: Principal, role: Role) -> None:
    """Raise the 403 problem where a principal's role is below the one needed."""
    if principal.role < role:
        raise Problem(403, detail=f"this needs the role {role.name.lower()} or above")


def _answer(problem: Problem) -> Response:
    response = problem_response(problem)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    return Response(response.body, response.status, headers, response.content_type)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  registered for this type
    return _answer(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    items: Sequence[Any] = error.errors()
    if any(item["type"] == "json_invalid" for item in items):
        return _answer(Problem(400, "Malformed body", "the body is not JSON"))
    return _answer(problems.invalid([FieldError(field_path(item["loc"]), item["msg"]) for item in items]))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    problem = Problem(error.status_code, headers=headers)
    if error.detail != problem.title:
        problem.detail = str(error.detail)
    return _answer(problem)


async def _on_exception(_: Request, _error: Exception) -> Response:
    # Starlette raises the exception again after this answer, and the front application logs it.
    return _answer(Problem(500))


def field_path(loc: Sequence[str | int]) -> str:
    """`("body", "transactions", 3, "amount_minor")` as `body.transactions[3].amount_minor`."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc]
    return "".join(parts).removeprefix(".")
