"""What each role must be told, and what it need not be."""

from __future__ import annotations

import os

import pytest

from fraud_scorer.settings import ApiSettings, LedgerSettings, RecorderSettings, WorkerSettings
from plinth_kit.settings import Settings, SettingsError, load

KAFKA = {"PLINTH_KAFKA_BOOTSTRAP": "k:9092"}
POSTGRES = {"PLINTH_POSTGRES_URL": "postgresql://p/fraud"}
SCORING = {
    "PLINTH_REDIS_URL": "redis://r",
    "PLINTH_MLFLOW_URL": "http://m",
    "PLINTH_FEATURE_SPEC": "fraud.json",
}


@pytest.mark.parametrize(
    ("role", "needed", "port"),
    [
        (LedgerSettings, POSTGRES, 8000),
        (RecorderSettings, KAFKA | POSTGRES, 8202),
        (WorkerSettings, KAFKA | SCORING, 8201),
        (ApiSettings, KAFKA | SCORING | POSTGRES, 8200),
    ],
    ids=["migrate", "recorder", "worker", "api"],
)
def test_a_role_needs_its_own_settings_and_no_other(
    role: type[Settings], needed: dict[str, str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PLINTH_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError) as refused:
        load(role)
    assert {line.split(" ")[0] for line in str(refused.value).split("; ")} == set(needed)
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    assert load(role).port == port
