"""Dashboards: valid, readable, drawing only what the services expose, and with numbers in every panel."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import exposed  # type: ignore[import-not-found]
import httpx
import msgspec
import promql  # type: ignore[import-not-found]
import pytest
import scripts  # type: ignore[import-not-found]
import yaml

ROOT = exposed.ROOT
FILES = sorted((ROOT / "helm/plinth/files/dashboards").glob("*.json"))
EVERY = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


builder = scripts.load("infra/grafana/build_dashboards.py")
checker = scripts.load("infra/grafana/check_dashboards.py")


def panels(file: Path) -> list[dict[str, Any]]:
    return list(checker.panels(msgspec.json.decode(file.read_bytes())))


def test_dashboards_are_those_described() -> None:
    sources = sorted(builder.SOURCES.glob("*.yaml"))
    assert [source.stem for source in sources] == [file.stem for file in FILES] == ["fraud", "platform"]
    for source, file in zip(sources, FILES, strict=True):
        assert builder.text(builder.load(source)) == file.read_text(), "run infra/grafana/build_dashboards.py"


def test_a_field_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    described = yaml.safe_load((builder.SOURCES / "platform.yaml").read_text())
    described["rows"][0]["panels"][0]["colour"] = "red"
    source = tmp_path / "wrong.yaml"
    source.write_text(yaml.safe_dump(described))
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `colour`.*rows.*panels"):
        builder.load(source)


@EVERY
def test_titles_are_unique_in_a_row(file: Path) -> None:
    row, titles = "", Counter[tuple[str, str]]()
    for panel in msgspec.json.decode(file.read_bytes())["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        titles[row, panel["title"]] += 1
    assert [title for title, count in titles.items() if count > 1] == []


@EVERY
def test_panels_say_what_they_show_and_from_where(file: Path) -> None:
    provisioned = yaml.safe_load(
        (ROOT / "infra/grafana/provisioning/datasources/prometheus.yaml").read_text()
    )
    sources = {source["uid"] for source in provisioned["datasources"]}
    for panel in panels(file):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} <= sources, panel["title"]


@EVERY
def test_alerts_that_panels_name_exist(file: Path) -> None:
    alerts = {rule["alert"] for rule in exposed.rules() if "alert" in rule}
    named = {alert for row in builder.load(source_of(file)).rows for p in row.panels for alert in p.alerts}
    assert named <= alerts


def test_every_alert_has_a_panel() -> None:
    named = {
        alert
        for file in FILES
        for row in builder.load(source_of(file)).rows
        for p in row.panels
        for alert in p.alerts
    }
    assert named == {rule["alert"] for rule in exposed.rules() if "alert" in rule}


@EVERY
def test_panels_fill_lines_and_do_not_overlap(file: Path) -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in msgspec.json.decode(file.read_bytes())["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]
    width, height = max(x for x, _ in cells) + 1, max(y for _, y in cells) + 1
    assert width == builder.WIDTH
    assert [(x, y) for y in range(height) for x in range(width) if (x, y) not in cells] == []


@pytest.mark.parametrize("query", checker.queries(FILES), ids=lambda query: query.panel)
def test_queries_use_metrics_that_exist(query: Any) -> None:
    assert list(promql.problems(query.expression, exposed.series())) == []


@EVERY
def test_legends_name_labels_that_queries_keep(file: Path) -> None:
    for panel in panels(file):
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = promql.grouped(target["expr"]) or {
                label for name in promql.names(target["expr"]) for label in exposed.series()[name].labels
            }
            assert used <= kept, panel["title"]


def test_what_does_not_exist_is_found() -> None:
    expression = (
        'sum by (topic, shop) (rate(plinth_kafka_lost_total{needs="a{b}"}[5m])) / plinth_kafka_commits_total'
    )
    assert "metric plinth_kafka_lost_total" in list(promql.problems(expression, exposed.series()))


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("rate(plinth_fraud_decisions[1m])", "metric plinth_fraud_decisions"),
        ('plinth_fraud_decisions_total{tier="1"}', "label tier of plinth_fraud_decisions_total"),
        (
            'rate(plinth_fraud_decisions_total{outcome=~"block|blocked"}[1m])',
            'value outcome="blocked" of plinth_fraud_decisions_total',
        ),
        ('plinth_fraud_labels_total{outcome!="nome"}', 'value outcome="nome" of plinth_fraud_labels_total'),
        (
            "sum by (path) (plinth_fraud_labels_total) / sum by (path) (plinth_fraud_decisions_total)",
            "label path by which plinth_fraud_labels_total is grouped",
        ),
        ("up / on (path) plinth_memory_limit_bytes", "label path"),
    ],
)
def test_labels_and_values_that_do_not_exist_are_found(expression: str, wrong: str) -> None:
    assert list(promql.problems(expression, exposed.series())) == [wrong]


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
    query = checker.Query("d", "p", "up", None)
    assert checker.problem(client, query) == wrong
    assert checker.check([query], lambda asked: wrong, 0.0, lambda: 1.0) == ({query: wrong} if wrong else {})


def source_of(file: Path) -> Path:
    source: Path = builder.SOURCES / f"{file.stem}.yaml"
    return source
