"""The chart: complete, strict about its values, in agreement with Compose, and rendered as committed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import promql  # type: ignore[import-not-found]
import pytest
import yaml
from helm_chart import (  # type: ignore[import-not-found]
    CHART,
    NAMES,
    ROOT,
    VALUES,
    env_of,
    example,
    examples,
    find,
    names_of,
    pod_of,
    render,
)

from plinth_contracts import topics

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
COMPONENTS: dict[str, dict[str, Any]] = VALUES["components"]
OURS = {name for name, c in COMPONENTS.items() if c["image"].startswith("plinth/")} - {"mlflow"}
SERVED = {name for name, s in COMPOSE.items() if "PLINTH_PORT" in s.get("environment", {})}
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}
VALIDATE = Path(sys.executable).with_name("kubernetes-validate")
PROMTOOL = shutil.which("promtool")
NEW_SERVICE = {
    "image": "plinth/case-desk",
    "command": ["python", "-m", "case_desk", "api"],
    "ports": {"http": 8300},
    "needs": ["kafka", "postgres"],
    "database": "case_desk",
    "resources": {"limits": {"memory": "320Mi"}},
    "autoscaling": {"min": 1, "max": 3, "cpu": 80},
}


@pytest.mark.parametrize("name", NAMES)
def test_example_is_rendered_as_committed(name: str) -> None:
    committed = (CHART / "examples" / name / "rendered.yaml").read_text()
    again = "python infra/kubernetes/render_examples.py"
    assert examples.text(example(name)) == committed, f"if the change is meant: {again}"


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("name", ["default", *NAMES])
def test_objects_are_valid(name: str, version: str, tmp_path: Path) -> None:
    objects = [one for one in example(name) if one["kind"] not in OPERATOR_KINDS]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(objects))
    command = [VALIDATE, "--strict", "--quiet", "-k", version, tmp_path / "all.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_validation_finds_a_wrong_object(tmp_path: Path) -> None:
    wrong = find(example("default"), "Service", "kafka") | {"spec": {"port": 9092}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    command = [VALIDATE, "--strict", "--quiet", "-k", "1.34", tmp_path / "wrong.yaml"]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_helm_finds_nothing_to_complain_about() -> None:
    done = subprocess.run([examples.HELM, "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type", "object") == "object":
            yield schema
        for part in schema.values():
            yield from _objects(part)


def test_schema_knows_every_key() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    described = list(
        _objects({key: value for key, value in SCHEMA.items() if key != "properties"} | {"all": SCHEMA})
    )
    assert len(described) > 15
    assert [one for one in described if one.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"componentz": {}}, "componentz"),
        ({"default": {"replica": 2}}, "replica"),
        ({"components": {"kafka": {"port": 9092}}}, "port"),
        ({"components": {"kafka": {"resources": {"limit": {}}}}}, "limit"),
        ({"components": {"redis": {"mounts": {"/data": {"claim": {"sise": "1Gi"}}}}}}, "sise"),
        ({"components": {"redis": {"env": {"A": {"secret": "s", "keys": "k"}}}}}, "env.A"),
        ({"jobs": {"topics": {"wait": 1}}}, "wait"),
        ({"jobs": {"topics": {"replicas": 1}}}, "replicas"),
        ({"persistence": {"size": "1Gi"}}, "size"),
    ],
)
def test_unknown_keys_are_refused(values: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=re.escape(where)):
        render(tmp_path, values)


def test_a_service_is_a_few_lines_of_values() -> None:
    text = (CHART / "values.yaml").read_text()
    for name in OURS:
        entry = re.search(rf"^  {name}:\n((?:    .*\n)+)", text, re.M)
        assert entry is not None
        assert entry[1].count("\n") <= 26, name


def test_a_new_service_needs_nothing_but_its_values(tmp_path: Path) -> None:
    values = {
        "components": {"case-desk": NEW_SERVICE},
        "autoscaling": {"enabled": True},
        "monitoring": {"operator": True, "from": [{"namespaceSelector": {}}]},
    }
    objects = render(tmp_path, values)
    kinds = {one["kind"] for one in objects if one["metadata"]["name"] == "case-desk"}
    assert find(objects, "Service", "case-desk-pods")["spec"]["clusterIP"] == "None"
    assert kinds == {
        "Deployment",
        "Service",
        "ServiceAccount",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceMonitor",
    }
    assert env_of(find(objects, "Deployment", "case-desk"))["PLINTH_POSTGRES_URL"].endswith("/case_desk")
    assert env_of(find(objects, "Job", "databases"))["DATABASES"] == "case_desk fraud_scorer mlflow"


@pytest.mark.parametrize("name", sorted(SERVED))
def test_services_are_those_of_compose(name: str) -> None:
    service, component = COMPOSE[name], COMPONENTS[name]
    assert component["command"] == service["command"].split()
    assert component["ports"]["http"] == service["environment"]["PLINTH_PORT"]
    assert component["image"] == service["image"].partition(":")[0]
    deployed = find(example("default"), component.get("kind", "Deployment"), name)
    (container,) = pod_of(deployed)["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == service["mem_limit"].replace("m", "Mi")
    assert env_of(deployed)["PLINTH_PORT"] == str(service["environment"]["PLINTH_PORT"])


def test_every_container_of_compose_has_its_component() -> None:
    one_shots = {"secrets", "setup", "demo"}
    assert set(COMPOSE) - one_shots == set(COMPONENTS)


@pytest.mark.parametrize("name", sorted(set(COMPONENTS) - OURS - {"mlflow"}))
def test_images_are_those_of_compose(name: str) -> None:
    assert COMPONENTS[name]["image"] == COMPOSE[name]["image"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_workers_are_bounded_by_partitions(name: str) -> None:
    consumer = "fraud-scorer" if name.startswith("fraud-scorer") else "feature-store"
    component = COMPONENTS[name]
    if name == "fraud-scorer-api":  # reads no topic
        assert "partitions" not in component
        return
    most = max(spec.partitions for spec in topics.load() if consumer in spec.consumers)
    assert component["partitions"] == most >= component["autoscaling"]["max"]


def test_more_workers_than_partitions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="7 replicas, but its topics have 6 partitions"):
        render(tmp_path, {"components": {"fraud-scorer-worker": {"replicas": 7}}})


def test_a_need_that_nobody_meets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="needs redis, which is neither here nor external"):
        render(tmp_path, {"components": {"redis": {"enabled": False}}})


def test_what_is_external_is_not_installed() -> None:
    objects = example("external")
    assert not {"kafka", "redis", "postgres"} & names_of(objects, "Deployment", "StatefulSet", "Service")
    variables = env_of(find(objects, "StatefulSet", "fraud-scorer-api"))
    assert variables["PLINTH_KAFKA_BOOTSTRAP"] == "kafka-1.example.com:9094,kafka-2.example.com:9094"
    assert variables["PLINTH_REDIS_URL"] == {"name": "our-redis", "key": "url"}
    assert variables["PGPASSWORD"] == {"name": "our-postgres", "key": "password"}
    assert variables["PLINTH_POSTGRES_URL"].endswith("example.com:5432/fraud_scorer?sslmode=require")


def test_autoscaling_uses_the_adapter_only_where_it_is_said_to_be() -> None:
    def metrics(values: list[dict[str, Any]], name: str) -> list[str]:
        found = find(values, "HorizontalPodAutoscaler", name)["spec"]["metrics"]
        return [m.get("resource", m.get("pods", {}).get("metric"))["name"] for m in found]

    production = example("production")
    assert metrics(production, "fraud-scorer-worker") == ["cpu", "plinth_kafka_lag_messages"]
    assert metrics(production, "fraud-scorer-api") == ["cpu", "plinth_http_requests_per_second"]
    assert "replicas" not in find(production, "Deployment", "fraud-scorer-worker")["spec"]
    assert names_of(example("default"), "HorizontalPodAutoscaler") == set()


def test_hooks_run_after_an_install_and_before_an_upgrade() -> None:
    jobs = [one for one in example("default") if one["kind"] == "Job"]
    order = sorted(jobs, key=lambda job: int(job["metadata"]["annotations"]["helm.sh/hook-weight"]))
    assert [job["metadata"]["name"] for job in order] == [
        "databases",
        "topics",
        "fraud-scorer-migrate",
        "features",
    ]
    for job in jobs:
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"
        assert job["spec"]["activeDeadlineSeconds"] < 300  # Helm gives up after five minutes


def test_numbers_are_written_as_they_are_meant(tmp_path: Path) -> None:
    env = {"A": 2147483648, "B": 0.5, "C": True, "D": "1.50 EUR"}
    limits = {"memory": 1073741824, "cpu": None}
    values = {"components": {"fraud-scorer-api": {"env": env, "resources": {"limits": limits}}}}
    api = find(render(tmp_path, values), "StatefulSet", "fraud-scorer-api")
    given = {name: value for name, value in env_of(api).items() if name in env}
    assert given == {"A": "2147483648", "B": "0.5", "C": "true", "D": "1.50 EUR"}
    (container,) = pod_of(api)["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "1073741824"}


@pytest.mark.parametrize(
    ("image", "becomes"),
    [
        ("plinth/fraud-scorer", "r.example.com:5000/plinth/fraud-scorer:0.1.0"),
        ("plinth/fraud-scorer:0.2.0", "r.example.com:5000/plinth/fraud-scorer:0.2.0"),
        ("plinth/fraud-scorer@sha256:abc", "r.example.com:5000/plinth/fraud-scorer@sha256:abc"),
        ("bank/scorer", "r.example.com:5000/bank/scorer"),
    ],
)
def test_an_image_of_ours_has_its_settings_however_it_is_named(
    tmp_path: Path, image: str, becomes: str
) -> None:
    ours = {} if image.startswith("plinth/") else {"ours": True}
    component = {"components": {"fraud-scorer-worker": {"image": image, **ours}}}
    objects = render(tmp_path, {"images": {"registry": "r.example.com:5000"}, **component})
    worker = find(objects, "Deployment", "fraud-scorer-worker")
    (container,) = pod_of(worker)["spec"]["containers"]
    assert container["image"] == becomes
    assert {"PLINTH_PORT", "PLINTH_LOG_LEVEL"} <= env_of(worker).keys()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"components": {"redis": {"mounts": {"/data": {"empty": "1Gi"}}}}}, "/data has claim and empty"),
        ({"jobs": {"topics": {"mounts": {"/x": {"data": {"a": "b"}}}}}}, "/x has no source that a job can"),
        ({"components": {"kafka": {"metrics": True}}}, "ports.http is needed by metrics"),
        ({"monitoring": {"operator": True}}, "monitoring.from: who may read the metrics"),
        (
            {
                "autoscaling": {"enabled": True},
                "components": {"fraud-scorer-api": {"autoscaling": {"min": 20}}},
            },
            "autoscaling from 20 to 8",
        ),
        ({"components": {"fraud-scorer-api": {"ingress": {"host": "a.example.com"}}}}, "tlsSecret"),
        ({"components": {"jobs": NEW_SERVICE}}, "jobs"),
        ({"components": {"on": NEW_SERVICE}}, "on"),
        ({"components": {"topics": NEW_SERVICE}}, "another object has this name"),
        ({"components": {"redis": {"replicas": 3}}}, "redis: one replica only"),
        ({"components": {"kafka": {"external": True}}}, "kafka is external"),
        ({"components": {"one": NEW_SERVICE | {"needs": ["two"]}}}, "needs two, which is neither here"),
        ({"components": {"one": NEW_SERVICE | {"ports": {"grpc": 1}}}}, "ports.http is needed by probes"),
        ({"components": {"one": NEW_SERVICE | {"ports": {"http": 1, "b": 1}}}}, "the same number"),
        (
            {"components": {"one": NEW_SERVICE | {"mounts": {"/a/b": {"empty": 1}, "/a-b": {"empty": 1}}}}},
            "/a-b and /a/b would be one volume",
        ),
        ({"components": {"one": NEW_SERVICE | {"mounts": {"/a": {"files": "files/nope/*"}}}}}, "no file"),
        ({"components": {"one": NEW_SERVICE | {"preStopSeconds": 60}}}, "graceSeconds must be above"),
        ({"components": {"one": NEW_SERVICE | {"env": {"a: b": "c"}}}}, "a: b"),
        ({"settings": None}, "settings is required"),
        ({"default": {"probes": None}}, "probes is required"),
        ({"secrets": {"server": "My Secret"}}, "secrets.server"),
        ({"components": {"one": NEW_SERVICE | {"database": ""}}}, "database"),
        ({"components": {"fraud-scorer-worker": {"needs": ["postgres"]}}}, "say in `database` which one"),
        ({"images": {"registry": "r.example.com/"}}, "registry"),
    ],
)
def test_what_would_not_work_is_refused(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(says)):
        render(tmp_path, values)


def test_a_service_that_runs_elsewhere_needs_no_image(tmp_path: Path) -> None:
    theirs = {
        "external": True,
        "ports": {"http": 443},
        "provides": {"THEIR_URL": "https://theirs.example.com"},
    }
    values = {"components": {"theirs": theirs, "fraud-scorer-api": {"needs": ["kafka", "theirs"]}}}
    api = find(render(tmp_path, values), "StatefulSet", "fraud-scorer-api")
    assert env_of(api)["THEIR_URL"] == "https://theirs.example.com"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    config = find(example("default"), "ConfigMap", "prometheus-etc-prometheus")["data"]["prometheus.yml"]
    (tmp_path / "prometheus.yml").write_text(config)
    command = [PROMTOOL, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_every_pod_under_the_name_of_its_component() -> None:
    objects = example("default")
    config = find(objects, "ConfigMap", "prometheus-etc-prometheus")["data"]["prometheus.yml"]
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in yaml.safe_load(config)["scrape_configs"]}
    assert set(jobs) == SERVED | {"prometheus", "alertmanager"}
    for name, found in jobs.items():
        (pods_name,) = found["names"]
        service = find(objects, "Service", pods_name)["spec"]
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        assert service["selector"]["app.kubernetes.io/name"] == name
        assert found["port"] == COMPONENTS[name]["ports"]["http"]


def test_dashboards_and_rules_are_the_files_of_the_chart() -> None:
    objects = example("default")
    for folder, name in (("dashboards", "dashboards"), ("rules", "prometheus-etc-plinth-rules")):
        files = {file.name: file.read_text() for file in (CHART / "files" / folder).iterdir()}
        assert find(objects, "ConfigMap", name)["data"] == files


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
def test_rules_for_an_operator_are_about_their_own_namespace(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    spec = find(example("production"), "PrometheusRule", "plinth")["spec"]
    rules = [rule for group in spec["groups"] for rule in group["rules"]]
    files = [yaml.safe_load(file.read_text()) for file in sorted((CHART / "files/rules").iterdir())]
    plain = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    for rule, before in zip(rules, plain, strict=True):
        assert rule["labels"] == {"namespace": "plinth", **before.get("labels", {})}
        selectors = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", rule["expr"])
        assert {name for name, _ in selectors} == promql.names(before["expr"])
        assert all(inside.startswith('namespace="plinth",') for _, inside in selectors)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    command = [PROMTOOL, "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
