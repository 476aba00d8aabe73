"""What every role starts with: its log, its clock, its ids."""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils

from fraud_scorer.records import SERVICE
from plinth_kit import logs
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.settings import KafkaSettings, Settings


def now() -> datetime:
    """Wall clock, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: sorts by time."""
    return str(uuid_utils.uuid7())


def log(role: str, settings: Settings) -> None:
    """Log as this role from here on."""
    logs.configure(f"{SERVICE}-{role}", settings.log_level)


def broker(role: str, settings: KafkaSettings, patience_ms: int = 0) -> KafkaBroker:
    """Kafka as this role knows it."""
    return KafkaBroker(
        settings.kafka_bootstrap, f"{SERVICE}-{role}", settings.kafka_instance_id, patience_ms=patience_ms
    )
