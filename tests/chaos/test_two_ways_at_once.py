"""The same transactions over two APIs and Kafka at the same moment: one decision each, the same for all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures_platform import HOST, ROOT, RunningPlatform, new_transaction, wait_until
from kafka_tail import Tail, as_json

from plinth_cli.config import load
from plinth_cli.platform import Platform
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing

TRANSACTIONS = 300
START_SECONDS = 120.0


@pytest.fixture
def second_api(platform: RunningPlatform, tmp_path: Path) -> Iterator[str]:
    """Address of another API process beside the platform's, with a state folder of its own."""
    processes = Platform(load(platform.local_environ()))
    row = processes.table.find("fraud-scorer-api")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, **row.env, "PLINTH_PORT": str(port), "PLINTH_STATE_DIR": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fraud_scorer", "api"], env=environ, cwd=ROOT, stderr=log
        )
    url = f"http://{HOST}:{port}"

    def has_model() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return not httpx.get(f"{url}/readyz", timeout=30).json().get("degraded")
        except httpx.TransportError:
            return False

    try:
        wait_until(has_model, "the second API is ready", START_SECONDS)
        yield url
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.timeout(600)
def test_all_ways_give_one_decision(platform: RunningPlatform, second_api: str) -> None:
    transactions = [new_transaction(amount_minor=100 + 500 * n) for n in range(TRANSACTIONS)]
    tail = Tail(platform.bootstrap, ["decision.made"])
    producer = KafkaBroker(platform.bootstrap, "two-ways").producer()

    def over_http(url: str) -> dict[str, tuple[Any, ...]]:
        answers = {}
        with platform.client() as client:
            for transaction in transactions:
                answer = client.post(f"{url}/v1/decisions", json=transaction)
                assert answer.status_code == 200, answer.text
                answers[transaction["transaction_id"]] = _said(answer.json())
        return answers

    def over_kafka() -> None:
        for transaction in transactions:
            key, value = transaction["customer_id"].encode(), json.dumps(transaction).encode()
            producer.produce([Outgoing("transaction.received", key, value)])
        producer.flush(60)

    with ThreadPoolExecutor(3) as pool:
        both = [pool.submit(over_http, url) for url in (platform.url("fraud-scorer-api"), second_api)]
        pool.submit(over_kafka).result()
        first, second = (future.result() for future in both)
    assert first == second

    published: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    seen = 0

    def all_published() -> bool:
        nonlocal seen
        records = tail.rest()
        for value in map(as_json, records[seen:]):
            published[value["transaction_id"]].add(_said(value))
        seen = len(records)
        return published.keys() >= first.keys()

    wait_until(all_published, "every decision is published", START_SECONDS)
    assert {some_id: published[some_id] for some_id in first} == {k: {said} for k, said in first.items()}
    tail.close()
    producer.abandon()


def _said(decision: dict[str, Any]) -> tuple[Any, ...]:
    return decision["decision_id"], decision["outcome"], decision["score"]
