"""Errors for callers: RFC 9457 problem details, free of any web framework."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec

from plinth_kit import tracing
from plinth_kit.asgi import Header, Response

CONTENT_TYPE = "application/problem+json"

T = TypeVar("T")

_WITH_PATH = re.compile(r"(?P<message>.*) - at `(?P<path>[^`]*)`(?: in `(?P<parent>[^`]*)`)?", re.DOTALL)
_NAMES_FIELD = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>[^`]*)`")
_OF_FIELD = re.compile(r"`(?P<name>\w+)` (?P<what>.*)")  # what a struct itself says of one of its fields


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field; `field` is its path, e.g. `transactions[3].amount_minor`."""

    field: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a caller is told, as in RFC 9457; `errors` names fields, `trace_id` is found in the log."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()
    trace_id: str = ""


class Problem(Exception):
    """An error that the caller is told about. Its text must hold no secret and no internals."""

    def __init__(
        self,
        status: int,
        title: str = "",
        detail: str = "",
        errors: Sequence[FieldError] = (),
        *,
        type: str = "about:blank",
        headers: Sequence[Header] = (),
    ) -> None:
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.errors = tuple(errors)
        self.type = type
        self.headers = tuple(headers)
        super().__init__(f"{status} {self.title}: {detail}" if detail else f"{status} {self.title}")


def problem_response(problem: Problem, *, instance: str = "") -> Response:
    """The answer for a problem: `application/problem+json` with the current trace id."""
    trace = tracing.current.get()
    body = ProblemBody(
        problem.type,
        problem.title,
        problem.status,
        problem.detail,
        instance,
        problem.errors,
        trace.trace_id if trace else "",
    )
    return Response(problem.status, msgspec.json.encode(body), CONTENT_TYPE, problem.headers)


def from_validation_error(error: msgspec.DecodeError) -> Problem:
    """A 422 that names the field of a msgspec.ValidationError; a 400 for a body that is not JSON.

    The path is relative to the body, `$` where the body as a whole has the wrong type.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, "Malformed body", text)
    found = _WITH_PATH.fullmatch(text)
    message = found["message"] if found else text
    path = (found["parent"] or found["path"]) if found else "$"
    field = path.removeprefix("$").removeprefix(".")
    named = _NAMES_FIELD.fullmatch(message)
    if named:
        field = f"{field}.{named['name']}" if field else named["name"]
        message = "required field is missing" if named["what"] == "missing required" else "unknown field"
    elif own := _OF_FIELD.fullmatch(message):
        field, message = f"{field}.{own['name']}" if field else own["name"], own["what"]
    return invalid([FieldError(field or "$", message)])


def invalid(errors: Sequence[FieldError]) -> Problem:
    """A 422 that lists fields."""
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    return Problem(422, "Invalid request", detail, errors)


def decode(decoder: Callable[[bytes], T], body: bytes) -> T:
    """What a msgspec decoder makes of a request body; raises the Problem to answer where it cannot."""
    try:
        return decoder(body)
    except msgspec.DecodeError as error:
        raise from_validation_error(error) from error
    except UnicodeDecodeError as error:
        raise Problem(400, "Malformed body", "the body is not UTF-8") from error
    except RecursionError as error:
        raise Problem(400, "Malformed body", "the body is nested too deeply") from error
