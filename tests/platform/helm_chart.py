"""The chart as Helm renders it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import scripts  # type: ignore[import-not-found]
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/plinth"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
WORKLOADS = {"Deployment", "StatefulSet", "Job", "CronJob"}

Document = dict[str, Any]


examples = scripts.load("infra/kubernetes/render_examples.py")
NAMES: list[str] = examples.names()


@cache
def _example(name: str) -> tuple[Document, ...]:
    return tuple(examples.example(name))


@cache
def _default() -> tuple[Document, ...]:
    return tuple(examples.render())


def example(name: str) -> list[Document]:
    """Objects of an example; of `default`, those of the chart's own values."""
    return list(_default() if name == "default" else _example(name))


def render(folder: Path, values: Document) -> list[Document]:
    """Objects that values make."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    rendered: list[Document] = examples.render([path])
    return rendered


def find(documents: list[Document], kind: str, name: str) -> Document:
    """The one object of a kind and name."""
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def names_of(documents: list[Document], *kinds: str) -> set[str]:
    """Names of the objects of these kinds."""
    return {d["metadata"]["name"] for d in documents if d["kind"] in kinds}


def pod_of(document: Document) -> Document:
    """The pod template of a workload."""
    spec: Document = document["spec"]
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Document = spec["template"]
    return template


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Name and pod template of every workload."""
    for document in documents:
        if document["kind"] in WORKLOADS:
            yield document["metadata"]["name"], pod_of(document)


def env_of(document: Document) -> dict[str, Any]:
    """Variables of a workload's container: text, or the reference to a secret."""
    (container,) = pod_of(document)["spec"]["containers"]
    variables = container.get("env", [])
    assert len({v["name"] for v in variables}) == len(variables)
    return {v["name"]: v["value"] if "value" in v else v["valueFrom"]["secretKeyRef"] for v in variables}
