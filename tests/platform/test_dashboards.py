"""Dashboards: valid, readable, and drawing only what the services expose."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import msgspec
import promql  # type: ignore[import-not-found]
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "helm/plinth/files/dashboards").glob("*.json"))
RULES = ROOT / "helm/plinth/files/rules/platform.yaml"


def load_checker() -> ModuleType:
    path = ROOT / "infra/grafana/check_dashboards.py"
    spec = importlib.util.spec_from_file_location("check_dashboards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_dashboards"] = module
    spec.loader.exec_module(module)
    return module


checker = load_checker()


def panels(file: Path) -> list[dict[str, Any]]:
    return list(checker.panels(msgspec.json.decode(file.read_bytes())))


def known_series() -> dict[str, set[str]]:
    recorded = {
        rule["record"]: {"job"}
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    series: dict[str, set[str]] = promql.series()
    return series | recorded


def test_there_are_dashboards() -> None:
    assert [file.name for file in FILES] == ["platform.json"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_ids_and_titles_are_unique(file: Path) -> None:
    dashboard = msgspec.json.decode(file.read_bytes())
    ids = Counter(panel["id"] for panel in dashboard["panels"])
    titles = Counter(panel["title"] for panel in dashboard["panels"])
    assert [one for counts in (ids, titles) for one, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_have_unit_description_and_data_source(file: Path) -> None:
    provisioned = yaml.safe_load(
        (ROOT / "infra/grafana/provisioning/datasources/prometheus.yaml").read_text()
    )
    sources = {source["uid"] for source in provisioned["datasources"]}
    for panel in panels(file):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} <= sources, panel["title"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_do_not_overlap(file: Path) -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in msgspec.json.decode(file.read_bytes())["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24, panel["title"]
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.parametrize("query", checker.queries(FILES), ids=lambda query: query.panel)
def test_queries_use_metrics_that_exist(query: Any) -> None:
    assert list(promql.problems(query.expression, known_series())) == []


def test_what_does_not_exist_is_found() -> None:
    expression = (
        'sum by (topic, shop) (rate(plinth_kafka_lost_total{needs="a{b}"}[5m])) / plinth_kafka_commits_total'
    )
    assert list(promql.problems(expression, known_series())) == [
        "metric plinth_kafka_lost_total",
        "label needs",
        "label shop",
        "label topic",
    ]


def test_a_counter_needs_its_suffix() -> None:
    assert list(promql.problems("rate(plinth_fraud_decisions[1m])", known_series())) == [
        "metric plinth_fraud_decisions"
    ]


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"data": {"result": [{"value": [1, "0"]}]}}, None),
        ({"data": {"result": []}}, "no series"),
        ({"data": {"result": [{"value": [1, "NaN"]}]}}, "no number, only NaN"),
    ],
)
def test_empty_panels_are_found(answer: dict[str, Any], wrong: str | None) -> None:
    client = httpx.Client(
        base_url="http://127.0.0.1",
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json=answer)),
    )
    query = checker.Query("d", "p", "up")
    assert checker.problem(client, query) == wrong
    assert checker.check([query], lambda asked: wrong, 0.0, lambda: 1.0) == ({query: wrong} if wrong else {})
