"""Load from a job in the cluster, and its account."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import Cluster, Failed, wait_until

SCRIPT = Path(__file__).with_name("load.py")
RECOVERY_SECONDS = 180.0


@dataclass(frozen=True)
class Account:
    """What became of a load; see load.py. `recorded` are rows in Postgres."""

    messages: int
    requests: int
    first_time: int
    repeated: int
    never: int
    answers: dict[str, int]
    decided: int
    decided_twice: int
    expected: int
    counted: int
    seen_again: int
    p50_ms: float
    p99_ms: float
    recorded: int

    def __str__(self) -> str:
        again = f", {self.repeated} when asked again {self.answers}" if self.answers else ""
        return (
            f"{self.messages} messages, {self.requests} requests ({self.first_time} at once{again}): "
            f"{self.decided} decided, recorded, counted once; p50 {self.p50_ms} ms, p99 {self.p99_ms} ms"
        )


class Load:
    """A load that runs."""

    def __init__(self, cluster: Cluster, name: str, prefix: str) -> None:
        self._cluster, self._name, self._prefix = cluster, name, prefix

    def seen(self) -> dict[str, Any]:
        """The newest line that it said; empty before the first. Raises Failed when it has ended."""
        (job,) = [j for j in self._cluster.get("jobs") if j["metadata"]["name"] == self._name]
        if job["status"].get("failed"):
            raise Failed(
                "the load failed: " + self._cluster.kubectl("logs", f"job/{self._name}", "--tail=20")
            )
        try:
            lines = self._cluster.kubectl("logs", f"job/{self._name}", "--tail=1").split("\n")
        except Failed:  # its container is being made
            return {}
        return dict(json.loads(lines[0])) if lines[0].startswith("{") else {}

    def goes_on(self, decisions: int = 300) -> None:
        """Wait until so many more decisions have been seen."""
        before = self.until(lambda: self.seen().get("decided"), "the load tells how far it is")
        self.until(lambda: self.seen().get("decided", 0) > before + decisions, "decisions are made")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = RECOVERY_SECONDS) -> Any:
        """See wait_until."""
        return wait_until(condition, what, seconds)

    def pause(self, seconds: float) -> None:
        """Let it run for a while."""
        time.sleep(seconds)

    def stop(self) -> None:
        """Send no more, and wait for its account."""
        self._cluster.kubectl("exec", f"job/{self._name}", "--", "touch", "/tmp/stop")  # noqa: S108  in a pod
        wait_until(lambda: self.seen().get("finished"), "the load gives account", 300)

    def account(self) -> Account:
        """What became of it; removes the job. Raises Failed where a transaction is not decided once."""
        said = self.seen()
        said.pop("finished")
        wait_until(lambda: self._recorded() >= said["expected"], f"{said['expected']} decisions are recorded")
        recorded = self._recorded()
        account = Account(**said, recorded=recorded)
        whole = {account.expected, account.decided, account.recorded, account.counted}
        if len(whole) > 1 or account.decided_twice or account.never:
            raise Failed(f"not every transaction is accounted for once: {said}, recorded={recorded}")
        self.delete()
        return account

    def _recorded(self) -> int:
        select = "select count(*) from decisions where transaction_id like"
        return int(self._cluster.sql(f"{select} '{self._prefix}-%'"))

    def delete(self) -> None:
        """Remove the job and its program."""
        self._cluster.kubectl("delete", "configmap", "load", "--ignore-not-found")
        self._cluster.kubectl("delete", "job", self._name, "--ignore-not-found", "--cascade=foreground")


@contextmanager
def under_load(cluster: Cluster, name: str, rate: int = 150, http_rate: int = 20) -> Iterator[Load]:
    """Load while the body runs; afterwards `account` says what became of it."""
    job = f"load-{name}"
    prefix = f"{name}{time.time_ns() // 10**6 % 10**8}"
    cluster.kubectl("delete", "configmap", "load", "--ignore-not-found")
    cluster.kubectl("create", "configmap", "load", f"--from-file={SCRIPT}")
    arguments = [f"--prefix={prefix}", f"--rate={rate}", f"--http-rate={http_rate}"]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_manifest(cluster, job, arguments)))
    load = Load(cluster, job, prefix)
    try:
        load.until(lambda: load.seen().get("decided", 0) > rate, "the load is decided")
        yield load
        load.stop()
    except BaseException:
        load.delete()
        raise


def _manifest(cluster: Cluster, name: str, arguments: list[str]) -> dict[str, Any]:
    """The chart's demo, which can reach what a load needs, with another program."""
    made = cluster.kubectl("create", "job", name, "--from=cronjob/demo", "--dry-run=server", "-o", "json")
    spec = json.loads(made)["spec"]["template"]
    pod, container = spec["spec"], spec["spec"]["containers"][0]
    container["command"] = ["python", "/load/load.py", *arguments]
    container["env"].append(
        {
            "name": "PLINTH_API_KEY_OPERATOR",
            "valueFrom": {"secretKeyRef": {"name": "client-secrets", "key": "PLINTH_API_KEY_OPERATOR"}},
        }
    )
    container["volumeMounts"].append({"name": "load", "mountPath": "/load"})
    container["resources"] = {
        "requests": {"cpu": "50m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    pod["volumes"].append({"name": "load", "configMap": {"name": "load"}})
    pod["restartPolicy"] = "Never"
    labels = {
        key: value for key, value in spec["metadata"]["labels"].items() if key.startswith("app.kubernetes.io")
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
