"""One thing happens to the platform under load; afterwards every transaction is accounted for, once."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from chaos_load import PATIENCE_SECONDS, RATE, Account, Load, settle
from fixtures_platform import RunningPlatform, wait_until

from plinth_cli.config import load as load_config
from plinth_cli.platform import Platform

AWAY_SECONDS = 4.0


@dataclass(frozen=True)
class Stage:
    """The running platform and its load, for what happens to it."""

    processes: Platform
    load: Load

    def pid(self, name: str) -> int:
        """Process id of a process that runs."""
        return wait_until(lambda: self.processes.supervisor.states()[name].pid, f"{name} runs")

    def kill(self, name: str) -> None:
        """Kill -9, and wait until another process has its place and is ready."""
        before = self.pid(name)
        os.kill(before, signal.SIGKILL)
        self.wait_ready(name, other_than=before)

    def stop(self, name: str) -> None:
        """Stop as an operator does, and wait for the end."""
        self.processes.supervisor.stop(name)

    def start(self, name: str) -> None:
        """Start and wait until it is ready."""
        self.processes.supervisor.start(name)
        self.wait_ready(name)

    def wait_ready(self, name: str, other_than: int = 0) -> None:
        """Until it is ready, as another process than the one named."""

        def is_ready() -> bool:
            status = next(s for s in self.processes.statuses() if s.name == name)
            return status.ready and status.pid not in (0, other_than)

        wait_until(is_ready, f"{name} is ready", PATIENCE_SECONDS)

    def wait_served(self, name: str) -> None:
        """Until a scorer has a model again."""

        def has_model() -> bool:
            page = httpx.get(f"{self.load.platform.url(name)}/readyz", timeout=30)
            return not any("model" in note or "MLflow" in note for note in page.json().get("degraded", []))

        wait_until(has_model, f"{name} has a model", PATIENCE_SECONDS)

    def goes_on(self, what: str) -> None:
        """For a while, and until something new is decided although a neighbour is away."""
        self.load.wait_for_new(what)
        time.sleep(AWAY_SECONDS)

    def answers_in_full(self, what: str) -> None:
        """Until a number of new answers over HTTP have come, none of which lacks anything."""
        degraded, before = self.load.degraded.copy(), self.load.answered_over_http()
        wait_until(
            lambda: self.load.checked() >= 0 and self.load.answered_over_http() > before + 10,
            f"answers over HTTP while {what}",
            PATIENCE_SECONDS,
        )
        assert self.load.degraded == degraded

    def answers_without(self, part: str) -> None:
        """Until answers over HTTP say that they lack this."""
        before = self.load.degraded[part]
        wait_until(
            lambda: self.load.checked() >= 0 and self.load.degraded[part] > before + 10,
            f"answers over HTTP without {part}",
            PATIENCE_SECONDS,
        )


def kill(name: str) -> Callable[[Stage], None]:
    """Kill a process."""
    return lambda stage: stage.kill(name)


def restart(name: str) -> Callable[[Stage], None]:
    """Stop and start a process."""

    def happen(stage: Stage) -> None:
        stage.stop(name)
        stage.start(name)

    return happen


def redis_emptied(stage: Stage) -> None:
    """Redis comes back without its data."""
    stage.stop("redis")
    data = stage.processes.config.data / "redis"
    shutil.rmtree(data)
    data.mkdir()
    stage.start("redis")


def redis_away(stage: Stage) -> None:
    """Decisions go on without features."""
    stage.stop("redis")
    stage.answers_without("features")
    stage.goes_on("Redis is away")
    stage.start("redis")


def redis_hangs(stage: Stage) -> None:
    """It takes connections and does not answer."""
    pid = stage.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        stage.answers_without("features")
        stage.goes_on("Redis hangs")
    finally:
        os.kill(pid, signal.SIGCONT)
    stage.wait_ready("redis")


def kafka_away(stage: Stage) -> None:
    """HTTP answers, and its events wait on disk."""
    stage.stop("kafka")
    stage.answers_without("kafka")
    time.sleep(AWAY_SECONDS)
    stage.start("kafka")


def kafka_away_api_killed(stage: Stage) -> None:
    """The API dies with events on disk; the next process sends them."""
    stage.stop("kafka")
    stage.answers_without("kafka")
    stage.kill("fraud-scorer-api")
    stage.answers_without("kafka")
    stage.start("kafka")


def postgres_away(stage: Stage) -> None:
    """Decisions go on, and are recorded later."""
    stage.stop("postgres")
    stage.goes_on("Postgres is away")
    stage.start("postgres")


def postgres_hangs(stage: Stage) -> None:
    """It takes connections and does not answer: decisions go on, who needs SQL is told so."""
    pid = stage.pid("postgres")
    known = stage.load.any_recorded()
    hung: list[int] = []
    try:
        while found := set(_family(pid)) - set(hung):
            for one in found:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGSTOP)
            hung += found
        lacked = stage.load.refused.copy()
        with stage.load.platform.client() as client:
            label = {"transaction_id": known, "label": True, "observed_at": datetime.now(UTC).isoformat()}
            for answer in (
                client.post("/v1/labels", json=label, timeout=PATIENCE_SECONDS),
                client.get("/v1/cases", timeout=PATIENCE_SECONDS),
                client.get(f"/v1/decisions/{known}", timeout=PATIENCE_SECONDS),
            ):
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
        stage.answers_in_full("Postgres hangs")
        stage.goes_on("Postgres hangs")
        assert stage.load.refused == lacked
    finally:
        for one in hung:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
    stage.wait_ready("postgres")


def _family(pid: int) -> list[int]:
    """A process and its descendants that still run."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def mlflow_away(stage: Stage) -> None:
    """The API and the worker start with the models on their disk."""
    stage.stop("mlflow")
    try:
        stage.kill("fraud-scorer-worker")
        stage.kill("fraud-scorer-api")
        stage.goes_on("MLflow is away")
    finally:
        stage.start("mlflow")
    assert stage.load.degraded["model"] == 0


def no_model(stage: Stage) -> None:
    """Neither MLflow nor a model on disk: rules decide."""
    stage.stop("mlflow")
    models = stage.processes.config.state / "models"
    kept = models.with_name("models-kept")
    models.rename(kept)
    try:
        stage.kill("fraud-scorer-worker")
        stage.kill("fraud-scorer-api")
        stage.answers_without("model")
        stage.goes_on("there is no model")
    finally:
        if models.exists():
            shutil.rmtree(models)
        kept.rename(models)
        stage.start("mlflow")
    stage.wait_served("fraud-scorer-api")
    stage.wait_served("fraud-scorer-worker")


NAMES = ("kafka", "redis", "feature-store-engine", "fraud-scorer-worker", "fraud-scorer-api")
WHAT: dict[str, Callable[[Stage], None]] = {
    **{f"{name} killed": kill(name) for name in (*NAMES, "fraud-scorer-recorder", "postgres")},
    "kafka restarted": restart("kafka"),
    "redis restarted": restart("redis"),
    "fraud-scorer-api restarted": restart("fraud-scorer-api"),
    "fraud-scorer-worker restarted": restart("fraud-scorer-worker"),
    "redis emptied": redis_emptied,
    "redis emptied again": redis_emptied,
    "redis away": redis_away,
    "redis hangs": redis_hangs,
    "kafka away": kafka_away,
    "kafka away, API killed": kafka_away_api_killed,
    "postgres away": postgres_away,
    "postgres hangs": postgres_hangs,
    "mlflow away, scorers killed": mlflow_away,
    "no model": no_model,
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", WHAT)
def test_nothing_is_lost_or_counted_twice(
    platform: RunningPlatform, recoveries: list[str], what: str
) -> None:
    processes = Platform(load_config(platform.local_environ()))
    load = Load(platform)
    try:
        wait_until(lambda: load.checked() > RATE, "the load is decided", PATIENCE_SECONDS)
        began = time.monotonic()
        WHAT[what](Stage(processes, load))
        load.wait_for_new(what)
        seconds = time.monotonic() - began
        account = settle(load, processes.config.postgres_password_file.read_text())
    except AssertionError as error:
        raise AssertionError(f"{error}\n{_state(processes, load)}") from error
    finally:
        load.close()
    recoveries.append(_line(what, seconds, account, load))


def _line(what: str, seconds: float, account: Account, load: Load) -> str:
    lacked = ", ".join(f"{part} {count}" for part, count in sorted(load.degraded.items())) or "-"
    counts = f"{account.accepted:>10}{account.published:>11}{account.cases:>10}"
    return f"{what:<34}{seconds:>12.1f} s{counts}  {lacked}"


def _state(processes: Platform, load: Load) -> str:
    """What the processes say, for a failure."""
    states = [f"{s.name}: {s.state} {s.lacks}, {s.restarts} restarts" for s in processes.statuses()]
    logs = [
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        for log in sorted(processes.config.log.glob("*.log"))
    ]
    counts = f"{len(load.accepted)} accepted, {len(load.decided)} decided, refused: {dict(load.refused)}"
    return "\n".join([counts, *states, *(text[-3_000:] for text in logs)])
