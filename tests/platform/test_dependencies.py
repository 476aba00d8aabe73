"""What a part of the repository imports it also declares, so that it can be installed alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(path for path in ROOT.glob("**/pyproject.toml") if (path.parent / "src").exists())
DISTRIBUTIONS = packages_distributions()


def normal(name: str) -> str:
    return re.split(r"[^\w-]", name, maxsplit=1)[0].lower().replace("_", "-")


def imported(source: Path) -> Iterator[str]:
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield str(node.module)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.parent.name)
def test_imports_are_declared(project: Path) -> None:
    about = tomllib.loads(project.read_text())["project"]
    declared = {normal(one) for one in about.get("dependencies", [])}
    own = {path.name for path in (project.parent / "src").iterdir()}
    roots = {name.partition(".")[0] for name in imported(project.parent / "src")}
    missing = {
        root
        for root in roots - own - sys.stdlib_module_names
        if not {normal(one) for one in DISTRIBUTIONS.get(root, [root])} & declared
    }
    assert missing == set()
