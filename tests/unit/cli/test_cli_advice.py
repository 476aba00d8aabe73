"""What is said about what is missing."""

from __future__ import annotations

from plinth_cli.advice import TRAIN, advice
from plinth_cli.platform import Status


def ready(name: str, lacks: str = "") -> Status:
    return Status(name, "ready", True, lacks)


def test_nothing_is_said_where_all_is_well() -> None:
    assert advice([ready("kafka"), ready("fraud-scorer-api")]) == []


def test_without_a_model_the_command_is_named_once() -> None:
    lacks = "model: no version of 'fraud' has the alias 'champion'"
    assert advice([ready("fraud-scorer-api", lacks), ready("fraud-scorer-worker", lacks)]) == [TRAIN]
    assert "`plinth train fraud`" in TRAIN
    other = "model: version 3 was trained on features 01ab, served are 02cd"
    assert advice([ready("fraud-scorer-api", other)]) == [TRAIN]


def test_a_model_that_could_not_be_asked_for_is_no_reason_to_train() -> None:
    assert advice([ready("fraud-scorer-api", "model: MLflow: Connection refused")]) == []


def test_a_platform_that_does_not_run_is_to_be_started() -> None:
    stopped = [Status("kafka", "stopped", False), Status("redis", "stopped", False)]
    assert advice(stopped) == ["the platform does not run: start it with `plinth up`"]


def test_what_stopped_or_failed_is_named_with_its_command() -> None:
    found = advice([ready("kafka"), Status("redis", "stopped", False), Status("mlflow", "failed", False)])
    assert found == [
        "mlflow failed: `plinth logs mlflow` says why, `plinth restart mlflow` tries again",
        "stopped: start with `plinth up redis`",
    ]


def test_a_process_that_does_not_stay_is_named() -> None:
    restless = Status("fraud-scorer-worker", "waiting", False, "port 8201", pid=7, restarts=3)
    starting = Status("mlflow", "waiting", False, "port 5000", pid=8, restarts=1)
    recovered = Status("kafka", "ready", True, pid=9, restarts=5)
    (line,) = advice([restless, starting, recovered])
    assert line == "fraud-scorer-worker ends again and again: `plinth logs fraud-scorer-worker` says why"


def test_tables_are_made_by_the_recorder_which_must_run() -> None:
    lacks = ready("fraud-scorer-api", "postgres: schema is not there yet")
    (line,) = advice([lacks, Status("fraud-scorer-recorder", "stopped", False)])
    assert line == "stopped: start with `plinth up fraud-scorer-recorder`"
    (line,) = advice([lacks, ready("fraud-scorer-recorder")])
    assert "`plinth logs fraud-scorer-recorder`" in line
