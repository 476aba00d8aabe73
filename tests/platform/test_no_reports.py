"""No library reports what is done here, or leaves an id in somebody's home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_QUIET = {"PYTEST_CURRENT_TEST", "PYTEST_VERSION", "CI", "DO_NOT_TRACK"}
"""What makes libraries think that they are tested, and say nothing for that reason."""

_TRAINS = """
import mlflow, onnxruntime
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
"""


@pytest.mark.parametrize(
    "code",
    [
        "import sys, fraud_scorer.scoring; assert 'onnxruntime' in sys.modules",
        "import plinth_pipelines.fraud.demo" + _TRAINS,
    ],
    ids=["scorer", "training"],
)
def test_nothing_is_written_into_the_home_folder(code: str, tmp_path: Path) -> None:
    home, state = tmp_path / "home", tmp_path / "state"
    home.mkdir()
    state.mkdir()
    ours = {name: value for name, value in os.environ.items() if name not in _QUIET}
    for name in ("MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        ours.pop(name, None)
    environment = ours | {"HOME": str(home), "PLINTH_STATE_DIR": str(state)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
