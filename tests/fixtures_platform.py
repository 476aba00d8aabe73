"""A running platform for tests: one of their own on free ports, or the one in containers.

PLINTH_E2E chooses: unset, the tests start local processes in a temporary folder and end them; `compose` or
`kubernetes`, they use what docker-compose.yml publishes or `make test-helm` forwards on this machine; `skip`,
they are skipped.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

if TYPE_CHECKING:
    from plinth_features.spec import FeatureService

ROOT = Path(__file__).resolve().parents[1]
PLINTH = Path(sys.executable).with_name("plinth")
HOST = "127.0.0.1"
MODEL = "fraud"
HIGH_AMOUNT_MINOR = 60_000
"""The tests' model blocks amounts from here on, and approves small ones. Chance lets none of these pass."""

_SPLIT_MAJOR = 220.0
_THRESHOLDS = {"monitor": 0.4, "step_up": 0.6, "block": 0.8}


@dataclass(frozen=True)
class RunningPlatform:
    """Where its processes listen and which keys they take. `environ` is None where it is not of processes."""

    ports: Mapping[str, int]
    keys: Mapping[str, str]
    environ: Mapping[str, str] | None

    @property
    def bootstrap(self) -> str:
        """host:port of Kafka."""
        return f"{HOST}:{self.ports['kafka']}"

    def url(self, name: str) -> str:
        """Base address of a process that speaks HTTP."""
        return f"http://{HOST}:{self.ports[name]}"

    def client(self, role: str = "operator", service: str = "fraud-scorer-api") -> httpx.Client:
        """An HTTP client with the key of a role; with an empty role, without a key."""
        headers = {"x-api-key": self.keys[role]} if role else {}
        return httpx.Client(base_url=self.url(service), headers=headers, timeout=30)

    def plinth(self, *arguments: str) -> str:
        """Output of a command of the command line, which must succeed. Skips without local processes."""
        done = subprocess.run(
            [PLINTH, *arguments], env=self.local_environ(), capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, f"plinth {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def local_environ(self) -> Mapping[str, str]:
        """The environment of its processes. Skips the test where there are none."""
        if self.environ is None:
            pytest.skip("only for a platform of local processes")
        return self.environ

    def rows(self, view: str, entities: Sequence[str], at: float | None = None) -> list[dict[str, float]]:
        """Features of entities as of Unix time `at` (now), from Redis. Skips where it cannot be reached."""
        self.local_environ()
        import numpy as np
        import redis

        from plinth_features.rows import Layout
        from plinth_features.store import RedisRows

        layout = Layout(next(v for v in feature_service().views if v.name == view))
        names = [aggregation.feature for aggregation in layout.view.aggregations]
        ts_ms = np.full(len(entities), int((at or time.time()) * 1000) + 1, dtype=np.int64)
        with redis.Redis(host=HOST, port=self.ports["redis"]) as client:
            values = layout.read(RedisRows(client, layout).read(entities), ts_ms)
        return [dict(zip(names, row, strict=True)) for row in values.tolist()]

    @property
    def state(self) -> Path:
        """Its state folder. Skips the test where there is none."""
        return Path(self.local_environ()["PLINTH_STATE_DIR"])


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The platform, ready, with a model that the tests know."""
    where = os.environ.get("PLINTH_E2E", "")
    if where == "skip":
        pytest.skip("PLINTH_E2E=skip")
    if where in ("compose", "kubernetes"):
        running = _in_containers()
        serve_model(running, seed=1)
        yield running
        return
    environ = _own_environment(tmp_path_factory.mktemp("platform") / "state")
    ports = {name: port + int(environ["PLINTH_PORT_OFFSET"]) for name, port in _documented_ports().items()}
    try:
        started = RunningPlatform(ports, {}, environ)
        started.plinth("up", "--timeout", "200")
        running = RunningPlatform(ports, _keys(started.state / "api-keys.env"), environ)
        serve_model(running, seed=1)
        yield running
    finally:
        subprocess.run([PLINTH, "down", "--purge"], env=environ, capture_output=True, timeout=200)


def serve_model(platform: RunningPlatform, seed: int) -> None:
    """Register a model and wait until the API and the worker decide with it."""
    expected = f'plinth_fraud_model_version{{alias="champion"}} {float(register_model(platform, seed))}'

    def is_served(client: httpx.Client) -> bool:
        client.post("/v1/decisions", json=new_transaction())  # goes through Kafka to the worker, too
        pages = [
            httpx.get(f"{platform.url(name)}/metrics").text
            for name in ("fraud-scorer-api", "fraud-scorer-worker")
        ]
        return all(expected in page for page in pages)

    with platform.client() as client:
        wait_until(lambda: is_served(client), "the model is served", seconds=90)


def new_transaction(**fields: Any) -> dict[str, Any]:
    """A transaction of a customer and a terminal that nobody has seen before, in JSON's terms."""
    own = f"e2e-{uuid.uuid4().hex}"
    return {
        "transaction_id": own,
        "customer_id": f"c-{own}",
        "terminal_id": f"t-{own}",
        "amount_minor": 1_250,
        "event_ts": datetime.now(UTC).isoformat(),
    } | fields


def register_model(platform: RunningPlatform, seed: int) -> str:
    """Train a small model on amounts, register it as champion and return its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, while it is imported and used
        import numpy as np

        from plinth_pipelines.fraud import members, onnx_model, tracking
        from plinth_pipelines.fraud.ensemble import Ensemble, calibrate

        service = feature_service()
        X = np.random.default_rng(seed).uniform(0, 2 * _SPLIT_MAJOR, size=(2_000, len(service.names)))
        y = (X[:, service.names.index("amount")] > _SPLIT_MAJOR).astype(np.int64)
        rows = X.astype(np.float32)
        params = members.BoostedParams(n_estimators=10, learning_rate=1.0, max_depth=2)
        lead = members.fit_boosted(params, rows, y, np.ones(len(y)), seed)
        fitted = Ensemble((lead,), calibrate({lead.name: lead.raw(rows)}, (lead.name,), y))
        metadata = {
            "feature_names": list(service.names),
            "feature_fingerprint": service.fingerprint,
            "members": list(fitted.names),
            "explained": lead.name,
            "thresholds": _THRESHOLDS,
        }
        record = tracking.Record({"seed": seed}, {}, {}, {}, {}, {}, metadata)
        converted = onnx_model.convert(fitted, len(service.names))
        registered = tracking.register(platform.url("mlflow"), "end to end", MODEL, converted, record)
    return str(registered.version)


def find_decision(client: httpx.Client, some_id: str) -> dict[str, Any] | None:
    """A recorded decision, or None while there is none."""
    answer = client.get(f"/v1/decisions/{some_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


def feature_service() -> FeatureService:
    """The features that the platform serves."""
    from plinth_features import spec

    return spec.load(ROOT / "feature_repo/compiled/fraud.json")


def is_ready(platform: RunningPlatform, name: str) -> bool:
    """Whether a service says that it can work."""
    try:
        return httpx.get(f"{platform.url(name)}/readyz", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true value of a condition; fails the test when there was none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


def _in_containers() -> RunningPlatform:
    variable = "PLINTH_PORT_{}".format
    ports = {
        name: int(os.environ.get(variable(name.upper().replace("-", "_")), port))
        for name, port in _documented_ports().items()
    }
    roles = ("viewer", "operator", "approver", "admin")
    keys = {role: os.environ.get(f"PLINTH_API_KEY_{role.upper()}", "") for role in roles}
    return RunningPlatform(ports, keys, None)


def _own_environment(state: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLINTH_")}
    cache = os.environ.get("PLINTH_CACHE_DIR", str(ROOT / ".plinth/cache"))
    return inherited | {
        "PLINTH_STATE_DIR": str(state),
        "PLINTH_CACHE_DIR": cache,
        "PLINTH_PORT_OFFSET": str(_free_offset()),
    }


def _documented_ports() -> dict[str, int]:
    table = yaml.safe_load((ROOT / "infra/local/platform.yaml").read_text())
    return {
        f"{row['name']}{part}": port
        for row in table["processes"]
        for part, port in {
            "": row["port"],
            **{f"-{k}": v for k, v in row.get("more_ports", {}).items()},
        }.items()
    }


def _free_offset() -> int:
    offsets = random.Random(os.getpid()).sample(range(11_000, 22_000), 100)
    ports = _documented_ports().values()
    return next(offset for offset in offsets if all(_is_free(port + offset) for port in ports))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _keys(file: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in file.read_text().splitlines())
    return {name.removeprefix("PLINTH_API_KEY_").lower(): key for name, _, key in pairs}
