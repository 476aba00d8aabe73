"""The running platform that is measured: where it is, whether it is there, and when it is at rest."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis
from bench_report import REPO
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

GROUPS = ("fraud-scorer", "fraud-scorer-recorder", "feature-store")
REST_DEADLINE_S = 180.0
OPERATOR_KEY = "PLINTH_API_KEY_OPERATOR"


def _env(name: str, default: str) -> str:
    return os.environ.get(name) or default


@dataclass(frozen=True)
class Platform:
    """Addresses from the environment, by default those of `make up`."""

    kafka: str = field(default_factory=lambda: _env("PLINTH_KAFKA_BOOTSTRAP", "127.0.0.1:9092"))
    redis: str = field(default_factory=lambda: _env("PLINTH_REDIS_URL", "redis://127.0.0.1:6379/0"))
    scorer: str = field(default_factory=lambda: _env("PLINTH_SCORER_URL", "http://127.0.0.1:8200"))

    @property
    def operator_key(self) -> str | None:
        """The operator's API key, from the environment or from the local platform's file."""
        path = Path(_env("PLINTH_STATE_DIR", str(REPO / ".plinth"))) / "api-keys.env"
        lines = path.read_text().splitlines() if path.exists() else []
        return os.environ.get(OPERATOR_KEY) or dict(line.split("=", 1) for line in lines if "=" in line).get(
            OPERATOR_KEY
        )

    def missing(self) -> str | None:
        """What there is not; None when everything can be measured."""
        try:
            ready = httpx.get(f"{self.scorer}/readyz", timeout=5)
        except httpx.TransportError:
            return f"no platform runs: nothing answers at {self.scorer} (start one with `make demo`)"
        if ready.status_code != httpx.codes.OK:
            return f"the fraud scorer at {self.scorer} is not ready: {ready.text[:200]}"
        try:
            AdminClient({"bootstrap.servers": self.kafka, "log_level": 0}).list_topics(timeout=5)
        except KafkaException:
            return f"no platform runs: no Kafka broker answers at {self.kafka}"
        if not self.operator_key:
            return f"no API key: set {OPERATOR_KEY}, or PLINTH_STATE_DIR to the platform's folder"
        return None

    def rest(self) -> None:
        """Return once no consumer of the platform has anything left to do, so that runs do not mix."""
        deadline = time.monotonic() + REST_DEADLINE_S
        while behind := {group: lag for group in GROUPS if (lag := self._lag(group))}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"messages still waiting after {REST_DEADLINE_S:.0f} s: {behind}")
            time.sleep(0.5)

    def forget(self, prefix: str) -> None:
        """Delete what Redis holds of transactions and customers of this prefix; it is of no use."""
        with redis.Redis.from_url(self.redis) as client:
            keys = list(client.scan_iter(match=f"*:{prefix}*", count=5000))
            for start in range(0, len(keys), 5000):
                client.unlink(*keys[start : start + 5000])

    def _lag(self, group: str) -> int:
        admin = AdminClient({"bootstrap.servers": self.kafka})
        request = [ConsumerGroupTopicPartitions(group)]
        committed = admin.list_consumer_group_offsets(request)[group].result(10).topic_partitions
        reader = Consumer({"bootstrap.servers": self.kafka, "group.id": "bench-lag"})
        try:
            return sum(_behind(reader, part) for part in committed or ())
        finally:
            reader.close()


def _behind(reader: Consumer, part: TopicPartition) -> int:
    _, end = reader.get_watermark_offsets(part, timeout=10)
    return max(0, end - part.offset) if part.offset >= 0 else 0
