"""The log files of processes: their end, and what is added to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 64 * 1024


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a file, oldest first; empty where there is no file."""
    if count <= 0 or not path.exists():
        return []
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        data = b""
        while position and data.count(b"\n") <= count:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    return data.decode(errors="replace").splitlines()[-count:]


class Follower:
    """Reads what is added to a file, also when the file is replaced by rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._position = self._end()
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """Whole lines added since the last call."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._position:
                    self._inode, self._position = found.st_ino, 0
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return
        self._position += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")

    def _end(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size
