"""Requests and messages of every kind of nonsense: no 5xx, no traceback, no exception out of a handler."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from hostile_service import Failures, Service, together
from hostile_values import DECISION, LABEL_BODY, LABEL_EVENT, TRANSACTION, UPDATE, Hostile

from plinth_kit.kafka.message import Message

AT_ONCE, BATCH = 40, 500
READERS = (
    ("worker", "transaction.received", TRANSACTION),
    ("recorder", "decision.made", DECISION),
    ("recorder", "label.observed", LABEL_EVENT),
    ("engine", "transaction.received", TRANSACTION),
    ("engine", "label.observed", LABEL_EVENT),
    ("engine", "feature.update", UPDATE),
)


@pytest.mark.timeout(3_600)
def test_no_request_makes_a_server_error(service: Service, failures: Failures, how_many: int) -> None:
    hostile, statuses = Hostile(1), Counter[int]()
    recorded = {**DECISION, "transaction_id": LABEL_BODY["transaction_id"]}
    known = [hostile.body(recorded, spoilt=0.0) for _ in range(500)]
    assert service.handle("recorder", _messages("decision.made", 0, known)) == 0

    async def attack() -> None:
        for n in range(how_many // 4 // AT_ONCE):
            if n % 50 == 5:
                service.learn_cases()
            calls = [hostile.call(service.case_ids) for _ in range(AT_ONCE)]
            answers = await together(service, calls)
            bad = [call for call, status in zip(calls, answers, strict=True) if status >= 500]
            assert not bad, (bad, failures.texts)
            statuses.update(answers)

    asyncio.run(attack())
    assert failures.texts == []
    assert {200, 202, 400, 401, 403, 404, 405, 413, 422} <= statuses.keys()
    sys.stdout.write(f"\n{statuses.total()} requests: {_table(statuses)}\n")


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("role", "topic", "fields"), READERS, ids=lambda value: str(value)[:20])
def test_no_message_ends_a_handler(
    service: Service, failures: Failures, how_many: int, role: str, topic: str, fields: dict[str, list[bytes]]
) -> None:
    hostile = Hostile(hash_of(role + topic))
    messages = dead = 0
    for batch in range(max(1, how_many * 3 // 4 // len(READERS) // BATCH)):
        values = [hostile.noise() if n % 20 == 0 else hostile.body(fields) for n in range(BATCH)]
        dead += service.handle(role, _messages(topic, batch * BATCH, values))
        messages += len(values)
    assert failures.texts == []
    assert 0.2 * messages < dead < 0.9 * messages, "some of it is garbage, and not all"
    sys.stdout.write(f"\n{role} of {topic}: {messages} messages, {dead} dead letters\n")


def _messages(topic: str, first: int, values: Sequence[bytes]) -> list[Message]:
    headers = (("traceparent", b"\xff" * 300), ("", b""), ("ce_id", b"\x00"))
    now_ms = round(time.time() * 1000)
    return [Message(topic, 0, first + n, b"\xff", value, headers, now_ms) for n, value in enumerate(values)]


def hash_of(text: str) -> int:
    """A seed that is the same in every run."""
    return int.from_bytes(text.encode(), "big")


def _table(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
