"""What the ordinary HTTP routes have in common: ids, times that callers state, a database that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field
from sqlalchemy.exc import OperationalError, ProgrammingError, TimeoutError

from plinth_contracts.events import check_not_ahead, check_times
from plinth_kit.problems import Problem

ID_PATTERN = r"^[!-~]{1,64}$"
SomeId = Annotated[str, Field(pattern=ID_PATTERN)]


def _in_range(observed_at: datetime) -> datetime:
    check_times(observed_at=observed_at)
    check_not_ahead("observed_at", observed_at, datetime.now(UTC))
    return observed_at


ObservedAt = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_range)]
"""When the truth about a transaction became known; no more than a day ahead."""


@contextmanager
def database() -> Iterator[None]:
    """A database that is away, hangs or has no schema yet becomes a Problem 503."""
    try:
        yield
    except (OperationalError, ProgrammingError, TimeoutError) as error:
        raise Problem(503, detail="the database is away: try again") from error
