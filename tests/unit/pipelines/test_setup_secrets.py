from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from plinth_kit.auth import KeyFile, KeyRing, Role
from plinth_pipelines.setup_secrets import main, make


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    return server, client


def test_services_accept_the_keys_and_do_not_hold_them(folders: tuple[Path, Path]) -> None:
    server, client = folders
    assert make(server, client) == ["pgpass", "let-through-key", "api-keys.env", "api-keys.json"]
    ring = KeyRing.load(server / "api-keys.json")
    lines = dict(line.split("=", 1) for line in (client / "api-keys.env").read_text().splitlines())
    assert set(lines) == {f"PLINTH_API_KEY_{role.name}" for role in Role}
    for role in Role:
        key = lines[f"PLINTH_API_KEY_{role.name}"]
        found = ring.find(key)
        assert found is not None
        assert found.role is role
        assert key not in (server / "api-keys.json").read_text()


def test_the_password_fits_every_host_and_database_of_the_user(folders: tuple[Path, Path]) -> None:
    server, client = folders
    make(server, client, token=lambda size: "x" * size)
    assert (server / "pgpass").read_text() == f"*:*:*:plinth:{'x' * 24}\n"


def test_only_the_owner_can_read_them(folders: tuple[Path, Path]) -> None:
    make(*folders)
    modes = {path.stat().st_mode & 0o777 for folder in folders for path in folder.iterdir()}
    assert modes == {0o600}


def test_what_is_there_is_kept(folders: tuple[Path, Path]) -> None:
    server, client = folders
    arguments = ["--server", str(server), "--client", str(client)]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert main(arguments) == 0
    assert {path: path.read_bytes() for folder in folders for path in folder.iterdir()} == before


def test_keys_and_digests_are_made_together(folders: tuple[Path, Path]) -> None:
    server, client = folders
    make(server, client)
    (client / "api-keys.env").unlink()
    assert make(server, client) == ["api-keys.env", "api-keys.json"]
    key = (client / "api-keys.env").read_text().splitlines()[0].split("=")[1]
    entries = msgspec.json.decode((server / "api-keys.json").read_bytes(), type=KeyFile).keys
    assert entries[0].sha256 == hashlib.sha256(key.encode()).hexdigest()
