import subprocess
import sys
from pathlib import Path

import pytest

from plinth_kit.settings import KafkaSettings, RedisSettings, Settings, SettingsError, load


class ScorerSettings(KafkaSettings, RedisSettings):
    port: int = 8200
    """Where the scorer listens"""


@pytest.fixture(autouse=True)
def _no_plinth_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLINTH_KAFKA_BOOTSTRAP", "PLINTH_REDIS_URL", "PLINTH_PORT", "PLINTH_API_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_variable_is_named_with_its_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLINTH_KAFKA_BOOTSTRAP", "127.0.0.1:9092")

    with pytest.raises(SettingsError) as caught:
        load(ScorerSettings)

    assert str(caught.value) == ("PLINTH_REDIS_URL is not set: Redis server, e.g. redis://127.0.0.1:6379/0")


def test_a_wrong_value_is_named_but_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLINTH_PORT", "hunter2")

    with pytest.raises(SettingsError) as caught:
        load(Settings)

    assert str(caught.value).startswith("PLINTH_PORT is not valid (")
    assert "hunter2" not in str(caught.value)


def test_mixins_compose_and_foreign_or_empty_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLINTH_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("PLINTH_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("PLINTH_SOMEBODY_ELSES", "x")
    monkeypatch.setenv("PLINTH_API_KEYS_FILE", "")
    monkeypatch.setenv("PLINTH_LOG_LEVEL", "debug")

    settings = load(ScorerSettings)

    assert (settings.port, settings.kafka_bootstrap, settings.log_level) == (8200, "127.0.0.1:9092", "DEBUG")
    assert settings.api_keys_file is None


def test_every_field_is_described() -> None:
    assert [name for name, field in ScorerSettings.model_fields.items() if not field.description] == []


def test_a_process_without_a_setting_ends_with_one_line_and_code_1(tmp_path: Path) -> None:
    code = "from plinth_kit.settings import KafkaSettings, load; load(KafkaSettings)"

    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == "PLINTH_KAFKA_BOOTSTRAP is not set: Kafka bootstrap servers, e.g. 127.0.0.1:9092\n"
