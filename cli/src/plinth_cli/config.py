"""Where a platform lives and on which ports: the only reader of the environment in the command line."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from plinth_cli.errors import PlatformError

ROOT = Path(__file__).resolve().parents[3]

# A socket's path may have 107 bytes, and supervisor binds a longer temporary name first.
_SOCKET_PATH_LIMIT = 90


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `config.yaml` in the state folder: how this platform's ports differ from the table."""

    port_offset: int = 0
    ports: dict[str, int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """One platform: its checkout, its state folder, its table of processes, its ports."""

    root: Path
    state: Path
    cache: Path
    table: Path
    ports: Ports

    @property
    def run(self) -> Path:
        """Folder of generated configuration."""
        return self.state / "run"

    @property
    def log(self) -> Path:
        """Folder of log files, one a process."""
        return self.state / "log"

    @property
    def data(self) -> Path:
        """Folder of data, one subfolder a process."""
        return self.state / "data"

    def is_state_folder(self) -> bool:
        """Whether the state folder may be filled, and purged: new, empty, or made by plinth."""
        names = {path.name for path in self.state.iterdir()} if self.state.is_dir() else set()
        return self.state.name == ".plinth" or self.ports_file.name in names or names <= {"cache"}

    @property
    def supervisor_conf(self) -> Path:
        """Generated configuration of supervisor; mode 600, since it holds passwords."""
        return self.run / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """Unix socket of supervisor, in the temporary folder where the path would be too long."""
        near = self.run / "supervisor.sock"
        if len(str(near).encode()) <= _SOCKET_PATH_LIMIT:
            return near
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"plinth-{digest}" / "supervisor.sock"

    @property
    def keys_file(self) -> Path:
        """Digests of the demo's API keys, read by services."""
        return self.state / "keys.json"

    @property
    def clear_keys_file(self) -> Path:
        """The demo's API keys themselves, for people; mode 600."""
        return self.state / "api-keys.env"

    @property
    def let_through_key_file(self) -> Path:
        """Secret of the scorers, by which chance is drawn."""
        return self.state / "let-through-key"

    @property
    def postgres_password_file(self) -> Path:
        """Password of the Postgres user `plinth`; mode 600."""
        return self.state / "postgres-password"

    @property
    def ports_file(self) -> Path:
        """Remembers the ports, so that a later command needs no environment variable."""
        return self.state / "config.yaml"


def load(environ: Mapping[str, str], root: Path = ROOT) -> Config:
    """The platform that the environment describes.

    PLINTH_STATE_DIR (default `.plinth` in the checkout), PLINTH_CACHE_DIR, PLINTH_PLATFORM_FILE,
    PLINTH_PORT_OFFSET, PLINTH_PORT_<NAME>. Ports from the environment win over `config.yaml` in the
    state folder. Raises PlatformError for a port that is none.
    """
    state = Path(environ.get("PLINTH_STATE_DIR") or root / ".plinth").resolve()
    return Config(
        root=root,
        state=state,
        cache=Path(environ.get("PLINTH_CACHE_DIR") or state / "cache").resolve(),
        table=Path(environ.get("PLINTH_PLATFORM_FILE") or root / "infra/local/platform.yaml").resolve(),
        ports=_ports(environ, state / "config.yaml"),
    )


def remember_ports(config: Config) -> None:
    """Write the ports in use to the state folder."""
    import yaml

    config.ports_file.write_text(yaml.safe_dump(msgspec.to_builtins(config.ports), sort_keys=True))


def _ports(environ: Mapping[str, str], file: Path) -> Ports:
    saved = _saved(file)
    prefix = "PLINTH_PORT_"
    own = {
        name.removeprefix(prefix).lower().replace("_", "-"): _number(name, value)
        for name, value in environ.items()
        if name.startswith(prefix) and name != "PLINTH_PORT_OFFSET" and value
    }
    offset = environ.get("PLINTH_PORT_OFFSET")
    return Ports(
        port_offset=_number("PLINTH_PORT_OFFSET", offset) if offset else saved.port_offset,
        ports={**saved.ports, **own},
    )


def _saved(file: Path) -> Ports:
    if not file.exists():
        return Ports()
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(file.read_text()), Ports)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise PlatformError(f"{file} cannot be read ({error}); correct or delete it") from None


def _number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise PlatformError(f"{name}={text!r} is not a port number; use 0 to 65535 or unset it")
    return int(text)
