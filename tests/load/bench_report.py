"""What a benchmark reports: figures beside their targets, as a table and as a file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.table import Table

REPO = Path(__file__).resolve().parents[2]
RESULTS = REPO / "bench-results"


@dataclass(frozen=True)
class Figure:
    """One measured value. `target` is None where a figure only stands beside others."""

    what: str
    measured: float
    unit: str
    target: float | None = None
    less_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better than the target; below 1 the target is missed."""
        if not self.target or not self.measured:
            return None
        return self.target / self.measured if self.less_is_better else self.measured / self.target


@dataclass
class Report:
    """The figures of one benchmark in the order in which they were taken."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=lambda: machine())

    def rate(self, what: str, measured: float, unit: str = "/s", target: float | None = None) -> None:
        """Add a figure of which more is better."""
        self.figures.append(Figure(what, measured, unit, target))

    def cost(self, what: str, measured: float, unit: str = "ms", target: float | None = None) -> None:
        """Add a figure of which less is better."""
        self.figures.append(Figure(what, measured, unit, target, less_is_better=True))

    def table(self) -> Table:
        """what | measured | target | ratio."""
        table = Table("what", title=self.name, title_justify="left")
        for column in ("measured", "target", "ratio"):
            table.add_column(column, justify="right", no_wrap=True)
        for figure in self.figures:
            sign = "≤" if figure.less_is_better else "≥"
            target = "" if figure.target is None else f"{sign} {_number(figure.target)} {figure.unit}"
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            table.add_row(figure.what, f"{_number(figure.measured)} {figure.unit}", target, ratio)
        return table

    def write(self) -> Path:
        """The figures with date, machine and commit as JSON in `bench-results/`."""
        RESULTS.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}-{self.name}.json"
        figures = [{**figure.__dict__, "ratio": figure.ratio} for figure in self.figures]
        content = {
            "benchmark": self.name,
            "date": now.isoformat(timespec="seconds"),
            "commit": _commit(),
            "machine": self.machine,
            "figures": figures,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


def machine() -> dict[str, object]:
    """Processor, cores, memory, and how busy it is at the moment."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    command = ["git", "-C", str(REPO), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
