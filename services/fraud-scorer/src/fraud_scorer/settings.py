"""The environment of the fraud scorer, read here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plinth_kit.settings import KafkaSettings, RedisSettings


class ScorerSettings(KafkaSettings, RedisSettings):
    """What the API and the worker need."""

    port: int = Field(default=8200, ge=0, le=65535)
    """TCP port to listen on"""

    mlflow_url: str
    """MLflow server that holds the models, e.g. http://127.0.0.1:5000"""

    postgres_url: str = ""
    """Database of decisions and labels, e.g. postgresql+psycopg://user:password@127.0.0.1:5432/fraud_scorer"""

    feature_spec: Path
    """Compiled feature service, e.g. feature_repo/compiled/fraud.json"""

    state_dir: Path = Path(".plinth")
    """Folder for downloaded models"""

    model_name: str = "fraud"
    """Registered model to serve"""

    model_alias: str = "champion"
    """Alias of the version to serve; moving it swaps the model without a restart"""

    model_poll_seconds: float = Field(default=2.0, gt=0)
    """How often the alias is looked up"""

    decision_ttl_seconds: int = Field(default=86_400, ge=1)
    """How long a repeated transaction is recognised; about 600 bytes of Redis memory each"""

    batch_size: int = Field(default=500, ge=1, le=10_000)
    """Most transactions scored at once"""
