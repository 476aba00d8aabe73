"""Alert rules: they fire when they should, name what exists, and say what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import exposed  # type: ignore[import-not-found]
import promql  # type: ignore[import-not-found]
import pytest
import yaml

from fraud_scorer.settings import ApiSettings

ROOT = exposed.ROOT
CASES = sorted(Path(__file__).parent.glob("rules_test_*.yaml"))
PROMTOOL = shutil.which("promtool")

RULES = exposed.rules()
ALERTS = [rule for rule in RULES if "alert" in rule]
EVERY_ALERT = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def recorded(name: str) -> dict[str, str]:
    """Expressions of a recording rule by job; "" where it sets none."""
    return {r.get("labels", {}).get("job", ""): r["expr"] for r in RULES if r.get("record") == name}


NOT_CONSTANT = [rule for rule in RULES if not rule["expr"].startswith("vector(")]


@pytest.mark.parametrize("rule", NOT_CONSTANT, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_use_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert list(promql.problems(rule["expr"], exposed.series())) == []


@EVERY_ALERT
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action", "runbook"}


@EVERY_ALERT
def test_runbooks_exist(rule: dict[str, Any]) -> None:
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(), flags=re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_runbook_has_no_alert_that_is_gone() -> None:
    text = (ROOT / "infra/prometheus/README.md").read_text()
    headings = set(re.findall(r"^### (\w+)$", text, flags=re.MULTILINE))
    assert headings == {rule["alert"] for rule in ALERTS}


def test_names_are_unique() -> None:
    """In Kubernetes all files become one object, in which each group has its own name."""
    groups = [g["name"] for file in exposed.RULES for g in yaml.safe_load(file.read_text())["groups"]]
    names = Counter(groups) + Counter(rule["alert"] for rule in ALERTS)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_service_can_be_missing_unnoticed() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (missing,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "TargetMissing"]
    assert set(re.findall(r'job="([^"]+)"', missing)) == {
        name for name, service in services.items() if "PLINTH_PORT" in service.get("environment", {})
    }


def test_share_let_through_is_that_of_the_policy() -> None:
    policy = yaml.safe_load((ROOT / "services/fraud-scorer/src/fraud_scorer/policy.yaml").read_text())
    assert recorded("plinth:fraud_let_through_share") == {"": f"vector({policy['let_through']['share']})"}


def test_limit_of_the_outbox_is_that_of_the_settings() -> None:
    limit = ApiSettings.model_fields["outbox_max_bytes"].default
    assert limit == 1024**3
    assert recorded("plinth:outbox_limit_bytes") == {"": "vector(1024 * 1024 * 1024)"}


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    tests = [test for file in CASES for test in yaml.safe_load(file.read_text())["tests"]]
    fired = {c["alertname"] for test in tests for c in test["alert_rule_test"] if c.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
@pytest.mark.parametrize("cases", CASES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should(cases: Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", str(cases)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
def test_prometheus_accepts_its_configuration() -> None:
    assert PROMTOOL is not None
    config = ROOT / "infra/prometheus/prometheus.yml"
    done = subprocess.run(
        [PROMTOOL, "check", "config", "--syntax-only", str(config)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
