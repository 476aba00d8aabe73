"""The environment of the feature store, read here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plinth_kit.settings import KafkaSettings, RedisSettings


class EngineSettings(KafkaSettings, RedisSettings):
    """What the engine needs."""

    port: int = Field(default=8101, ge=0, le=65535)
    """TCP port for health and metrics"""

    feature_spec: Path
    """Compiled feature service, e.g. feature_repo/compiled/fraud.json"""

    batch_size: int = Field(default=500, ge=1, le=10_000)
    """Most events folded at once"""
