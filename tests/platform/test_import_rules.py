"""The import rules hold, and they bite: a planted violation is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    sources = [str(p) for p in sorted(folder.glob("*/*/src")) + sorted(folder.glob("*/src"))]
    script = f"import sys; sys.path[:0] = {sources!r}; from importlinter.cli import lint_imports; " + (
        "sys.exit(lint_imports(no_cache=True))"
    )
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


def copy(folder: Path) -> None:
    for part in ("libs", "services", "pipelines", "cli"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def test_the_rules_hold(tmp_path: Path) -> None:
    copy(tmp_path)
    found = lint(tmp_path)
    assert found.returncode == 0, found.stdout


def test_a_planted_violation_is_found(tmp_path: Path) -> None:
    copy(tmp_path)
    core = tmp_path / "services/fraud-scorer/src/fraud_scorer/core/policy.py"
    core.write_text(core.read_text() + "\nimport redis\n")
    library = tmp_path / "libs/features/src/plinth_features/request.py"
    library.write_text(library.read_text() + "\nimport plinth_kit.settings\n")
    found = lint(tmp_path)
    assert found.returncode != 0
    assert "The core of a service is pure BROKEN" in found.stdout
    assert "Feature semantics and algorithms know nothing of the runtime kit BROKEN" in found.stdout
