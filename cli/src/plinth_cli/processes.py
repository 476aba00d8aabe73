"""Processes of this machine: families, memory, and their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

# Between the fork of a process and the log line about it.
_SPAWN_TOLERANCE_SECONDS = 2.0
_KILL_SECONDS = 5.0


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def started_at(pid: int, at: float) -> psutil.Process | None:
    """The process with that id if it was started at that Unix time; None if the id is another's by now."""
    import psutil

    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - at) < _SPAWN_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def memory(pid: int) -> int:
    """Resident bytes of a process and all below it; pages that they share count once for each."""
    import psutil

    total = 0
    for process in family(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def terminate(processes: Sequence[psutil.Process]) -> None:
    """Ask processes to end."""
    import psutil

    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue


def wait_for_end(processes: Sequence[psutil.Process], timeout: float) -> list[str]:
    """Wait for processes to end, then kill what is left; returns `name (pid n)` of each that was killed."""
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=timeout)
    killed = []
    for process in alive:
        try:
            killed.append(f"{process.name()} (pid {process.pid})")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=_KILL_SECONDS)
    return killed
