"""The queue on disk: what was appended is there after any crash, what was torn is dropped as a whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.spool import FILE, Spool, SpoolFailed
from plinth_kit.settings import SettingsError

MEGABYTE = 1 << 20
BATCHES = 6

_FULL_DISK = """
import resource, sys
from pathlib import Path
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.spool import Spool, SpoolFailed
spool = Spool(Path(sys.argv[1]), 1 << 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
n = 0
try:
    while True:
        spool.append([Outgoing("topic", b"key", b"%d" % n + bytes(3000))], 1.0)
        n += 1
except SpoolFailed:
    print(n)
"""


def _message(number: int, size: int = 10) -> Outgoing:
    return Outgoing("topic", b"key", b"%d" % number + bytes(size), (("ce_id", b"%d" % number),))


def _numbers(spool: Spool) -> list[int]:
    return [int(message.headers[0][1]) for message in spool.head(10_000).messages]


def test_messages_come_back_as_they_were_in_order_and_after_a_new_start(tmp_path: Path) -> None:
    messages = [
        Outgoing("a", b"\x00k", bytes(range(256)), (("h", b"\xff"), ("h", b""))),
        Outgoing("b", None, b""),
    ]
    spool = Spool(tmp_path, MEGABYTE)
    spool.append(messages[:1], 10.0)
    last = spool.append(messages[1:], 12.0)
    assert spool.head(9) == (last, messages)
    spool.close()

    again = Spool(tmp_path, MEGABYTE)
    assert again.head(9) == (last, messages)
    assert again.waiting == spool.waiting
    assert (again.waiting.messages, again.waiting.oldest) == (2, 10.0)


def test_what_is_removed_is_forgotten_and_the_rest_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MEGABYTE)
    spool.append([_message(0)], 1.0)
    spool.append([_message(n) for n in range(1, 5)], 2.0)
    size = spool.waiting.bytes

    spool.remove(spool.head(2).last)

    assert _numbers(spool) == [2, 3, 4]
    assert spool.waiting == (3, size * 3 // 5, 2.0)
    spool.remove(spool.head(9).last)
    assert spool.waiting == (0, 0, None)
    assert spool.head(9) == (0, [])


def test_the_file_shrinks_when_nothing_is_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 9 * MEGABYTE)
    last = spool.append([_message(n, 5000) for n in range(400)], 1.0)
    spool.remove(last)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 100_000


def test_more_than_may_wait_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.append([_message(0, 500)], 1.0)
    with pytest.raises(SpoolFailed, match="no more than 1000 bytes"):
        spool.append([_message(1), _message(2, 500)], 1.0)
    assert _numbers(spool) == [0]
    spool.append([_message(3)], 1.0)
    assert _numbers(spool) == [0, 3]


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    spool = Spool(tmp_path, MEGABYTE)
    assert spool.waiting.messages == int(done.stdout) > 10


def test_what_is_set_aside_is_kept_apart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MEGABYTE)
    spool.append([_message(n) for n in range(3)], 1.0)
    spool.set_aside(spool.head(1).last, "too large")
    assert (_numbers(spool), spool.refused, spool.waiting.messages) == ([1, 2], 1, 2)
    spool.close()
    assert Spool(tmp_path, MEGABYTE).refused == 1


def test_a_folder_of_no_use_ends_with_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SettingsError, match=r"no outbox in .*set PLINTH_STATE_DIR to a folder that"):
        Spool(blocked, MEGABYTE)


def test_a_folder_has_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plinth_kit.kafka.spool._LOCK_SECONDS", 0.01)
    first = Spool(tmp_path, MEGABYTE)
    with pytest.raises(SettingsError, match=r"another process uses it.*PLINTH_STATE_DIR"):
        Spool(tmp_path, MEGABYTE)
    first.close()
    Spool(tmp_path, MEGABYTE).close()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[int]]:
    """Database, log, and the log's length after each of the batches, of a process that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    spool = Spool(folder, MEGABYTE)
    lengths = []
    for batch in range(BATCHES):
        spool.append([_message(10 * batch + n, 700) for n in range(3)], 1.0)
        lengths.append((folder / f"{FILE}-wal").stat().st_size)
    return (folder / FILE).read_bytes(), (folder / f"{FILE}-wal").read_bytes(), lengths


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10**9), torn=st.binary(max_size=40))
def test_a_torn_log_gives_whole_batches_and_all_that_were_complete(
    killed: tuple[bytes, bytes, list[int]], cut: int, torn: bytes
) -> None:
    database, log, lengths = killed
    cut %= len(log) + 1
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / FILE).write_bytes(database)
        (folder / f"{FILE}-wal").write_bytes(log[:cut] + torn)
        spool = Spool(folder, MEGABYTE)
        numbers = _numbers(spool)
        spool.close()
    finally:
        shutil.rmtree(folder)
    complete = sum(length <= cut for length in lengths)
    assert numbers == [10 * batch + n for batch in range(complete) for n in range(3)]
