"""What the end-to-end tests share beside the platform itself (tests/fixtures_platform.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fixtures_platform import HIGH_AMOUNT_MINOR, RunningPlatform, find_decision, new_transaction, wait_until
from kafka_tail import Send, Tail, sender

TOPICS = ["transaction.received", "prediction.logged", "decision.made", "label.observed", "alert.raised"]


@pytest.fixture
def api(platform: RunningPlatform) -> Iterator[httpx.Client]:
    """The fraud scorer's API for an operator."""
    with platform.client() as client:
        yield client


@pytest.fixture
def tail(platform: RunningPlatform) -> Iterator[Tail]:
    """Every topic from now on."""
    reader = Tail(platform.bootstrap, [*TOPICS, "transaction.received.dlq"])
    yield reader
    reader.close()


@pytest.fixture
def send(platform: RunningPlatform) -> Iterator[Send]:
    """send(topic, key, value): produced with kafka-python and acknowledged; a dict goes as JSON."""
    with sender(platform.bootstrap) as produce:
        yield produce


@pytest.fixture(scope="session")
def decided(platform: RunningPlatform) -> dict[str, Any]:
    """A blocked transaction that went through Kafka and was labelled, so that every metric has a value."""
    transaction = new_transaction(amount_minor=HIGH_AMOUNT_MINOR)
    some_id = transaction["transaction_id"]
    with sender(platform.bootstrap) as produce:
        produce("transaction.received", transaction["customer_id"], transaction)
    with platform.client() as client:
        recorded = wait_until(lambda: find_decision(client, some_id), f"{some_id} is recorded")
        label = {
            "decision_id": recorded["decision_id"],
            "label": True,
            "observed_at": datetime.now(UTC).isoformat(),
        }
        assert client.post("/v1/labels", json=label).status_code == httpx.codes.ACCEPTED
    return transaction
