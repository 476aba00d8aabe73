"""Render the chart's examples, as they are committed: `python infra/kubernetes/render_examples.py`.

helm/plinth/examples/<name>/values.yaml becomes rendered.yaml beside it, one document an object, in a fixed
order. What differs from one rendering to the next, or has its only copy elsewhere, is left out: made secrets,
the contents of files, and their digest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/plinth"
EXAMPLES = CHART / "examples"
HELM = Path(sys.executable).with_name("helm")
NAMESPACE = "plinth"

Document = dict[str, Any]


def names() -> list[str]:
    """The examples."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/values.yaml"))


def render(values: Sequence[Path] = (), *arguments: str) -> list[Document]:
    """The objects that the chart makes of values, sorted by kind and name. Raises RuntimeError."""
    files = [f"--values={path}" for path in values]
    command = [HELM, "template", "plinth", CHART, f"--namespace={NAMESPACE}", *files, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return sorted(documents, key=lambda one: (one["kind"], one["metadata"]["name"]))


def example(name: str) -> list[Document]:
    """What an example makes."""
    return render([EXAMPLES / name / "values.yaml"])


def text(documents: Sequence[Document]) -> str:
    """Documents as they are committed."""
    return "---\n".join(
        yaml.safe_dump(_without_chance(document), default_flow_style=None, sort_keys=False, width=110)
        for document in documents
    )


def _without_chance(document: Document) -> Document:
    copy: Document = yaml.safe_load(yaml.safe_dump(document))
    if copy["kind"] in {"Secret", "ConfigMap"}:
        copy["data"] = dict.fromkeys(copy["data"], "…")
    if copy["kind"] == "PrometheusRule":
        copy["spec"] = {"groups": "…"}
    annotations = copy.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    if "plinth/files" in annotations:
        annotations["plinth/files"] = "…"
    return copy


def main() -> int:
    """Render every example."""
    for name in names():
        (EXAMPLES / name / "rendered.yaml").write_text(text(example(name)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
