"""Offers to install missing Debian packages, where that is possible: Debian, and root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from plinth_cli.preflight import Problem

_APT = "/usr/bin/apt-get"


def offer(problems: Sequence[Problem], *, yes: bool, environ: Mapping[str, str]) -> bool:
    """Install what would solve the problems; True if that was done.

    Without asking when `yes` or CI=true; asks on a terminal; otherwise does nothing.
    """
    packages = sorted({package for problem in problems for package in problem.packages})
    if not packages or os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        return False
    if not (yes or environ.get("CI") == "true" or _agrees(packages)):
        return False
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([_APT, "update", "-qq"], env=quiet)
    install = [_APT, "install", "-y", "-qq", "--no-install-recommends", *packages]
    return subprocess.run(install, env=quiet).returncode == 0


def _agrees(packages: Sequence[str]) -> bool:
    import typer

    return sys.stdin.isatty() and typer.confirm(
        f"Run `apt-get install -y {' '.join(packages)}`?", default=True
    )
