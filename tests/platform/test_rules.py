"""Alert rules: they fire when they should, name what exists, and say what to do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql  # type: ignore[import-not-found]
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "helm/plinth/files/rules/platform.yaml"
CASES = Path(__file__).with_name("rules_test.yaml")
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alerts_use_metrics_that_exist(rule: dict[str, Any]) -> None:
    recorded = {r["record"]: {"job"} for r in rules() if "record" in r}
    assert list(promql.problems(rule["expr"], promql.series() | recorded)) == []


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}


def test_memory_limits_are_those_of_the_containers() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    limits = {
        r["labels"]["job"]: r["expr"] for r in rules() if r.get("record") == "plinth:memory_limit_bytes"
    }
    assert limits == {
        name: f"vector({service['mem_limit'].removesuffix('m')} * 1024 * 1024)"
        for name, service in services.items()
        if "PLINTH_PORT" in service.get("environment", {})
    }


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in alerts()}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
def test_alerts_fire_when_they_should() -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", str(CASES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
def test_prometheus_accepts_its_configuration() -> None:
    assert PROMTOOL is not None
    config = ROOT / "infra/prometheus/prometheus.yml"
    done = subprocess.run(
        [PROMTOOL, "check", "config", "--syntax-only", str(config)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
