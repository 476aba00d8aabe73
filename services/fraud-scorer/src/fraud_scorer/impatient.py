"""A Postgres connection that gives up on a server that does not answer.

`statement_timeout` is kept by the server, so it ends no query of a server that hangs.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
import sqlalchemy as sql
from psycopg import OperationalError


def bound(engine: sql.Engine, seconds: float) -> None:
    """No query of this engine waits longer; then it raises OperationalError and its connection is closed."""

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
            return super().wait(self._until(time.monotonic() + seconds, gen), *args, **options)

        def _until(
            self, deadline: float, gen: Generator[Any, Any, Any]
        ) -> Generator[Any, Any, Any]:  # is sent what the socket is ready for, ten times a second nothing
            try:
                wanted = next(gen)
                while True:
                    ready = yield wanted
                    if not ready and time.monotonic() > deadline:
                        self.pgconn.finish()
                        raise OperationalError(f"no answer within {seconds:g} s")
                    wanted = gen.send(ready)
            except StopIteration as end:
                return end.value

    @sql.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
        return Impatient.connect(*arguments, **options)
