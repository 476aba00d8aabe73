"""Logs: one JSON object a line on stderr, with the trace and prediction they belong to, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from plinth_kit import tracing

prediction_id: ContextVar[str | None] = ContextVar("plinth_prediction_id", default=None)
"""Set while a prediction is made; it then stands in every log line."""

_SECRET_NAME = re.compile(r"(^|[_-])(password|passwd|secret|token|api[_-]?key|authorization)$", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"(\w://)[^/\s@]*@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|x-api-key:?)\s+\S+"), r"\1 ***"),
)


def configure(service: str, level: str, stream: TextIO | None = None) -> None:
    """Send the logs of the process, uvicorn's and Python warnings included, to stderr as JSON lines.

    Fields: ts (RFC 3339, UTC), level, service, logger, message, the caller's `extra`, and trace_id and
    prediction_id where set. uvicorn's access log is off: metrics count requests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_add_context)
    handler.setFormatter(
        _Formatter(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            timestamp="ts",
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in ("httpx", "httpcore"):  # lines of every request drown everything else
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = name != "uvicorn.access"


def redact(name: str, value: Any) -> Any:
    """The value as it may be logged: fields with a secret's name, and credentials inside text, are masked."""
    if _SECRET_NAME.search(name):
        return "***"
    if isinstance(value, dict):
        return {key: redact(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(name, item) for item in value]
    if not isinstance(value, str):
        return value
    for pattern, mask in _SECRET_TEXT:
        value = pattern.sub(mask, value)
    return value


class _Formatter(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        log_data.pop("color_message", None)  # uvicorn's second copy, for terminals
        return {name: redact(name, value) for name, value in log_data.items()}


def _add_context(record: logging.LogRecord) -> bool:
    trace = tracing.current.get()
    if trace is not None:
        record.trace_id = trace.trace_id
    prediction = prediction_id.get()
    if prediction is not None:
        record.prediction_id = prediction
    return True
