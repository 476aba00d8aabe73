"""The environment of the fraud scorer, read here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from fraud_scorer.core.cases import EscalationPolicy, escalation_policy
from plinth_kit.settings import KafkaSettings, RedisSettings, Settings


class LedgerSettings(Settings):
    """What migrating the schema needs."""

    postgres_url: str
    """Database of decisions and labels, e.g. postgresql://user:password@127.0.0.1:5432/fraud_scorer"""


class CaseSettings(LedgerSettings):
    """For roles that work on cases."""

    case_policy: Annotated[EscalationPolicy, NoDecode, PlainValidator(escalation_policy)] = Field(
        default=EscalationPolicy(), validate_default=False
    )
    """When a case reaches tier 2 or 3 and how long each tier may take, as JSON, e.g. {"tier3_blocks": 5}"""


class RecorderSettings(KafkaSettings, CaseSettings):
    """What the recorder needs."""

    port: int = Field(default=8202, ge=0, le=65535)
    """TCP port for health and metrics"""


class ScorerSettings(KafkaSettings, RedisSettings):
    """What every role that decides needs."""

    port: int = Field(default=8200, ge=0, le=65535)
    """TCP port to listen on"""

    mlflow_url: str
    """MLflow server that holds the models, e.g. http://127.0.0.1:5000"""

    feature_spec: Path
    """Compiled feature service, e.g. feature_repo/compiled/fraud.json"""

    policy_file: Path = Path(__file__).parent / "policy.yaml"
    """Policy: rules, thresholds, contexts, let-through and reasons; by default the one beside the code"""

    let_through_key_file: Path | None = None
    """File with a secret, the same in every process: without it callers can pick ids that chance lets pass"""

    state_dir: Path = Path(".plinth")
    """Folder for downloaded models, and for events while Kafka is away"""

    model_name: str = "fraud"
    """Registered model to serve"""

    model_alias: str = "champion"
    """Alias of the version to serve; moving it swaps the model without a restart"""

    shadow_prefix: str = "shadow"
    """Versions whose alias begins so are scored and logged beside the one that decides"""

    model_poll_seconds: float = Field(default=2.0, gt=0)
    """How often the alias is looked up"""

    decision_ttl_seconds: int = Field(default=3_600, ge=1)
    """How long a repeated transaction is recognised; about 500 bytes of Redis memory each"""


class ApiSettings(ScorerSettings, CaseSettings):
    """What the API needs."""

    outbox_max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Most bytes of events that the API keeps on disk while Kafka is away; then it answers 503"""


class WorkerSettings(ScorerSettings):
    """What the worker needs."""

    port: int = Field(default=8201, ge=0, le=65535)
    """TCP port for health and metrics"""

    batch_size: int = Field(default=500, ge=1, le=10_000)
    """Most transactions scored at once"""
