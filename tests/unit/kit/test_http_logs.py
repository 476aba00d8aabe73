import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from plinth_kit import logs, tracing

TRACE = tracing.TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    logs.configure("fraud-scorer", "INFO", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_agreed_fields(stream: io.StringIO) -> None:
    trace, prediction = tracing.current.set(TRACE), logs.prediction_id.set("p-1")
    try:
        logging.getLogger("a.b").warning("late by %d s", 3, extra={"entity_id": "c1"})
    finally:
        tracing.current.reset(trace)
        logs.prediction_id.reset(prediction)

    (line,) = _lines(stream)
    at = datetime.fromisoformat(line.pop("ts"))
    assert at.utcoffset() == timedelta(0)
    assert line == {
        "level": "WARNING",
        "logger": "a.b",
        "message": "late by 3 s",
        "service": "fraud-scorer",
        "entity_id": "c1",
        "trace_id": TRACE.trace_id,
        "prediction_id": "p-1",
    }


def test_unset_context_is_left_out_and_the_level_holds(stream: io.StringIO) -> None:
    logging.getLogger("a").debug("hidden")
    logging.getLogger("a").info("shown")

    (line,) = _lines(stream)
    assert line["message"] == "shown"
    assert "trace_id" not in line
    assert "prediction_id" not in line


def test_uvicorn_logs_as_json_except_for_its_access_log(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "started"})
    logging.getLogger("uvicorn.access").info("GET /")

    (line,) = _lines(stream)
    assert line["logger"] == "uvicorn.error"
    assert "color_message" not in line


def test_secrets_are_masked(stream: io.StringIO) -> None:
    extra = {"api_key": "hunter2", "tokens": 4, "nested": {"db_password": "hunter2"}}
    logging.getLogger("a").info("to redis://u:hunter2@h:6379/0 with Bearer hunter2", extra=extra)
    try:
        raise ValueError("redis://:hunter2@h:6379")
    except ValueError:
        logging.getLogger("a").exception("failed")

    assert "hunter2" not in stream.getvalue()
    first, second = _lines(stream)
    assert first["tokens"] == 4
    assert first["message"] == "to redis://***@h:6379/0 with Bearer ***"
    assert "ValueError: redis://***@h:6379" in second["exc_info"]
