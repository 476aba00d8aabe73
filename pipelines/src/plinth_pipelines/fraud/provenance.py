"""What a model was made of: the data and the code, in a form that can be checked later."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

LIBRARIES = (
    "matplotlib",
    "mlflow",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "xgboost",
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The transactions behind a model. Times are those of its first and last event; sha256 is `digest`."""

    source: str
    config: dict[str, Any]
    rows: int
    frauds: int
    first_event: str
    last_event: str
    sha256: str


def manifest(transactions: pd.DataFrame, source: str, config: dict[str, Any]) -> Manifest:
    """Manifest of a table that came from `source`, made with `config`."""
    return Manifest(
        source=source,
        config=config,
        rows=len(transactions),
        frauds=int(transactions["is_fraud"].sum()),
        first_event=transactions["event_ts"].iloc[0].isoformat(),
        last_event=transactions["event_ts"].iloc[-1].isoformat(),
        sha256=digest(transactions),
    )


def digest(table: pd.DataFrame) -> str:
    """SHA-256 over column names and row hashes: changes with any value, name or order."""
    hashed = hashlib.sha256("\n".join(map(str, table.columns)).encode())
    hashed.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return hashed.hexdigest()


def code_revision(folder: Path) -> str:
    """Commit that the folder is at, with `-dirty` if files differ from it; `unknown` outside of git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    arguments = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def environment() -> dict[str, str]:
    """Versions of Python and of the libraries that a model depends on, and the kind of machine."""
    versions = {library: version(library) for library in LIBRARIES}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}
