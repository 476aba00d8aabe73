import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plinth_kit import auth
from plinth_kit.auth import KeyEntry, KeyFileError, KeyRing, Principal, Role


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _write(path: Path, *entries: tuple[str, str, str], mtime: int) -> None:
    keys = [
        {"name": name, "role": role, "sha256": hashlib.sha256(key.encode()).hexdigest()}
        for name, role, key in entries
    ]
    path.write_text(json.dumps({"keys": keys}))
    os.utime(path, (mtime, mtime))


def test_a_key_is_found_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _write(path, ("demo", "operator", "k1"), ("boss", "admin", "k2"), mtime=1)

    ring = KeyRing.load(path)

    assert ring.find("k1") == Principal("demo", Role.OPERATOR)
    assert ring.find(b"k2") == Principal("boss", Role.ADMIN)
    assert ring.find("k3") is None
    assert ring.find(hashlib.sha256(b"k1").hexdigest()) is None


def test_without_a_file_nobody_is_known() -> None:
    ring = KeyRing.load(None)

    assert not ring
    assert ring.find("") is None


def test_roles_are_ordered() -> None:
    assert sorted(Role, reverse=True) == [Role.ADMIN, Role.APPROVER, Role.OPERATOR, Role.VIEWER]
    assert Role.parse("approver") is Role.APPROVER


def test_a_changed_file_is_read_again_after_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    _write(path, ("demo", "viewer", "k1"), mtime=1)
    ring = KeyRing.load(path, clock)
    _write(path, ("demo", "viewer", "k2"), mtime=2)

    clock.now += 0.9
    assert ring.find("k1") is not None
    clock.now += 0.2
    assert ring.find("k1") is None
    assert ring.find("k2") is not None


def test_a_file_that_breaks_leaves_the_old_keys_until_it_is_mended(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    _write(path, ("demo", "viewer", "k1"), mtime=1)
    ring = KeyRing.load(path, clock)

    path.write_text("{")
    os.utime(path, (2, 2))
    clock.now += 2
    assert ring.find("k1") is not None

    path.unlink()
    clock.now += 2
    assert ring.find("k1") is not None

    _write(path, ("demo", "viewer", "k2"), mtime=3)
    clock.now += 2
    assert ring.find("k1") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "truncated"),
        ('{"keys":[{"name":"a","role":"root","sha256":"' + "0" * 64 + '"}]}', "unknown role 'root'"),
        ('{"keys":[{"name":"a","role":"admin","sha256":"plain-key"}]}', "sha256 of 'a'"),
        ('{"keys":[{"name":"a","role":"admin","key":"plain"}]}', "unknown field `key`"),
        (
            json.dumps({"keys": [{"name": n, "role": "admin", "sha256": "0" * 64} for n in "ab"]}),
            "same key",
        ),
    ],
)
def test_a_wrong_file_is_refused_at_start(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)

    with pytest.raises(KeyFileError, match=reason) as caught:
        KeyRing.load(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uncaught_that_ends_the_process_with_its_one_line(tmp_path: Path) -> None:
    load = "import pathlib, sys, plinth_kit.auth as auth; auth.KeyRing.load(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", load, str(tmp_path / "none.json")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "unset PLINTH_API_KEYS_FILE" in done.stderr


def test_a_missing_file_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        KeyRing.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"x-api-key": b"k"}, b"k"),
        ({b"authorization": b"Bearer k"}, b"k"),
        ({b"authorization": b"bearer  k"}, b"k"),
        ({b"x-api-key": b"k", b"authorization": b"Bearer other"}, b"k"),
        ({b"authorization": b"Basic k"}, None),
        ({b"authorization": b"Bearer "}, None),
        ({b"x-api-key": b""}, None),
        ({}, None),
    ],
)
def test_where_a_key_is_looked_for(headers: dict[bytes, bytes], key: bytes | None) -> None:
    assert auth.key_of(headers) == key


def test_a_generated_key_opens_the_ring_and_is_not_in_the_entry() -> None:
    key, entry = auth.generate("demo", Role.APPROVER, token="x".__mul__)

    assert key == "x" * 32
    assert entry == KeyEntry("demo", "approver", hashlib.sha256(b"x" * 32).hexdigest())
    assert KeyRing([entry]).find(key) == Principal("demo", Role.APPROVER)
    assert auth.generate("demo", Role.VIEWER)[0] != auth.generate("demo", Role.VIEWER)[0]
