"""docker-compose.yml: hardened, complete, and in agreement with the other ways to run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {"secrets", "setup", "demo"}
NOT_WAITED_FOR = ONE_SHOTS | {"grafana"}
EVERY = pytest.mark.parametrize("name", SERVICES)


def local_processes() -> dict[str, dict[str, Any]]:
    table = yaml.safe_load((ROOT / "infra/local/platform.yaml").read_text())
    return {process["name"]: process for process in table["processes"]}


@EVERY
def test_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    # These images start as root to give their data to a user of their own, and then become that user.
    assert bool(service.get("cap_add")) == (name in {"postgres", "redis"})


@EVERY
def test_service_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped")


@EVERY
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        variable = "PLINTH_PORT_" + name.upper().replace("-", "_")
        assert re.fullmatch(rf"127\.0\.0\.1:\$\{{{variable}:-\d+\}}:\d+", port)


@EVERY
def test_health_is_checked_where_somebody_may_wait(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) == (name not in NOT_WAITED_FOR)


@EVERY
def test_service_waits_by_a_condition_that_can_come_true(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed in ONE_SHOTS else "service_healthy"
        assert how["condition"] == expected
        assert needed in SERVICES


@EVERY
def test_image_is_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert tag == "${PLINTH_VERSION:-0.1.0}" or re.search(r"\d", tag)


def test_old_compose_can_read_it() -> None:
    assert not {"name", "include", "version", "secrets", "configs"} & COMPOSE.keys()
    extensions = {key for key in COMPOSE if key.startswith("x-")}
    assert COMPOSE.keys() - extensions == {"services", "volumes"}


def test_names_and_ports_are_those_of_the_local_processes() -> None:
    for name, process in local_processes().items():
        assert name in SERVICES
        published = [port.split(":-")[1].split("}")[0] for port in SERVICES[name].get("ports", [])]
        assert published in ([], [str(process["port"])]), name


def test_services_run_the_command_that_the_local_processes_run() -> None:
    for name, process in local_processes().items():
        if "PLINTH_PORT" in SERVICES[name].get("environment", {}):
            assert SERVICES[name]["command"] == process["command"].replace("${python}", "python")
            assert SERVICES[name]["environment"]["PLINTH_PORT"] == process["port"]


def test_prometheus_scrapes_every_service_under_its_name() -> None:
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    ours = {
        name: s["environment"]["PLINTH_PORT"]
        for name, s in SERVICES.items()
        if "PLINTH_PORT" in s.get("environment", {})
    }
    assert len(ours) >= 4
    for name, port in ours.items():
        assert targets[name] == [f"{name}:{port}"]


def test_clear_keys_are_seen_by_clients_alone() -> None:
    holders = {
        name
        for name, s in SERVICES.items()
        if any(v.startswith("client-secrets:") for v in s.get("volumes", []))
    }
    assert holders == {"secrets", "demo"}


@EVERY
def test_no_secret_is_in_the_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert not re.search(r"PASSWORD|TOKEN|SECRET|API_KEY$", variable)
        assert not re.search(r"://[^/]*:[^/]*@", str(value)), variable


@pytest.mark.parametrize("name", ["feature-store", "fraud-scorer", "pipelines", "mlflow"])
def test_image_lock_is_a_part_of_the_whole_lock(name: str) -> None:
    pin = re.compile(r"^([a-z0-9._-]+==\S+)(?: ; (.*?))? \\$", re.M)
    whole = {match[1] for match in pin.finditer((ROOT / "requirements/all.txt").read_text())}
    text = (ROOT / f"requirements/{name}.txt").read_text()
    part = {match[1] for match in pin.finditer(text)}
    assert part
    assert part <= whole
    assert "://" not in text


def test_example_environment_names_what_the_file_reads() -> None:
    read = set(re.findall(r"\$\{(PLINTH_\w+)", TEXT))
    told = set(re.findall(r"^#?(PLINTH_\w+)=", (ROOT / ".env.example").read_text(), re.M))
    assert told == read
