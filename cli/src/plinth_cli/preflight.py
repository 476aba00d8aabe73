"""What must hold before a start. Each check takes the facts and answers with a problem or None."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from plinth_cli.table import HOST, Table

_GIB = 1024**3
MIN_PYTHON = (3, 11)
MIN_JAVA = 17
MIN_DISK = 3 * _GIB
MIN_MEMORY = 3 * _GIB
DEBIAN_JAVA, DEBIAN_MAVEN = "openjdk-17-jdk-headless", "maven"


@dataclass(frozen=True)
class Problem:
    """Why the platform would not start, and what to do. `packages`: Debian packages that solve it."""

    what: str
    fix: str
    packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def check_python(version: tuple[int, int]) -> Problem | None:
    """Python is new enough."""
    if version >= MIN_PYTHON:
        return None
    return Problem(f"Python {version[0]}.{version[1]} is too old", "install Python 3.11 and run `make setup`")


def check_java(version_text: str | None) -> Problem | None:
    """Java is there (None: it is not) and new enough; the text is what `java -version` prints."""
    fix = f"install Java {MIN_JAVA} or newer (Debian: apt-get install {DEBIAN_JAVA})"
    if version_text is None:
        return Problem("Kafka needs Java, and there is no `java`", fix, (DEBIAN_JAVA,))
    found = re.search(r'version "(\d+)', version_text)
    if found is None:
        return Problem("`java -version` does not name its version", fix, (DEBIAN_JAVA,))
    if int(found[1]) < MIN_JAVA:
        return Problem(f"Java {found[1]} is too old for Kafka", fix, (DEBIAN_JAVA,))
    return None


def check_maven(present: bool, jars_present: bool) -> Problem | None:
    """Maven is there, or not needed because Kafka's jars are."""
    if present or jars_present:
        return None
    fix = f"install Maven (Debian: apt-get install {DEBIAN_MAVEN}); it is used once"
    return Problem("Kafka's jars must be fetched, and there is no `mvn`", fix, (DEBIAN_MAVEN,))


def check_port(name: str, port: int, free: bool, owner: str | None) -> Problem | None:
    """A port is free. `owner`: who has it, where that can be seen."""
    if free:
        return None
    variable = "PLINTH_PORT_" + name.upper().replace("-", "_")
    holder = owner or "a process of another user"
    fix = f"stop it, or set {variable} to a free port, or PLINTH_PORT_OFFSET=1000 to move all"
    return Problem(f"port {port} of {name} is used by {holder}", fix)


def check_disk(free: int, folder: Path) -> Problem | None:
    """Enough bytes are free."""
    if free >= MIN_DISK:
        return None
    fix = f"free {MIN_DISK // _GIB} GB, or set PLINTH_STATE_DIR to a folder elsewhere"
    return Problem(f"only {free / _GIB:.1f} GB of disk are free at {folder}", fix)


def check_memory(free: int) -> Problem | None:
    """Enough bytes of memory are free."""
    if free >= MIN_MEMORY:
        return None
    return Problem(
        f"only {free / _GIB:.1f} GB of memory are free", f"close programs until {MIN_MEMORY // _GIB} GB are"
    )


def check_writable(folder: Path) -> Problem | None:
    """The state folder can be made and written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if writable:
        return None
    return Problem(
        f"{folder} cannot be written", "correct its owner, or set PLINTH_STATE_DIR to your own folder"
    )


def check_state(ours: bool, folder: Path) -> Problem | None:
    """The state folder holds nothing of others, which a purge would delete."""
    if ours:
        return None
    return Problem(f"{folder} holds other files", "set PLINTH_STATE_DIR to a new or empty folder")


def tools(*, needs_java: bool, jars_present: bool) -> list[Problem]:
    """Problems with programs on this machine."""
    checks = [check_python(sys.version_info[:2])]
    if needs_java:
        checks += [check_java(java_version()), check_maven(shutil.which("mvn") is not None, jars_present)]
    return [problem for problem in checks if problem]


def resources(state: Path, *, ours: bool) -> list[Problem]:
    """Problems with disk, memory and the state folder."""
    import psutil

    unusable = check_state(ours, state) or check_writable(state)
    if unusable:
        return [unusable]
    checks = [
        check_disk(shutil.disk_usage(state).free, state),
        check_memory(psutil.virtual_memory().available),
    ]
    return [problem for problem in checks if problem]


def ports(table: Table, names: Iterable[str]) -> list[Problem]:
    """Problems with the ports of the named processes, which do not run yet."""
    wanted = [(name, port) for row in names for name, port in table.find(row).ports.items()]
    busy = [(name, port) for name, port in wanted if not is_free(port)]
    problems = (check_port(name, port, False, port_owner(port)) for name, port in busy)
    return [problem for problem in problems if problem]


def is_free(port: int) -> bool:
    """Whether that loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str | None:
    """The process that listens on a port, such as `java (pid 7)`; None where it cannot be seen."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
        listening = (c for c in connections if c.status == "LISTEN" and c.laddr and c.laddr.port == port)
        pid = next(c.pid for c in listening if c.pid)
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except (StopIteration, psutil.Error):
        return None


def java_version() -> str | None:
    """What `java -version` prints, or None without java."""
    java = shutil.which("java")
    if java is None:
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stderr + done.stdout
