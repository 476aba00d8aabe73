"""Settings: the environment, read once, typed, every field described.

A service composes what it needs and overrides its port:

    class ScorerSettings(KafkaSettings, RedisSettings):
        port: int = 8200
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "PLINTH_"


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


class SettingsError(SystemExit):
    """Settings are missing or wrong. Uncaught, it prints its one line on stderr and exits with code 1."""


class Settings(BaseSettings):
    """What every service has. Variables of other services in a shared environment are ignored."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 inside a container"""

    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port to listen on; 0 lets the system choose"""

    log_level: LogLevel = "INFO"
    """DEBUG, INFO, WARNING or ERROR"""

    api_keys_file: Path | None = None
    """JSON file of API keys; without it every route that needs a key answers 401"""

    max_body_bytes: int = Field(default=1024 * 1024, ge=0)
    """Largest request body in bytes; a larger one is answered 413"""

    rate_limit_per_second: float = Field(default=5000.0, ge=0)
    """Requests a second that one API key may sustain; 0 switches the limit off"""

    rate_limit_burst: int = Field(default=10_000, ge=1)
    """Requests that one API key may send at once after a pause"""


class KafkaSettings(Settings):
    """For services that read or write topics."""

    kafka_bootstrap: str
    """Kafka bootstrap servers, e.g. 127.0.0.1:9092"""

    kafka_instance_id: str | None = None
    """Name of this process, unique in its consumer group: restarted, it has its partitions back at once"""


class RedisSettings(Settings):
    """For services that use Redis."""

    redis_url: str
    """Redis server, e.g. redis://127.0.0.1:6379/0"""


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S]) -> S:
    """The settings from the environment.

    Raises SettingsError with one line that names each missing or wrong variable. Values are never
    repeated in it, because a value may be a secret.
    """
    try:
        return settings_class()
    except ValidationError as error:
        lines = [_line(settings_class, item["loc"], item["type"], item["msg"]) for item in error.errors()]
        raise SettingsError("; ".join(lines)) from None


def _line(settings_class: type[BaseSettings], loc: tuple[int | str, ...], kind: str, message: str) -> str:
    name = str(loc[0]) if loc else ""
    field = settings_class.model_fields.get(name)
    description = (field.description or "") if field else ""
    variable = str(settings_class.model_config.get("env_prefix", "")) + name
    problem = "is not set" if kind == "missing" else f"is not valid ({message})"
    return f"{variable.upper()} {problem}: {description.rstrip('.')}".rstrip(": ")
