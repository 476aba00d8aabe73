"""A queue of messages on disk that survives a kill: one table in SQLite with a write-ahead log.

SQLite's log has a checksum a frame and is synced at every commit. So what `append` returned for is there
after a crash, and an `append` that a crash tore is recognised and dropped as a whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from plinth_kit.kafka.message import Outgoing
from plinth_kit.settings import SettingsError

FILE = "outbox.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, record BLOB);
CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, at REAL, record BLOB, reason TEXT);
"""
_LOCK_SECONDS = 5.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outgoing).decode


class SpoolFailed(Exception):
    """The disk did not do it, e.g. because it is full; nothing of the call took effect."""


class Head(NamedTuple):
    """The oldest messages in order, and the id of the last of them (0: there are none)."""

    last: int
    messages: list[Outgoing]


class Waiting(NamedTuple):
    """What is on disk: messages, their bytes, Unix time of the oldest (None: there are none)."""

    messages: int
    bytes: int
    oldest: float | None


class Spool:
    """Messages in order of arrival. Any thread may call it; the folder belongs to one process at a time.

    max_bytes: most that may wait; the file is somewhat larger. `waiting` and `refused` (how many messages
    were set aside) are kept up to date. Raises SettingsError where the folder is no use.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._lock, self._max_bytes = Lock(), max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = _open(folder / FILE)
            left = "SELECT count(*), coalesce(sum(length(record)), 0), min(at) FROM waiting"
            self.waiting = Waiting(*self._db.execute(left).fetchone())
            self.refused: int = self._db.execute("SELECT count(*) FROM refused").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"no outbox in {folder}: {_advice(error)}") from None

    def append(self, messages: Sequence[Outgoing], now: float) -> int:
        """Adds all or none; they are on disk when it returns the id of the last. `now`: Unix seconds."""
        rows = [(now, _encode(message)) for message in messages]
        with self._lock:
            count, size, oldest = self.waiting
            size += sum(len(record) for _, record in rows)
            if size > self._max_bytes:
                raise SpoolFailed(f"{count} messages wait, and no more than {self._max_bytes} bytes may")
            with self._transaction():
                self._db.executemany("INSERT INTO waiting (at, record) VALUES (?, ?)", rows)
                last: int = self._db.execute("SELECT max(id) FROM waiting").fetchone()[0]
            self.waiting = Waiting(count + len(rows), size, now if oldest is None else oldest)
        return last

    def head(self, limit: int) -> Head:
        """Up to `limit` of the oldest messages."""
        query = "SELECT id, record FROM waiting ORDER BY id LIMIT ?"
        with self._lock, self._transaction():
            rows = self._db.execute(query, [limit]).fetchall()
        return Head(rows[-1][0] if rows else 0, [_decode(record) for _, record in rows])

    def remove(self, last: int) -> None:
        """Forgets the messages up to this id. The file shrinks when none is left."""
        with self._lock:
            with self._transaction():
                left = self._delete(last)
            self.waiting = left
            if left.messages == 0:
                self._shrink()

    def set_aside(self, last: int, reason: str) -> None:
        """Moves the messages up to this id into the table `refused`, where people find them."""
        with self._lock:
            with self._transaction():
                move = "INSERT INTO refused SELECT id, at, record, ? FROM waiting WHERE id <= ?"
                moved = self._db.execute(move, [reason, last]).rowcount
                left = self._delete(last)
            self.waiting = left
            self.refused += moved

    def close(self) -> None:
        """Lets go of the folder."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except sqlite3.Error as error:
            raise SpoolFailed(str(error)) from error

    def _delete(self, last: int) -> Waiting:
        """What is left; the size by what goes, so that a long queue is not added up again and again."""
        delete = "DELETE FROM waiting WHERE id <= ? RETURNING length(record)"
        sizes = self._db.execute(delete, [last]).fetchall()
        oldest = self._db.execute("SELECT at FROM waiting ORDER BY id LIMIT 1").fetchone()
        count, size, _ = self.waiting
        return Waiting(count - len(sizes), size - sum(n for (n,) in sizes), oldest[0] if oldest else None)

    def _shrink(self) -> None:
        with suppress(sqlite3.Error):  # costs space, and the next time may do it
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _advice(error: OSError | sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return (
            "another process uses it, and an outbox belongs to one; stop that process,"
            " or set PLINTH_STATE_DIR to a folder of its own for each"
        )
    return f"{error}; set PLINTH_STATE_DIR to a folder that this process may write to"


def _open(path: Path) -> sqlite3.Connection:
    """One connection that keeps the file locked: no shared memory, and no second writer by mistake."""
    db = sqlite3.connect(path, timeout=_LOCK_SECONDS, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db
