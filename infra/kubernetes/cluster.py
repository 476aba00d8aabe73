"""kubectl and helm as functions, for the check of the chart on a cluster."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KUBECTL = os.environ.get("KUBECTL", "kubectl")
HELM = str(Path(sys.executable).with_name("helm"))
RELEASE = "plinth"
OURS = f"app.kubernetes.io/instance={RELEASE}"
WORKLOADS = "deployments,statefulsets"


class Failed(Exception):
    """A command failed, or what was waited for did not come; the message says which."""


def run(*command: str, stdin: str | None = None, timeout: float = 600) -> str:
    """Output of a command. Raises Failed."""
    return _done(command, stdin, timeout).stdout


def _done(command: Sequence[str], stdin: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120.0, every: float = 0.5) -> Any:
    """The first true value of a condition. Raises Failed when there was none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s: {what}")
        time.sleep(every)
    return value


@dataclass(frozen=True)
class Pod:
    """A pod of the release. `ready` is False for one that is being deleted."""

    name: str
    uid: str
    component: str
    ready: bool
    restarts: int


@dataclass(frozen=True)
class Cluster:
    """A namespace of the cluster that KUBECONFIG names, and the release in it."""

    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 600) -> str:
        """See run."""
        return run(KUBECTL, "--namespace", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def warnings(self, *arguments: str, stdin: str) -> str:
        """What kubectl warns of while it does something."""
        command = [KUBECTL, "--namespace", self.namespace, *arguments]
        return _done(command, stdin, timeout=600).stderr

    def helm(self, *arguments: str) -> str:
        """See run."""
        return run(HELM, "--namespace", self.namespace, *arguments)

    def get(self, what: str, *arguments: str) -> list[dict[str, Any]]:
        """Objects of a kind."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", what, *arguments, "-o", "json"))["items"]
        return items

    def pods(self, component: str | None = None) -> list[Pod]:
        """Pods of the release's components, those of jobs apart."""
        selector = f"{OURS},app.kubernetes.io/component!=job"
        if component:
            selector += f",app.kubernetes.io/name={component}"
        return [_pod(item) for item in self.get("pods", "-l", selector)]

    def components(self) -> list[str]:
        """Names of everything that runs."""
        return sorted(one["metadata"]["name"] for one in self.get(WORKLOADS, "-l", OURS))

    def restart(self, component: str) -> None:
        """Begin to roll a component."""
        self.kubectl("rollout", "restart", WORKLOADS, "-l", f"app.kubernetes.io/name={component}")

    def settled(self, component: str) -> bool:
        """Whether a component has all of its pods, of its newest form, and they are ready."""
        (one,) = [
            item
            for item in self.get(WORKLOADS, "-l", f"app.kubernetes.io/name={component}")
            if item["metadata"]["name"] == component
        ]
        wanted, status = one["spec"].get("replicas", 1), one["status"]
        return bool(
            status.get("observedGeneration", 0) >= one["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == wanted
            and status.get("readyReplicas", 0) == wanted
            and status.get("replicas", 0) == wanted
        )

    def wait_settled(self, components: Sequence[str] = (), seconds: float = 300.0) -> None:
        """Wait until components (all without any) are settled. Raises Failed."""
        for component in components or self.components():
            wait_until(lambda name=component: self.settled(name), f"{component} is ready", seconds)

    def secret(self, name: str) -> dict[str, str]:
        """A Secret's values."""
        found = json.loads(self.kubectl("get", "secret", name, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def sql(self, statement: str) -> str:
        """Answer of Postgres, from inside its pod."""
        login = 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U plinth -d fraud_scorer'
        query = f'{login} -qtAXc "{statement}"'
        return self.kubectl("exec", "postgres-0", "--", "bash", "-c", query).strip()

    def metrics(self, pod: str, port: int) -> str:
        """The metrics page of a pod, through the API server."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy/metrics"
        return self.kubectl("get", "--raw", path)

    @contextmanager
    def forwarded(self, ports: Mapping[str, tuple[int, int]]) -> Iterator[None]:
        """Services by name at ports of this machine: {service: (here, there)}."""
        command = [KUBECTL, "--namespace", self.namespace, "port-forward"]
        started = [
            subprocess.Popen(
                [*command, f"service/{name}", f"{here}:{there}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name, (here, there) in ports.items()
        ]
        try:
            for here, _ in ports.values():
                wait_until(lambda port=here: not is_free(port), f"port {here} is forwarded", 30)
            yield
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _pod(item: dict[str, Any]) -> Pod:
    status = (item["status"].get("containerStatuses") or [{}])[0]
    return Pod(
        item["metadata"]["name"],
        item["metadata"]["uid"],
        item["metadata"]["labels"]["app.kubernetes.io/name"],
        bool(status.get("ready")) and "deletionTimestamp" not in item["metadata"],
        int(status.get("restartCount", 0)),
    )
