"""What the chart's pods may do: the restricted Pod Security Standard, secrets, accounts, network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from helm_chart import (  # type: ignore[import-not-found]
    NAMES,
    VALUES,
    env_of,
    example,
    find,
    names_of,
    pod_of,
    pods,
    render,
)

EVERY = pytest.mark.parametrize("name", ["default", *NAMES])
COMPONENTS: dict[str, dict[str, Any]] = VALUES["components"]
VOLUMES = {"configMap", "emptyDir", "secret"}


@EVERY
def test_pods_fit_the_restricted_standard(name: str) -> None:
    for pod_name, template in pods(example(name)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, pod_name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
        assert all(volume.keys() - {"name"} <= VOLUMES for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))


@EVERY
def test_containers_are_bounded(name: str) -> None:
    for pod_name, template in pods(example(name)):
        (container,) = template["spec"]["containers"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, pod_name
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}, pod_name
        empty = [volume["emptyDir"] for volume in template["spec"]["volumes"] if "emptyDir" in volume]
        assert all("sizeLimit" in one for one in empty)


@EVERY
def test_nobody_has_a_token(name: str) -> None:
    objects = example(name)
    assert not {pod for pod, template in pods(objects) if template["spec"]["automountServiceAccountToken"]}
    assert names_of(objects, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") == set()


@EVERY
def test_each_component_has_its_own_account(name: str) -> None:
    objects = example(name)
    deployed = names_of(objects, "Deployment", "StatefulSet")
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet"}:
            assert pod_of(one)["spec"]["serviceAccountName"] == one["metadata"]["name"]
    assert names_of(objects, "ServiceAccount") == deployed | {"jobs"}
    assert names_of(objects, "PodDisruptionBudget") == deployed


@EVERY
def test_no_secret_is_written_in_the_clear(name: str) -> None:
    for one in example(name):
        if one["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            for variable, value in env_of(one).items():
                secret = re.search(r"PASSWORD|TOKEN|SECRET|API_KEY$", variable)
                assert not (secret and isinstance(value, str)), variable
                assert not re.search(r"://[^/]*:[^/]*@", str(value)), variable


def test_secrets_fit_together() -> None:
    objects = example("default")
    keys = _values(find(objects, "Secret", "client-secrets"))
    server = _values(find(objects, "Secret", "server-secrets"))
    entries = json.loads(server["api-keys.json"])["keys"]
    digests = {entry["role"]: entry["sha256"] for entry in entries}
    assert digests == {
        variable.removeprefix("PLINTH_API_KEY_").lower(): hashlib.sha256(key.encode()).hexdigest()
        for variable, key in keys.items()
    }
    assert set(digests) == {"viewer", "operator", "approver", "admin"}
    assert len(set(keys.values())) == 4
    assert all(
        len(secret) >= 32
        for secret in [*keys.values(), server["postgres-password"], server["let-through-key"]]
    )


def test_clear_keys_are_seen_by_nobody() -> None:
    for name in ("default", *NAMES):
        for pod_name, template in pods(example(name)):
            assert "client-secrets" not in json.dumps(template), pod_name


def test_secrets_of_your_own_are_used() -> None:
    objects = example("production")
    assert names_of(objects, "Secret") == set()
    api = find(objects, "StatefulSet", "fraud-scorer-api")
    volumes = [volume["secret"] for volume in pod_of(api)["spec"]["volumes"] if "secret" in volume]
    assert volumes == [
        {
            "secretName": "plinth-server",
            "defaultMode": 0o440,
            "items": [{"key": name, "path": name} for name in ("api-keys.json", "let-through-key")],
        }
    ]


def test_no_keys_are_made_for_digests_of_your_own(tmp_path: Path) -> None:
    assert names_of(render(tmp_path, {"secrets": {"server": "ours"}}), "Secret") == set()


def test_a_platform_that_chooses_users_may(tmp_path: Path) -> None:
    everyone = {name: {"user": None} for name in COMPONENTS}
    jobs = {name: {"user": None} for name in VALUES["jobs"]}
    values = {"default": {"user": None}, "components": everyone, "jobs": jobs}
    for pod_name, template in pods(render(tmp_path, values)):
        context = template["spec"]["securityContext"]
        assert context.keys() == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}, pod_name


def test_keys_without_their_digests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="would not know the digests"):
        render(tmp_path, {"secrets": {"client": "ours"}})


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_network_policy_lets_in_whom_it_serves(name: str) -> None:
    policy = find(example("default"), "NetworkPolicy", name)["spec"]
    component = COMPONENTS[name]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = [{"port": port} for port in sorted(component["ports"])]
    if component.get("open"):
        assert policy["ingress"] == [{"ports": ports}]
        return
    needing = sorted(other for other, values in COMPONENTS.items() if name in values.get("needs", []))
    served = {"ports": ports, "from": [_peer(component="job"), *[_peer(name=one) for one in needing]]}
    scraped = {"ports": [{"port": "http"}], "from": [_peer(name="prometheus")]}
    assert policy["ingress"] == [served, *([scraped] if component.get("metrics", True) else [])]


def test_metrics_are_read_by_those_who_may() -> None:
    rules = find(example("production"), "NetworkPolicy", "fraud-scorer-worker")["spec"]["ingress"]
    theirs = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert rules[1:] == [{"ports": [{"port": "http"}], "from": [theirs]}]


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_network_policy_lets_out_to_what_is_needed(name: str) -> None:
    egress = find(example("default"), "NetworkPolicy", name)["spec"]["egress"]
    dns, *others = egress
    assert {port["port"] for port in dns["ports"]} == {53}
    reached = {
        peer["podSelector"]["matchLabels"].get("app.kubernetes.io/name")
        for rule in others
        for peer in rule.get("to", [])
    }
    assert reached - {None} == set(COMPONENTS[name].get("needs", []))
    assert (None in reached) == (name == "prometheus")


def test_network_policy_lets_out_to_what_is_external() -> None:
    egress = find(example("external"), "NetworkPolicy", "fraud-scorer-api")["spec"]["egress"]
    outside = {port["port"] for rule in egress for port in rule["ports"] if "to" not in rule}
    assert outside == {53, 9094, 6379, 5432}


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_rolling_update_waits_for_open_requests(name: str) -> None:
    objects = example("default")
    kind = COMPONENTS[name].get("kind", "Deployment")
    workload = find(objects, kind, name)
    pod = pod_of(workload)["spec"]
    (container,) = pod["containers"]
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] >= pause + 25 + 5
    if kind == "StatefulSet":
        assert workload["spec"]["podManagementPolicy"] == "Parallel"
    else:
        assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    if COMPONENTS[name]["image"] in {"plinth/fraud-scorer", "plinth/feature-store"}:
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def _values(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def _peer(**labels: str) -> dict[str, Any]:
    """Pods of this release with such a label."""
    wanted = {f"app.kubernetes.io/{label}": value for label, value in labels.items()}
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": "plinth", **wanted}}}
