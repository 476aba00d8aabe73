"""What the ordinary HTTP routes have in common: ids, times that callers state, a database that is away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlalchemy.exc import OperationalError, ProgrammingError, TimeoutError

from plinth_contracts.events import ID, check_not_ahead, check_times
from plinth_kit.problems import Problem


def _an_id(text: str) -> str:
    if not re.match(str(ID.pattern), text):
        raise PydanticCustomError("id", f"must be {ID.description}")
    return text


SomeId = Annotated[
    str,
    AfterValidator(_an_id),
    WithJsonSchema({"type": "string", "pattern": ID.pattern, "description": ID.description}),
]


def _in_range(observed_at: datetime) -> datetime:
    check_times(observed_at=observed_at)
    check_not_ahead("observed_at", observed_at, datetime.now(UTC))
    return observed_at


def _text_of_time(value: object) -> object:
    """Numbers, which Pydantic takes for Unix time, are none."""
    if (isinstance(value, str) and value[4:5] != "-") or isinstance(value, int | float):
        raise PydanticCustomError("time", "must be RFC 3339 with a zone, e.g. 2018-08-23T10:00:00Z")
    return value


ObservedAt = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_text_of_time), AfterValidator(_in_range)
]
"""When the truth about a transaction became known; no more than a day ahead."""


@contextmanager
def database() -> Iterator[None]:
    """A database that is away, hangs or has no schema yet becomes a Problem 503."""
    try:
        yield
    except (OperationalError, ProgrammingError, TimeoutError) as error:
        raise Problem(503, detail="the database is away: try again") from error
