"""Create the declared topics that are missing: `python -m plinth_pipelines.setup_topics`. Idempotent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from plinth_contracts import topics
from plinth_kit import logs
from plinth_kit.settings import KafkaSettings, load

logger = logging.getLogger(__name__)

WAIT_SECONDS = 120.0


def plan(specs: Iterable[topics.TopicSpec], replication: int = 1) -> list[Any]:
    """The topics that the declarations ask for, as confluent-kafka's NewTopic."""
    return [
        NewTopic(topic.name, topic.partitions, replication, config=topic.config)
        for spec in specs
        for topic in spec.wanted
    ]


def create_missing(admin: Any, wanted: Sequence[Any]) -> list[str]:
    """Create those topics that the broker lacks; returns their names. Raises KafkaException."""
    present = admin.list_topics(timeout=10).topics
    missing = [topic for topic in wanted if topic.topic not in present]
    created = []
    for name, done in (admin.create_topics(missing) if missing else {}).items():
        try:
            done.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def create_when_there(
    admin: Any, wanted: Sequence[Any], deadline: float, clock: Callable[[], float] = time.monotonic
) -> list[str]:
    """`create_missing`, tried again until `deadline` (of `clock`, seconds) while no broker answers."""
    while True:
        try:
            return create_missing(admin, wanted)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() != KafkaError._TRANSPORT:
                raise
            if clock() > deadline:
                raise
            logger.warning("waiting for kafka", extra={"reason": str(error)})


def main() -> int:
    """Create what is missing on the broker of PLINTH_KAFKA_BOOTSTRAP."""
    settings = load(KafkaSettings)
    logs.configure("setup", settings.log_level)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 3})
    created = create_when_there(admin, plan(topics.load()), time.monotonic() + WAIT_SECONDS)
    logger.info("topics are there", extra={"made": sorted(created)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
