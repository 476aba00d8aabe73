"""Log files, secrets, and what a purge leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from plinth_cli import provision
from plinth_cli.config import ROOT, Config, Ports
from plinth_cli.errors import PlatformError
from plinth_cli.logs import Follower, tail
from plinth_cli.platform import Platform


def config(state: Path) -> Config:
    return Config(ROOT, state, state / "cache", ROOT / "infra/local/platform.yaml", Ports())


def test_the_end_of_a_file_longer_than_a_block(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("".join(f"{number:05d} {'x' * 50}\n" for number in range(5000)))
    found = tail(file, 3000)
    assert (len(found), found[0][:5], found[-1][:5]) == (3000, "02000", "04999")
    assert tail(file, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_following_survives_rotation_and_half_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("old\n")
    follower = Follower(file)
    with file.open("a") as log:
        log.write("one\ntw")
    assert list(follower.lines()) == ["one"]
    with file.open("a") as log:
        log.write("o\n")
    assert list(follower.lines()) == ["two"]
    file.rename(tmp_path / "a.log.1")
    file.write_text("three\n")
    assert list(follower.lines()) == ["three"]


def test_keys_are_made_once_and_only_digests_are_kept_for_services(tmp_path: Path) -> None:
    platform = config(tmp_path)
    password = provision.make_secrets(platform)
    keys = dict(line.split("=") for line in platform.clear_keys_file.read_text().split())
    entries = json.loads(platform.keys_file.read_text())["keys"]
    assert [entry["role"] for entry in entries] == ["viewer", "operator", "approver", "admin"]
    for entry in entries:
        key = keys[f"PLINTH_API_KEY_{entry['role'].upper()}"]
        assert entry["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    private = (platform.keys_file, platform.clear_keys_file, platform.postgres_password_file)
    assert [file.stat().st_mode & 0o777 for file in private] == [0o600] * 3
    before = platform.clear_keys_file.read_text()
    assert provision.make_secrets(platform) == password
    assert platform.clear_keys_file.read_text() == before


def test_a_purge_keeps_the_cache_and_nothing_else(tmp_path: Path) -> None:
    state = tmp_path / ".plinth"
    for folder in ("cache/kafka", "data/redis", "log"):
        (state / folder).mkdir(parents=True)
    (state / "keys.json").touch()
    Platform(config(state)).purge()
    assert [path.name for path in state.iterdir()] == ["cache"]


def test_a_purge_of_an_unused_folder_removes_it(tmp_path: Path) -> None:
    state = tmp_path / ".plinth"
    (state / "log").mkdir(parents=True)
    Platform(config(state)).purge()
    assert not state.exists()


def test_a_folder_of_somebody_else_is_neither_filled_nor_purged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    platform = Platform(config(tmp_path))
    with pytest.raises(PlatformError, match="was not made by plinth and is left alone"):
        platform.purge()
    assert (tmp_path / "thesis.txt").exists()
    assert [p.fix for p in platform.problems(["redis"]) if "holds other files" in p.what] == [
        "set PLINTH_STATE_DIR to a new or empty folder"
    ]
