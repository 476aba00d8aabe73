"""The table of processes as a configuration of supervisor."""

from __future__ import annotations

import shlex

from plinth_cli.config import Config
from plinth_cli.errors import PlatformError
from plinth_cli.table import Process, Table

_LOG_BYTES = 10 * 1024 * 1024
_LOG_BACKUPS = 3

# A process that lives this long has started; one that ends sooner is retried ever more slowly.
_START_SECONDS = 2
_START_RETRIES = 20


def render(table: Table, config: Config, *, as_root: bool) -> str:
    """The text of `supervisord.conf`. Nothing starts by itself: `plinth up` chooses what runs.

    Raises PlatformError for a command or value that this format cannot hold.
    """
    sections = [_daemon(config, as_root=as_root), *(_program(process, config) for process in table.processes)]
    return "\n\n".join(sections) + "\n"


def _daemon(config: Config, *, as_root: bool) -> str:
    socket = _escape(str(config.supervisor_socket))
    lines = [
        "[supervisord]",
        f"logfile={_escape(str(config.log / 'supervisord.log'))}",
        f"logfile_maxbytes={_LOG_BYTES}",
        f"logfile_backups={_LOG_BACKUPS}",
        f"pidfile={_escape(str(config.run / 'supervisord.pid'))}",
        f"childlogdir={_escape(str(config.log))}",
        *(["user=root"] if as_root else []),
        "",
        "[unix_http_server]",
        f"file={socket}",
        "chmod=0600",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    return "\n".join(lines)


def _program(process: Process, config: Config) -> str:
    environment = ",".join(f"{key}={_quote(process, value)}" for key, value in process.env.items())
    command = shlex.join(shlex.split(process.command))
    lines = [
        f"[program:{process.name}]",
        f"command={_escape(_storable(process, command))}",
        f"directory={_escape(str(config.root))}",
        f"environment={_escape(environment)}",
        "autostart=false",
        "autorestart=true",
        f"startsecs={_START_SECONDS}",
        f"startretries={_START_RETRIES}",
        f"stopsignal={process.stop.signal}",
        f"stopwaitsecs={process.stop.seconds}",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_escape(str(config.log / f'{process.name}.log'))}",
        f"stdout_logfile_maxbytes={_LOG_BYTES}",
        f"stdout_logfile_backups={_LOG_BACKUPS}",
    ]
    return "\n".join(lines)


def _quote(process: Process, value: str) -> str:
    """A value in the quotes that it does not contain itself: this format knows no escapes."""
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise PlatformError(f"row {process.name}: the value {value!r} has both kinds of quotes; use one kind")
    return f"{quote}{_storable(process, value)}{quote}"


def _storable(process: Process, text: str) -> str:
    for mark in (" ;", " #", "\n"):
        if mark in text:
            raise PlatformError(f"row {process.name}: {text!r} contains {mark!r}; put it into a script")
    return text


def _escape(text: str) -> str:
    return text.replace("%", "%%")
