"""A platform of processes: what runs, what is ready, start, stop, purge."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plinth_cli import preflight, processes, provision, readiness, supervisor_conf, table
from plinth_cli.config import Config, load, remember_ports
from plinth_cli.errors import PlatformError
from plinth_cli.supervisor import ABNORMAL, State, Supervisor
from plinth_cli.table import Process
from plinth_kit.files import write_private

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True)
class Status:
    """One process as a person sees it. lacks: what it waits for, or, while ready, does without.

    memory: resident size in bytes of it and its children.
    """

    name: str
    state: str
    ready: bool
    lacks: str = ""
    pid: int = 0
    uptime: float = 0.0
    memory: int = 0
    restarts: int = 0
    address: str = ""


class Platform:
    """One platform, of one state folder. Contacts nothing before a method is called."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.supervisor = Supervisor(config)
        password = config.postgres_password_file
        self._password = password.read_text() if _readable(password) else ""
        self.table = table.load(config, self._password)

    def problems(self, names: Sequence[str]) -> list[preflight.Problem]:
        """Why the named processes could not start. Those that run already are not looked at again."""
        states = self.supervisor.states()
        stopped = [name for name in names if name not in states or not states[name].pid]
        if not stopped:
            return []
        tools = preflight.tools(
            needs_java="kafka" in stopped, jars_present=provision.jars_present(self.config)
        )
        ours = self.config.is_state_folder()
        resources = preflight.resources(self.config.state, ours=ours) if not states else []
        return tools + resources + preflight.ports(self.table, stopped)

    def prepare(self) -> None:
        """Folders, secrets and supervisor's configuration."""
        provision.make_folders(self.config, self.table.processes)
        self._password = provision.make_secrets(self.config)
        self.table = table.load(self.config, self._password)
        remember_ports(self.config)
        text = supervisor_conf.render(self.table, self.config, as_root=os.geteuid() == 0)
        write_private(self.config.supervisor_conf, text)

    def start(self, names: Sequence[str]) -> None:
        """Start processes that do not run; returns without waiting for them."""
        if self.supervisor.is_running():
            self.supervisor.reload()
        else:
            self.supervisor.launch()
        states = self.supervisor.states()
        for name in names:
            if not states[name].pid:
                self.supervisor.start(name)

    def set_up(self, name: str) -> bool:
        """Make the topics or databases in a process that is ready. False if it was not ready after all."""
        process = self.table.find(name)
        import kafka.errors
        import psycopg

        try:
            if process.setup == "topics":
                provision.create_topics(process.port)
            elif process.setup == "databases":
                provision.create_databases(process.port, self._password, self.table.databases)
        except (kafka.errors.KafkaError, psycopg.OperationalError):
            return False
        return True

    def statuses(self) -> list[Status]:
        """Every process of the table, probed in parallel."""
        states = self.supervisor.states()
        restarts = self.supervisor.restarts() if states else {}
        running = [p for p in self.table.processes if p.name in states and states[p.name].pid]
        with ThreadPoolExecutor(max_workers=max(1, len(running))) as pool:
            answers = dict(zip([p.name for p in running], pool.map(readiness.probe, running), strict=True))
        now = time.time()
        return [
            _status(
                process,
                states.get(process.name),
                answers.get(process.name),
                restarts.get(process.name, 0),
                now,
            )
            for process in self.table.processes
        ]

    def stop(self, timeout: float = 90.0) -> list[str]:
        """Stop everything and wait until processes, ports and the socket are gone.

        Returns what had to be killed. Also ends processes that a supervisor left behind when it was killed.
        """
        if self.supervisor.is_running():
            family = processes.family(self.supervisor.pid())
            self.supervisor.shutdown(timeout)
        else:
            family = [member for orphan in self.orphans() for member in processes.family(orphan.pid)]
            processes.terminate(family)
        killed = processes.wait_for_end(family, timeout)
        if family:
            self._wait_for_ports(10)
        self._remove_socket()
        return killed

    def orphans(self) -> list[psutil.Process]:
        """Processes of this platform that run although its supervisor does not."""
        if self.supervisor.is_running():
            return []
        started = (processes.started_at(spawn.pid, spawn.at) for spawn in self.supervisor.spawns())
        return [process for process in started if process]

    def purge(self) -> None:
        """Delete the state folder, but not the cache of downloads."""
        state, cache = self.config.state, self.config.cache
        if not state.exists():
            return
        if not self.config.is_state_folder():
            raise PlatformError(f"{state} was not made by plinth and is left alone; delete it yourself")
        for path in state.iterdir():
            if path == cache:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not any(state.iterdir()):
            state.rmdir()

    def _wait_for_ports(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        ports = [port for process in self.table.processes for port in process.ports.values()]
        while busy := [port for port in ports if not preflight.is_free(port)]:
            if time.monotonic() > deadline:
                owner = preflight.port_owner(busy[0]) or "a process of another user"
                raise PlatformError(f"port {busy[0]} is still used, by {owner}, which plinth did not start")
            time.sleep(0.1)

    def _remove_socket(self) -> None:
        socket = self.config.supervisor_socket
        socket.unlink(missing_ok=True)
        if socket.parent != self.config.run and socket.parent.exists():
            socket.parent.rmdir()


def current() -> Platform:
    """The platform that the environment describes."""
    return Platform(load(os.environ))


def running(names: Sequence[str] = ()) -> Platform:
    """The same, which runs; PlatformError where it does not, or knows no process of one of these names."""
    platform = current()
    for name in names:
        platform.table.find(name)
    if not platform.supervisor.is_running():
        raise PlatformError("the platform does not run; start it with `plinth up`")
    return platform


def _status(
    process: Process, state: State | None, answer: readiness.Readiness | None, restarts: int, now: float
) -> Status:
    address = process.url or f"{table.HOST}:{process.port}"
    if state is None or state.state == "STOPPED":
        return Status(process.name, "stopped", False, address=address)
    if state.state in ABNORMAL:
        return Status(process.name, "failed", False, state.message, restarts=restarts, address=address)
    if not state.pid or answer is None:
        return Status(
            process.name, state.state.lower(), False, state.message, restarts=restarts, address=address
        )
    return Status(
        name=process.name,
        state="ready" if answer.ready else "waiting",
        ready=answer.ready,
        lacks=answer.lacks,
        pid=state.pid,
        uptime=max(0.0, now - state.since),
        memory=processes.memory(state.pid),
        restarts=restarts,
        address=address,
    )


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)
