"""The environment of the pipelines: where the platform's parts are."""

from __future__ import annotations

from pathlib import Path

from plinth_kit.settings import KafkaSettings, RedisSettings


class PipelineSettings(KafkaSettings, RedisSettings):
    """What training, backfill and replay need."""

    mlflow_url: str
    """MLflow server, e.g. http://127.0.0.1:5000"""

    scorer_url: str = "http://127.0.0.1:8200"
    """Fraud scorer's HTTP API"""

    scorer_worker_url: str = "http://127.0.0.1:8201"
    """Health of the fraud scorer's worker"""

    scorer_recorder_url: str = "http://127.0.0.1:8202"
    """Health and metrics of the fraud scorer's recorder"""

    engine_url: str = "http://127.0.0.1:8101"
    """Metrics of the feature engine"""

    feature_repo: Path = Path("feature_repo")
    """Folder of the feature declarations"""

    state_dir: Path = Path(".plinth")
    """Folder for downloads, generated data and Feast's registry"""
