"""Try the chart on the cluster that KUBECONFIG names, from installing to uninstalling: `make test-helm`.

    python infra/kubernetes/check_chart.py [--namespace NAME] [--values FILE]... [--previous CHART]
        [--without STEP]... [--keep]

Makes a namespace of its own with the `restricted` Pod Security Standard enforced, and deletes it at the end
whatever happened. The images must be where the cluster finds them. Prints a table of what was done; exits
with 1 at the first step that failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml
from cluster import KUBECTL, OURS, RELEASE, Cluster, Failed, free_ports, run, wait_until
from load_job import Account, Load, under_load
from previous_chart import previous_chart
from render_examples import CHART, ROOT, example, names

SERVICES = ("feature-store-engine", "fraud-scorer-api", "fraud-scorer-recorder", "fraud-scorer-worker")
WORKER = "fraud-scorer-worker"
WORKER_PORT = 8201
SCALING_SECONDS = 480.0
MONITORING_KINDS = {"ServiceMonitor", "PrometheusRule"}
ROOT_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "root"},
    "spec": {"containers": [{"name": "root", "image": "scratch"}]},
}


class Kept(NamedTuple):
    """What an uninstall must keep: values of the secrets, and how many decisions are recorded."""

    secrets: dict[str, str]
    decisions: int


@dataclass
class Check:
    """What the steps share: the cluster, values for every install, what was seen so far."""

    cluster: Cluster
    values: list[Path]
    folder: Path
    previous: Path | None
    kafka_port: int = field(default_factory=lambda: free_ports(1)[0])
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    kept: Kept | None = None

    def helm_values(self) -> list[str]:
        """Arguments that every install and upgrade gets."""
        own = self.folder / "values.yaml"
        listeners = f"PLAINTEXT://kafka:9092,OUTSIDE://127.0.0.1:{self.kafka_port}"
        kafka = {"env": {"KAFKA_ADVERTISED_LISTENERS": listeners}}
        own.write_text(yaml.safe_dump({"components": {"kafka": kafka}}))
        return [f"--values={path}" for path in [*self.values, own]]


def namespace(check: Check) -> str:
    """The namespace, which is empty, enforces `restricted`."""
    cluster = check.cluster
    for mode in ("enforce", "warn"):
        cluster.kubectl(
            "label", "namespace", cluster.namespace, f"pod-security.kubernetes.io/{mode}=restricted"
        )
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(ROOT_POD))
    except Failed as refused:
        if "violates PodSecurity" in str(refused):
            return "restricted is enforced: a pod that may be root is refused"
        raise
    raise Failed("the namespace admits a pod that may be root")


def dry_run(check: Check) -> str:
    """The API server accepts the objects of every example."""
    done = []
    for name in names():
        objects = [one for one in example(name) if one["kind"] not in MONITORING_KINDS]
        said = check.cluster.warnings(
            "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(objects)
        )
        if "would violate PodSecurity" in said:
            raise Failed(said)
        done.append(f"{name} {len(objects)}")
    return "objects accepted by the API server: " + ", ".join(done)


def install(check: Check) -> str:
    """Time to ready with the images present; nobody has trained a model yet."""
    began = time.monotonic()
    check.cluster.helm("install", RELEASE, str(CHART), *check.helm_values())
    returned = time.monotonic() - began
    check.cluster.wait_settled()
    ready = time.monotonic() - began
    restarts = sum(pod.restarts for pod in check.cluster.pods())
    return f"helm returned after {returned:.0f} s, all ready after {ready:.0f} s, {restarts} restarts"


def end_to_end(check: Check) -> str:
    """tests/e2e and the check of the dashboards, through forwarded ports."""
    table = yaml.safe_load((ROOT / "infra/local/platform.yaml").read_text())
    there = {
        one["name"]: one["port"]
        for one in table["processes"]
        if one["name"] not in ("kafka", "redis", "postgres")
    }
    here = dict(zip(there, free_ports(len(there)), strict=True))
    ports = {name: (here[name], there[name]) for name in there} | {"kafka": (check.kafka_port, 19092)}
    environ = os.environ | {"PLINTH_E2E": "kubernetes"} | check.cluster.secret("client-secrets")
    environ |= {f"PLINTH_PORT_{name.upper().replace('-', '_')}": str(at) for name, (at, _) in ports.items()}
    with check.cluster.forwarded(ports):
        tests = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/e2e"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
        )
    if tests.returncode != 0:
        raise Failed(tests.stdout[-6000:])
    said = tests.stdout.strip().splitlines()[-1].strip("= ")
    check.cluster.wait_settled()
    if "prometheus" in check.cluster.components():
        (port,) = free_ports(1)
        script = str(ROOT / "infra/grafana/check_dashboards.py")
        with check.cluster.forwarded({"prometheus": (port, 9090)}):
            said += "; " + run(sys.executable, script, f"http://127.0.0.1:{port}").strip()
    return said


def hooks_twice(check: Check) -> str:
    """Every hook once more, two at a time."""
    hooks = [one for one in yaml.safe_load_all(check.cluster.helm("get", "hooks", RELEASE)) if one]
    jobs = []
    for hook in hooks:
        for twin in "ab":
            job = {"apiVersion": "batch/v1", "kind": "Job", "spec": hook["spec"]}
            job["metadata"] = {"name": f"{hook['metadata']['name']}-{twin}"}
            jobs.append(job)
    check.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(jobs))
    named = [f"job/{job['metadata']['name']}" for job in jobs]
    check.cluster.kubectl("wait", "--for=condition=complete", "--timeout=280s", *named)
    check.cluster.kubectl("delete", *named)
    return ", ".join(hook["metadata"]["name"] for hook in hooks)


def rolling_update(check: Check) -> str:
    """Every service is rolled; no request and no message is lost."""
    with under_load(check.cluster, "roll") as load:
        for service in SERVICES:
            check.cluster.restart(service)
            check.cluster.wait_settled([service])
            load.pause(2)
    return str(_all_at_once(load))


def _all_at_once(load: Load) -> Account:
    """The account of a load each of whose requests was answered when it was first sent."""
    account = load.account()
    if account.first_time != account.requests:
        raise Failed(f"requests were not answered at once: {account}")
    return account


def bad_release(check: Check) -> str:
    """An API that cannot start is taken back by itself; the other pod answers meanwhile."""
    bad = "--set=components.fraud-scorer-api.image=plinth/fraud-scorer:none"
    atomic = ["--atomic", "--timeout=60s"]
    with under_load(check.cluster, "bad") as load:
        try:
            check.cluster.helm("upgrade", RELEASE, str(CHART), *check.helm_values(), *atomic, bad)
        except Failed as refused:
            if "rolled back due to atomic" not in str(refused):
                raise
        else:
            raise Failed("Helm took a release whose pods cannot start")
        check.cluster.wait_settled()
        load.goes_on()
    return f"taken back: {_all_at_once(load)}"


def kill_pods(check: Check) -> str:
    """Every pod is killed once; every transaction is still decided, recorded and counted once."""
    took = []
    with under_load(check.cluster, "kill") as load:
        for pod in check.cluster.pods():
            began = time.monotonic()
            check.cluster.kubectl("delete", "pod", pod.name, "--grace-period=1", "--wait=false")
            load.until(
                lambda uid=pod.uid: uid not in {one.uid for one in check.cluster.pods()},
                f"{pod.name} is gone",
            )
            check.cluster.wait_settled([pod.component])
            load.goes_on()
            took.append(f"{pod.component} {time.monotonic() - began:.0f} s")
    return f"{load.account()}; back after: {', '.join(took)}"


def scale(check: Check) -> str:
    """Workers 1, 4, 2 under load; partitions a worker."""
    seen = []
    with under_load(check.cluster, "scale", rate=300) as load:
        for replicas in (1, 4, 2):
            check.cluster.kubectl("scale", f"deployment/{WORKER}", f"--replicas={replicas}")
            check.cluster.wait_settled([WORKER])
            shares = load.until(
                lambda n=replicas: _partitions(check.cluster, n), f"{replicas} workers share the topic"
            )
            load.goes_on()
            seen.append(f"{replicas} ({'+'.join(map(str, shares))} partitions)")
    check.cluster.kubectl("scale", f"deployment/{WORKER}", "--replicas=1")
    check.cluster.wait_settled([WORKER])
    return f"workers {', '.join(seen)}: {load.account()}"


def autoscaling(check: Check) -> str:
    """The autoscaler adds workers under load, by the metrics API's figures of CPU."""
    if "metrics.k8s.io/v1beta1" not in check.cluster.kubectl("api-versions").split():
        return "not tried: this cluster has no metrics API"
    on = ["--set=autoscaling.enabled=true", f"--set=components.{WORKER}.autoscaling.cpu=30"]
    check.cluster.helm("upgrade", RELEASE, str(CHART), *check.helm_values(), *on)
    with under_load(check.cluster, "auto", rate=300) as load:
        adds = "the autoscaler adds workers"  # it looks away from young pods for five minutes
        more = load.until(lambda: _scaled(check.cluster), adds, SCALING_SECONDS)
        check.cluster.wait_settled([WORKER])
        load.goes_on()
    check.cluster.helm("upgrade", RELEASE, str(CHART), *check.helm_values())
    check.cluster.wait_settled()
    return f"workers 1 to {more}: {load.account()}"


def _scaled(cluster: Cluster) -> int:
    """Workers that the autoscaler has asked for, once they are more than one; else 0."""
    (scaler,) = [one for one in cluster.get("hpa") if one["metadata"]["name"] == WORKER]
    wanted = int(scaler["status"].get("desiredReplicas", 0))
    return wanted if wanted > 1 else 0


def _partitions(cluster: Cluster, workers: int) -> list[int]:
    """Partitions of each worker, once every partition belongs to one of so many."""
    pods = [pod for pod in cluster.pods(WORKER) if pod.ready]
    shares = []
    for pod in pods:
        try:
            page = cluster.metrics(pod.name, WORKER_PORT)
        except Failed:
            return []
        shares.append(sum(line.startswith("plinth_kafka_lag_messages{") for line in page.splitlines()))
    full = len(shares) == workers and sum(shares) == 6 and all(shares)
    return sorted(shares, reverse=True) if full else []


def uninstall_keeping(check: Check) -> str:
    """What stays after uninstalling: every volume and both secrets, nothing else."""
    cluster = check.cluster
    check.kept = _to_keep(cluster)
    claims = {f"persistentvolumeclaim/{one['metadata']['name']}" for one in cluster.get("pvc", "-l", OURS)}
    _uninstall(cluster)
    left = _left(cluster)
    if not claims or left != claims | {"secret/client-secrets", "secret/server-secrets"}:
        raise Failed(f"uninstalling left {left}, there were {claims} and two secrets")
    return f"left: {len(claims)} volume claims, client-secrets, server-secrets"


def _to_keep(cluster: Cluster) -> Kept:
    return Kept(_secrets(cluster), int(cluster.sql("select count(*) from decisions")))


def _secrets(cluster: Cluster) -> dict[str, str]:
    return cluster.secret("server-secrets") | cluster.secret("client-secrets")


def upgrade(check: Check) -> str:
    """From the previous chart, over what was kept, to this one under load; every service starts anew."""
    if check.previous is None:
        raise Failed("no previous chart was found; give one with --previous")
    check.cluster.helm("install", RELEASE, str(check.previous), *check.helm_values())
    check.cluster.wait_settled()
    before = _version(check.cluster)
    if check.kept and _to_keep(check.cluster) != check.kept:
        raise Failed("the secrets or the decisions are not those that were kept")
    with under_load(check.cluster, "upgrade") as load:
        changed = "--set=settings.PLINTH_LOG_LEVEL=WARNING"
        check.cluster.helm("upgrade", RELEASE, str(CHART), *check.helm_values(), changed)
        check.cluster.wait_settled()
        load.goes_on()
    over = f" over {check.kept.decisions} decisions kept" if check.kept else ""
    return f"{before} to {_version(check.cluster)}{over}: {load.account()}"


def rollback(check: Check) -> str:
    """Back to the previous chart under load; the secrets are the same."""
    secrets = _secrets(check.cluster)
    with under_load(check.cluster, "rollback") as load:
        check.cluster.helm("rollback", RELEASE, "1", "--wait", "--timeout=5m")
        check.cluster.wait_settled()
        load.goes_on()
    if _secrets(check.cluster) != secrets:
        raise Failed("the secrets have changed")
    return f"to {_version(check.cluster)}: {load.account()}"


def uninstall(check: Check) -> str:
    """Nothing is left, once what was kept is deleted as the README says."""
    _uninstall(check.cluster)
    check.cluster.kubectl("delete", "pvc,secret", "-l", OURS)
    left = _left(check.cluster)
    if left:
        raise Failed(f"left: {left}")
    return "nothing is left"


def _uninstall(cluster: Cluster) -> None:
    """Uninstall, and wait for the pods: Helm waits for what it made itself alone."""
    cluster.helm("uninstall", RELEASE, "--wait", "--timeout=3m")
    wait_until(lambda: not cluster.get("pods", "-l", OURS), "the pods are gone")


def _version(cluster: Cluster) -> str:
    return str(yaml.safe_load(cluster.helm("list", "-o", "yaml"))[0]["chart"])


def _left(cluster: Cluster) -> set[str]:
    """Every object in the namespace that Kubernetes itself does not put there."""
    kinds = run(KUBECTL, "api-resources", "--verbs=list", "--namespaced", "-o", "name")
    found = cluster.kubectl("get", ",".join(kinds.split()), "-o", "name", "--ignore-not-found").split()
    own = ("configmap/kube-root-ca.crt", "serviceaccount/default", "event", "podmetrics", "endpointslice")
    return {one for one in found if not one.startswith(own)}


STEPS: tuple[Callable[[Check], str], ...] = (
    namespace,
    dry_run,
    install,
    end_to_end,
    hooks_twice,
    rolling_update,
    bad_release,
    kill_pods,
    scale,
    autoscaling,
    uninstall_keeping,
    upgrade,
    rollback,
    uninstall,
)


@contextmanager
def _own_namespace(cluster: Cluster, keep: bool) -> Iterator[None]:
    """A new namespace, deleted at the end; Failed where it is there already, which may be somebody's."""
    run(KUBECTL, "create", "namespace", cluster.namespace)
    try:
        yield
    finally:
        if not keep:
            subprocess.run([KUBECTL, "delete", "namespace", cluster.namespace])


def table(rows: Sequence[tuple[str, float, str]]) -> str:
    """The steps as a table of Markdown."""
    lines = ["| step | seconds | what was seen |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {seconds:.0f} | {seen} |" for name, seconds, seen in rows])


def main() -> int:
    """Every step; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--namespace", default="plinth-test")
    parser.add_argument("--values", type=Path, action="append", default=[])
    parser.add_argument(
        "--previous", type=Path, help="chart to upgrade from; else the last other version in git"
    )
    parser.add_argument("--without", action="append", default=[], choices=[step.__name__ for step in STEPS])
    parser.add_argument("--keep", action="store_true", help="leave the namespace as it is at the end")
    options = parser.parse_args()
    cluster = Cluster(options.namespace)
    with tempfile.TemporaryDirectory() as folder, _own_namespace(cluster, options.keep):
        previous = options.previous or previous_chart(Path(folder))
        check = Check(cluster, options.values, Path(folder), previous)
        for step in STEPS:
            if step.__name__ in options.without:
                continue
            began = time.monotonic()
            try:
                seen = step(check)
            except (Failed, subprocess.TimeoutExpired):
                traceback.print_exc()
                sys.stderr.write(cluster.kubectl("get", "pods,jobs"))
                sys.stdout.write(table(check.rows) + "\n")
                return 1
            check.rows.append((step.__name__.replace("_", " "), time.monotonic() - began, seen))
            sys.stdout.write(f"{step.__name__}: {seen}\n")
            sys.stdout.flush()
    sys.stdout.write("\n" + table(check.rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
