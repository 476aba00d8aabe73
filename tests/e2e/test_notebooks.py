"""The notebooks run to their end on a platform of the tests; what is committed is a complete run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from fixtures_platform import ROOT, RunningPlatform
from nbformat import NotebookNode

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 400_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    """Each committed notebook."""
    path: Path = request.param
    return path


def test_it_runs_to_its_end(platform: RunningPlatform, notebook: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "notebooks/run.py", "--into", tmp_path, notebook],
        env=platform.local_environ(),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    assert _kinds(tmp_path / notebook.name) == _kinds(notebook)


def test_without_a_platform_it_says_what_to_do(notebook: Path, tmp_path: Path) -> None:
    nowhere = {"PLINTH_SCORER_URL": "http://127.0.0.1:1", "PLINTH_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, ROOT / "notebooks/run.py", "--into", tmp_path, notebook],
        env=nowhere,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Start the platform: `make demo`" in done.stderr
    assert not (tmp_path / notebook.name).exists()


def test_the_committed_one_is_a_complete_run(notebook: Path) -> None:
    code = [cell for cell in _cells(notebook) if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any("error" in kinds or "stderr" in kinds for kinds in _kinds(notebook))
    assert notebook.stat().st_size < MAX_BYTES
    assert not any(folder in notebook.read_text() for folder in (str(ROOT), str(Path.home()), "/tmp/"))  # noqa: S108


def _cells(path: Path) -> list[NotebookNode]:
    cells: list[NotebookNode] = nbformat.read(path, as_version=4).cells
    return cells


def _kinds(path: Path) -> list[list[str]]:
    """What each cell shows: names of streams, the media types of figures, `error`."""
    return [[_kind(output) for output in cell.get("outputs", [])] for cell in _cells(path)]


def _kind(output: NotebookNode) -> str:
    return str(output.get("name") or " ".join(sorted(output.get("data", {}))) or output.output_type)
