"""Which metrics exist, and which ones a query uses."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from feature_store.metrics import EngineMetrics
from fraud_scorer.metrics import LabelMetrics, ScorerMetrics
from plinth_kit import metrics
from plinth_kit.http_metrics import HttpMetrics
from plinth_kit.kafka.metrics import PrometheusObserver

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
PROMETHEUS_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "job"}}
EVERY_TARGET = {"job", "instance"}

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\s*\{([^}]*)\}")
_LABEL = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def registry() -> CollectorRegistry:
    """Every metric of every service, as the services themselves declare them."""
    declared = metrics.registry()
    EngineMetrics(declared)
    ScorerMetrics(declared, "kafka")
    LabelMetrics(declared)
    PrometheusObserver(declared)
    HttpMetrics(declared)
    return declared


def series() -> dict[str, set[str]]:
    """Names of all time series that the services expose, with their labels."""
    found = dict(PROMETHEUS_OWN)
    collectors = set(registry()._collector_to_names)
    for collector in collectors:
        labels = set(getattr(collector, "_labelnames", ())) | EVERY_TARGET
        for family in collector.collect():
            more = {"le"} if family.type == "histogram" else set()
            own = set().union(*(sample.labels for sample in family.samples))
            for suffix in SUFFIXES[family.type]:
                found[family.name + suffix] = labels | more | own
    return found


def names(expression: str) -> set[str]:
    """Metric names in a PromQL expression."""
    text = _TEXT.sub('""', expression)
    text = _SELECTOR.sub(lambda match: f"{match[1] or ''} ", text)
    text = _DURATION.sub(" ", _GROUPING.sub(" ", text))
    return {name for name in _NAME.findall(text) if name.lower() not in _WORDS}


def labels(expression: str) -> set[str]:
    """Label names that a PromQL expression selects or groups by."""
    text = _TEXT.sub('""', expression)
    matched = {label for _, inside in _SELECTOR.findall(text) for label in _LABEL.findall(inside)}
    grouped = {name.strip() for inside in _GROUPING.findall(text) for name in inside.split(",")}
    return {label for label in matched | grouped if label}


def problems(expression: str, known: dict[str, set[str]]) -> Iterable[str]:
    """What an expression names that no service exposes."""
    used = names(expression)
    if not used:
        yield "no metric"
    for name in sorted(used - known.keys()):
        yield f"metric {name}"
    offered = set().union(*(known.get(name, set()) for name in used))
    for label in sorted(labels(expression) - offered):
        yield f"label {label}"
