"""The runner's metrics for Prometheus."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Collection, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from plinth_kit.kafka.message import Handled, Message, Partition
from plinth_kit.kafka.outbox import Outbox

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class PrometheusObserver:
    """An Observer; one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"plinth_kafka_{name}", text, labels, registry=registry)

        self._consumed = counter("consumed", "Messages processed", ["topic"])
        self._produced = counter("produced", "Messages produced, dead letters apart", ["topic"])
        self._invalid = counter("invalid", "Messages sent to the dead letter topic", ["topic"])
        self._commits = counter("commits", "Commits of offsets")
        self._retries = counter("retries", "Batches that waited for a neighbour", ["needs"])
        self._rewinds = counter("rewinds", "Partitions read again from their beginning", ["topic"])
        self._seconds = Histogram(
            "plinth_kafka_handler_seconds",
            "Time in the handler per batch",
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "plinth_kafka_batch_messages", "Messages per batch", buckets=_MESSAGES, registry=registry
        )
        self._lag = Gauge(
            "plinth_kafka_lag_messages",
            "Messages in the log that were not polled yet",
            ["topic", "partition"],
            registry=registry,
        )
        self._assigned: frozenset[Partition] = frozenset()

    def handled(self, batch: Sequence[Message], handled: Handled, seconds: float) -> None:
        self._seconds.observe(seconds)
        self._batch.observe(len(batch))
        _count(self._consumed, [message.topic for message in batch])
        _count(self._produced, [outgoing.topic for outgoing in handled.outgoing])
        _count(self._invalid, [invalid.message.topic for invalid in handled.invalid])

    def committed(self, offsets: Mapping[Partition, int]) -> None:  # noqa: ARG002
        self._commits.inc()

    def retrying(self, needs: str) -> None:
        self._retries.labels(needs).inc()

    def rewound(self, partitions: Collection[Partition]) -> None:
        _count(self._rewinds, [topic for topic, _ in partitions])

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """Replaces the gauges: a partition that moved away is another process's to report."""
        for topic, partition in self._assigned - lags.keys():
            self._lag.remove(topic, str(partition))
        for (topic, partition), messages in lags.items():
            self._lag.labels(topic, str(partition)).set(messages)
        self._assigned = frozenset(lags)


def measure_outbox(outbox: Outbox, registry: CollectorRegistry) -> None:
    """Gauges of what an outbox keeps, read when they are asked for; one outbox per registry."""

    def gauge(name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(f"plinth_kafka_outbox_{name}", text, registry=registry).set_function(read)

    gauge("messages", "Events on disk that wait for the broker", lambda: outbox.waiting.messages)
    gauge("bytes", "Bytes of the events on disk", lambda: outbox.waiting.bytes)
    gauge("age_seconds", "How long the oldest event on disk has waited", lambda: outbox.age)
    gauge("refused_messages", "Events on disk that the broker will never take", lambda: outbox.refused)


def _count(counter: Counter, topics: Collection[str]) -> None:
    for topic, count in Counts(topics).items():
        counter.labels(topic).inc(count)
