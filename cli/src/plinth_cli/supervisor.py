"""The running supervisor: start it, ask it, tell it, stop it."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from plinth_cli.config import Config
from plinth_cli.errors import PlatformError

ABNORMAL = frozenset({"FATAL", "UNKNOWN"})
_ALREADY_STARTED, _NOT_RUNNING = 60, 70
_SPAWNED = re.compile(r"^(\S+ \S+) INFO spawned: '(.+)' with pid (\d+)$")


@dataclass(frozen=True)
class State:
    """What supervisor knows of a process. `pid` is 0 and `since` meaningless unless it runs."""

    name: str
    state: str
    pid: int
    since: float
    message: str


@dataclass(frozen=True)
class Spawn:
    """A line of supervisor's log: a process was started, at this Unix time."""

    name: str
    pid: int
    at: float


class Supervisor:
    """One platform's supervisor, over its Unix socket. Nothing is contacted before a method is called."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def is_running(self) -> bool:
        """Whether it answers."""
        with suppress(OSError, xmlrpc.client.Error, http.client.HTTPException), self._api() as api:
            return bool(api.getState()["statename"] == "RUNNING")
        return False

    def pid(self) -> int:
        """Its process id. OSError when it does not run."""
        with self._api() as api:
            return int(api.getPID())

    def launch(self, timeout: float = 15.0) -> None:
        """Start it in the background and wait until it answers; PlatformError if it does not."""
        self._config.supervisor_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old_log()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config.supervisor_conf)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._config.root)
        deadline = time.monotonic() + timeout
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.is_running():
                return
            time.sleep(0.05)
        raise PlatformError(f"supervisor did not start: {(done.stderr or done.stdout).strip()}")

    def reload(self) -> None:
        """Read its configuration again; processes whose row changed are restarted, if they ran."""
        running = self._alive()
        with self._api() as api:
            added, changed, removed = api.reloadConfig()[0]
            for name in (*changed, *removed):
                api.stopProcessGroup(name)
                api.removeProcessGroup(name)
            for name in (*added, *changed):
                api.addProcessGroup(name)
        for name in changed:
            if name in running:
                self.start(name)

    def states(self) -> dict[str, State]:
        """All processes by name; empty when supervisor does not run."""
        try:
            with self._api() as api:
                answers = api.getAllProcessInfo()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}
        return {
            answer["name"]: State(
                answer["name"], answer["statename"], answer["pid"], float(answer["start"]), answer["spawnerr"]
            )
            for answer in answers
        }

    def start(self, name: str) -> None:
        """Start a process without waiting for it; no error if it runs."""
        self._ask(_ALREADY_STARTED, "startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop a process and wait for its end; no error if it does not run."""
        self._ask(_NOT_RUNNING, "stopProcess", name, True)

    def shutdown(self, timeout: float) -> None:
        """Stop all processes at the same time, wait for them, and ask it to end.

        By itself it would stop them one after another. After the timeout it still does.
        """
        for name in self._alive():
            self._ask(_NOT_RUNNING, "stopProcess", name, False)
        deadline = time.monotonic() + timeout
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        with self._api() as api:
            api.shutdown()

    def spawns(self) -> list[Spawn]:
        """Every start since supervisor was launched, oldest first."""
        try:
            lines = (self._config.log / "supervisord.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [Spawn(m[2], int(m[3]), _unix_time(m[1])) for line in lines if (m := _SPAWNED.match(line))]

    def restarts(self) -> dict[str, int]:
        """How often each process was started again since supervisor was launched."""
        names = [spawn.name for spawn in self.spawns()]
        return {name: names.count(name) - 1 for name in set(names)}

    @contextmanager
    def _api(self) -> Iterator[Any]:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._config.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            yield proxy.supervisor

    def _alive(self) -> list[str]:
        return [state.name for state in self.states().values() if state.pid or state.state == "BACKOFF"]

    def _ask(self, tolerated: int, method: str, name: str, wait: bool) -> None:
        """Call a method on a process; the fault with the tolerated number says that it was so already."""
        try:
            with self._api() as api:
                getattr(api, method)(name, wait)
        except xmlrpc.client.Fault as error:
            if error.faultCode != tolerated:
                raise PlatformError(f"supervisor refuses: {error.faultString}") from None

    def _forget_old_log(self) -> None:
        log = self._config.log / "supervisord.log"
        if log.exists():
            os.replace(log, log.with_suffix(".log.old"))


def _unix_time(text: str) -> float:
    seconds, _, milliseconds = text.partition(",")
    return time.mktime(time.strptime(seconds, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
