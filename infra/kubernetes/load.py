"""Load on a platform in a cluster, from a pod inside it, and an account of every transaction.

    python load.py --prefix NAME [--rate N] [--http-rate N]

Sends transactions to Kafka and others to the HTTP API until /tmp/stop exists, waits for every decision, then
counts what Kafka and Redis hold of them. Prints one JSON object a second, and at the end one with "finished".

A request that is not answered with 200 is sent again, as a client of an idempotent API may; first answers,
repeats and requests that were never answered are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, TransactionReceived
from plinth_features import spec
from plinth_features.rows import Layout
from plinth_features.store import RedisRows
from plinth_kit import redis
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.kafka.message import Outgoing
from plinth_kit.settings import load
from plinth_pipelines.fraud import replay
from plinth_pipelines.fraud.stream import Item
from plinth_pipelines.fraud.watch import Watch
from plinth_pipelines.settings import PipelineSettings

STOP = Path("/tmp/stop")  # noqa: S108  in a container of its own
PATIENCE_S = 240.0
CUSTOMERS = 150
CONNECTIONS = 4
TOPIC = codec.topic_of(TransactionReceived)
DECISIONS = codec.topic_of(DecisionMade)


@dataclass
class Requests:
    """What became of the requests to the HTTP API."""

    sent: int = 0
    first_time: int = 0
    repeated: int = 0
    never: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By status code or kind of transport error, those other than 200."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def transaction(prefix: str, number: int, ts_ms: int) -> TransactionReceived:
    """A small payment of one of CUSTOMERS customers."""
    return TransactionReceived(
        transaction_id=f"{prefix}-{number}",
        customer_id=f"{prefix}-c{number % CUSTOMERS}",
        terminal_id=f"{prefix}-t{number % 97}",
        amount_minor=1_000 + number % 500,
        event_ts=datetime.fromtimestamp(ts_ms / 1000, UTC),
    )


def items(prefix: str, rate: int, sent: Counter[str]) -> Iterator[Item]:
    """Messages at `rate` a second of stream time; counts them by customer."""
    began_ms, number = round(time.time() * 1000), 0
    while not STOP.exists():
        ts_ms = began_ms + number * 1000 // rate
        event = transaction(f"{prefix}-k", number, ts_ms)
        sent[event.customer_id] += 1
        headers = codec.headers(TOPIC, event_id=event.transaction_id, source="load", time=event.event_ts)
        message = Outgoing(TOPIC, event.customer_id.encode(), codec.encode(event), headers)
        yield Item(ts_ms, event.transaction_id, message)
        number += 1


def ask(url: str, key: str, prefix: str, rate: float, keep_alive: bool, seen: Requests) -> None:
    """Requests at `rate` a second until STOP, over one connection or over a new one each."""
    limits = httpx.Limits(max_keepalive_connections=int(keep_alive))
    with httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=10, limits=limits) as client:
        began, number = time.monotonic(), 0
        while not STOP.exists():
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            event = transaction(prefix, number, round(time.time() * 1000))
            _answered(client, codec.encode(event), seen)
            number += 1


def _answered(client: httpx.Client, body: bytes, seen: Requests) -> None:
    deadline, tries = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < deadline:
        tries += 1
        try:
            outcome = str(client.post("/v1/decisions", content=body).status_code)
        except httpx.TransportError as error:
            outcome = type(error).__name__
        with seen.lock:
            seen.sent += tries == 1
            if outcome == "200":
                seen.first_time += tries == 1
                seen.repeated += tries > 1
                return
            seen.answers[outcome] += 1
        time.sleep(0.2)
    with seen.lock:
        seen.never += 1


def decision_ids(broker: KafkaBroker, prefix: str) -> dict[str, set[str]]:
    """Ids of the decisions in Kafka by transaction, up to the present end of the topic."""
    ids: dict[str, set[str]] = defaultdict(set)
    decode = codec.decoder(DecisionMade)
    consumer = broker.consumer(f"load-{time.time_ns()}", [DECISIONS])
    quiet = time.monotonic()
    while time.monotonic() - quiet < 5.0:
        for message in consumer.poll(5_000, 0.2):
            quiet = time.monotonic()
            decision = decode(message.value)
            if decision.transaction_id.startswith(prefix):
                ids[decision.transaction_id].add(decision.decision_id)
    consumer.close()
    return dict(ids)


def counted(settings: PipelineSettings, customers: list[str]) -> int:
    """Transactions in the customers' feature rows."""
    service = spec.load(Path(os.environ["PLINTH_FEATURE_SPEC"]))
    layout = Layout(next(view for view in service.views if view.name == "customer_transactions"))
    names = [aggregation.feature for aggregation in layout.view.aggregations]
    ts_ms = np.full(len(customers), int((time.time() + 600) * 1000), dtype=np.int64)
    rows = layout.read(RedisRows(redis.connect(settings.redis_url), layout).read(customers), ts_ms)
    return int(np.asarray(rows)[:, names.index("customer_tx_count_30d")].sum())


def say(**facts: Any) -> None:
    """One line for whoever reads the log."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Send until told to stop, then give account; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rate", type=int, default=150, help="transactions a second to Kafka")
    parser.add_argument("--http-rate", type=int, default=20, help="requests a second")
    options = parser.parse_args()
    settings = load(PipelineSettings)
    broker = KafkaBroker(settings.kafka_bootstrap, "load")
    sent: Counter[str] = Counter()
    seen = Requests()
    key = os.environ["PLINTH_API_KEY_OPERATOR"]
    share = options.http_rate / CONNECTIONS
    threads = [
        threading.Thread(
            target=ask,
            args=(settings.scorer_url, key, f"{options.prefix}-h{n}", share, n % 2 == 0, seen),
            daemon=True,
        )
        for n in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    said = 0.0

    def observe(watch: Watch) -> None:
        nonlocal said
        if time.monotonic() - said > 1:
            said = time.monotonic()
            say(sent=watch.sent, decided=watch.decided, requests=seen.sent, not_ok=seen.answers.total())

    stream = items(options.prefix, options.rate, sent)
    watch = replay.replay(broker, stream, speed=1.0, patience_s=PATIENCE_S, observe=observe)
    for thread in threads:
        thread.join(PATIENCE_S)
    expected = sent.total() + seen.sent - seen.never
    ids = decision_ids(broker, options.prefix)
    customers = sorted(sent) + [
        f"{options.prefix}-h{n}-c{c}" for n in range(CONNECTIONS) for c in range(CUSTOMERS)
    ]
    deadline = time.monotonic() + 60
    while (rows := counted(settings, customers)) < expected and time.monotonic() < deadline:
        time.sleep(1)
    p50, p99 = watch.percentiles()
    say(
        finished=True,
        messages=sent.total(),
        requests=seen.sent,
        first_time=seen.first_time,
        repeated=seen.repeated,
        never=seen.never,
        answers=dict(seen.answers),
        decided=len(ids),
        decided_twice=sum(len(one) > 1 for one in ids.values()),
        expected=expected,
        counted=rows,
        seen_again=watch.repeated,
        p50_ms=round(p50, 1),
        p99_ms=round(p99, 1),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
