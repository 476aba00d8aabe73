"""The chart of the version before this one, from the history of git."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import yaml
from render_examples import CHART, ROOT

FILE = "helm/plinth/Chart.yaml"


def previous_chart(folder: Path) -> Path | None:
    """The newest committed chart of another version, put into a folder; None where there is none."""
    present = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    for commit in _git("log", "--format=%H", "--", "helm/plinth").decode().split():
        try:
            version = yaml.safe_load(_git("show", f"{commit}:{FILE}"))["version"]
        except subprocess.CalledProcessError:  # the commit that removed it
            continue
        if version != present:
            archive = _git("archive", commit, "helm/plinth")
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
            return folder / "helm/plinth"
    return None


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S607
