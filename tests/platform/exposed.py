"""Every time series that the services expose, with its labels and the values these can take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import promql  # type: ignore[import-not-found]
import yaml
from prometheus_client import CollectorRegistry

from feature_store.metrics import EngineMetrics
from fraud_scorer.core.cases import TIERS, Resolution, Status
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.service import FEATURES, MODEL
from plinth_contracts.events import Outcome
from plinth_kit import metrics, redis
from plinth_kit.http_metrics import HttpMetrics
from plinth_kit.kafka.metrics import PrometheusObserver, measure_outbox

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "helm/plinth/files/rules").glob("*.yaml"))
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
UNLISTED = {"alias", "method", "needs", "partition", "route", "le", "instance"}
"""Labels whose values are not listed anywhere."""


def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    return [
        rule
        for file in RULES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def jobs() -> set[str]:
    """Services that Prometheus scrapes."""
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    return {job["job_name"] for job in config["scrape_configs"]}


@cache
def values() -> Mapping[str, frozenset[str]]:
    """Values by label. A label of this name has these in whatever metric."""
    policy = yaml.safe_load((ROOT / "services/fraud-scorer/src/fraud_scorer/policy.yaml").read_text())
    features = msgspec.json.decode((ROOT / "feature_repo/compiled/fraud.json").read_bytes())
    topics = (ROOT / "libs/contracts/src/plinth_contracts/topics").glob("*.yaml")
    listed = {
        "alertstate": {"pending", "firing"},
        "fraud": {"true", "false"},
        "job": jobs(),
        "lacking": {FEATURES, MODEL},
        "outcome": {*Outcome, "none"},
        "path": {"http", "kafka"},
        "resolution": {*Resolution},
        "rule": {rule["name"] for rule in policy["rules"]},
        "status": {*Status, *map(str, range(200, 600))},
        "tier": {str(tier) for tier in TIERS},
        "topic": {topic.stem for topic in topics},
        "view": {view["name"] for view in features["views"]},
    }
    return {label: frozenset(str(value) for value in found) for label, found in listed.items()}


def registry() -> CollectorRegistry:
    """Every metric of every service, as the services themselves declare them."""
    declared = metrics.registry()
    EngineMetrics(declared)
    ScorerMetrics(declared, "kafka")
    LabelMetrics(declared)
    CaseMetrics(declared)
    PrometheusObserver(declared)
    HttpMetrics(declared).observe(
        "/v1/decisions", "POST", 200, 0.001
    )  # it names labels with its first request
    outbox: Any = SimpleNamespace(waiting=SimpleNamespace(messages=0, bytes=0), age=0.0, refused=0)
    measure_outbox(outbox, declared)
    client: Any = SimpleNamespace(
        info=lambda _: {"used_memory": 5, "mem_not_counted_for_evict": 1, "maxmemory": 10}
    )
    redis.Memory(client, declared)
    return declared


@cache
def series() -> Mapping[str, promql.Series]:
    """Time series by name: of the services, of Prometheus itself, and of recording rules."""
    found = {"up": _series(set()), "ALERTS": _series({"alertname", "alertstate", "severity"})}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = promql.recorded(rule)
    for collector in set(registry()._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            own = set().union(*(sample.labels for sample in family.samples))
            for suffix in SUFFIXES[family.type]:
                bucket = {"le"} if suffix == "_bucket" else set()
                found[family.name + suffix] = _series(labels | (own - {"le"}) | bucket)
    return found


def _series(labels: set[str]) -> Any:
    return promql.Series({label: values().get(label) for label in labels | {"job", "instance"}})


def exposition(step: int) -> Iterator[str]:
    """What a process tells that has every metric, with the listed values of its labels, five at most of each,
    when it is asked for the step-th time: counters and histograms that grow, gauges that do not.
    """
    for collector in set(registry()._collector_to_names):
        names = getattr(collector, "_labelnames", ())
        for family in collector.collect():
            if family.name.startswith("python_"):
                continue
            labels = sorted(set(names) | set().union(*(s.labels for s in family.samples)) - {"le"})
            yield f"# TYPE {family.name} {family.type}"
            for combination in product(*(sorted(values().get(label, {"some"}))[:5] for label in labels)):
                said = [f'{label}="{value}"' for label, value in zip(labels, combination, strict=True)]
                yield from _samples(family.name, family.type, said, step)


def _samples(name: str, kind: str, labels: list[str], step: int) -> Iterator[str]:
    def line(suffix: str, value: float, *more: str) -> str:
        return f"{name}{suffix}{{{','.join([*labels, *more])}}} {value}"

    if kind == "histogram":
        for part, bound in enumerate(("0.01", "0.1", "1.0", "+Inf"), 1):
            yield line("_bucket", step * part * 10, f'le="{bound}"')
        yield line("_sum", step * 5.0)
        yield line("_count", step * 40)
    else:
        yield line("_total" if kind == "counter" else "", step * 100 if kind == "counter" else 5)
