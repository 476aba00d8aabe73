"""Runs notebooks on the platform that is up and saves them with what they showed.

`python notebooks/run.py fraud.ipynb` saves in place, with `--into DIR` into another folder. What says nothing
to a reader (times of execution, versions of the kernel) is left out, so that a new run changes results alone.
Ends with 1 at the first cell that fails, saving nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

CELL_TIMEOUT_S = 300
CACHE = Path(os.environ.get("PLINTH_STATE_DIR", ".plinth")).resolve() / "cache"
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MPLCONFIGDIR": str(CACHE / "matplotlib"),
    "IPYTHONDIR": str(CACHE / "ipython"),
}
"""Of the kernel: libraries report nothing, and write nothing into the home folder."""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with its outputs, run in `folder`. Raises CellExecutionError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name=KERNEL["name"],
        extra_arguments=[
            "--log-level=ERROR"
        ],  # else a warning on each start, that loopback has no encryption
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
    return notebook


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python notebooks/run.py", description="Run notebooks and save them."
    )
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--into", type=Path, help="folder to save them in, instead of in place")
    chosen = parser.parse_args(arguments)
    for path in chosen.notebooks:
        try:
            executed = execute(nbformat.read(path, as_version=4), path.parent)
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)  # noqa: T201
            return 1
        nbformat.write(executed, (chosen.into or path.parent) / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
