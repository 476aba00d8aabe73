"""Make the secrets of an installation, once.

    python -m plinth_pipelines.setup_secrets --server DIR --client DIR

server/pgpass          password of Postgres, in libpq's format (PGPASSFILE)
server/let-through-key secret of the scorers (PLINTH_LET_THROUGH_KEY_FILE)
server/api-keys.json   digests of the API keys (PLINTH_API_KEYS_FILE)
client/api-keys.env    the API keys themselves, for those who call the services

What is there is kept. Nothing is printed or logged.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from plinth_kit.auth import key_files
from plinth_kit.files import write_private

USER = "plinth"
Token = Callable[[int], str]
"""A random text that can stand in a URL, from so many random bytes."""


def make(server: Path, client: Path, token: Token = secrets.token_urlsafe) -> list[str]:
    """Make what is missing in the two folders; returns the names of the files made.

    Every file is readable by its owner alone. Keys and their digests are made together or not at all.
    """
    made = []
    if not (server / "pgpass").exists():
        write_private(server / "pgpass", f"*:*:*:{USER}:{token(24)}\n")
        made.append("pgpass")
    if not (server / "let-through-key").exists():
        write_private(server / "let-through-key", token(24))
        made.append("let-through-key")
    if not (server / "api-keys.json").exists() or not (client / "api-keys.env").exists():
        clear, digests = key_files(token)
        write_private(client / "api-keys.env", clear)
        write_private(server / "api-keys.json", digests)
        made += ["api-keys.env", "api-keys.json"]
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing."""
    parser = argparse.ArgumentParser(prog="python -m plinth_pipelines.setup_secrets")
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--client", type=Path, required=True)
    options = parser.parse_args(arguments)
    make(options.server, options.client)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
