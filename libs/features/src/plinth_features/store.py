"""Rows in Redis: one round trip to read any number of them, compare-and-set to write them.

A key carries the schema hash, so rows of an older definition are never misread: a changed view starts with
no rows and is rebuilt from the log. A write names the version that it read; if somebody else wrote the row
meanwhile it is refused, and the writer reads again. Rows stand with the markers of the log partitions they
were built from: a store that lost its rows has lost the markers too, and takes no row until they are put
again. Redis errors pass through as `redis.RedisError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, cast

import redis

from plinth_features import packing
from plinth_features.rows import Layout
from plinth_features.words import VERSION, Rows

_STANDS = b"1"
FORMAT = 2
"""How rows are packed; stands in every key."""

# KEYS: rows, then markers. ARGV: number of rows, time to live in seconds, all versions that were read, then
# each new row. Returns the positions of the rows that somebody else wrote in between, or false when a
# marker is gone. Where something that is no string stands in the place of a row, which MGET reads as no row,
# it is deleted and the markers fall, so that the row is rebuilt from the log.
_COMPARE_AND_SET = """
local n = tonumber(ARGV[1])
for i = n + 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return false end
end
local lost, none = {}, string.rep('\\0', 8)
for i = 1, n do
  local stored = redis.pcall('GETRANGE', KEYS[i], 0, 7)
  if type(stored) == 'table' then
    redis.call('UNLINK', KEYS[i], unpack(KEYS, n + 1))
    return false
  end
  if stored == '' then stored = none end
  if stored == string.sub(ARGV[3], 8 * i - 7, 8 * i) then
    redis.call('SET', KEYS[i], ARGV[3 + i], 'EX', ARGV[2])
  else
    lost[#lost + 1] = i - 1
  end
end
return lost
"""


class StateLost(Exception):
    """A marker is gone, and with it rows: they must be rebuilt from the log."""


class RowStore(Protocol):
    """Where rows of one view are kept."""

    def read(self, entities: Sequence[str]) -> Rows:
        """Rows in the order of `entities`; an entity that nothing is known of has an empty row, version 0.

        Raises packing.Damaged where something else stands in the place of a row.
        """
        ...

    def forget(self, entities: Sequence[str], markers: Sequence[bytes]) -> None:
        """Delete these rows and let these markers fall, so that the rows are rebuilt from the log."""
        ...

    def write(self, entities: Sequence[str], rows: Rows, markers: Sequence[bytes] = ()) -> list[int]:
        """Store rows whose version is still the stored one; positions of those that were refused.

        Raises StateLost when one of `markers` does not stand; what was written then is complete all the same.
        """
        ...

    def missing(self, markers: Sequence[bytes]) -> list[bytes]:
        """Those of these markers that do not stand."""
        ...

    def put_markers(self, markers: Sequence[bytes]) -> None:
        """Let these markers stand."""
        ...


def keys(layout: Layout, entities: Iterable[str]) -> list[bytes]:
    """Redis keys of the rows of these entities."""
    prefix = f"fs:{FORMAT}:{layout.view.name}:{layout.hash:x}:"
    return [(prefix + entity).encode() for entity in entities]


def decode(layout: Layout, values: Sequence[bytes | None]) -> Rows:
    """Rows from what Redis returned, for the caller to change; None becomes an empty row.

    Raises packing.Damaged.
    """
    return packing.unpack(values, layout.blank)


class RedisRows:
    """Rows of one view in Redis."""

    def __init__(self, client: redis.Redis, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        self._set = client.register_script(_COMPARE_AND_SET)

    def read(self, entities: Sequence[str]) -> Rows:
        """See RowStore.read; one MGET."""
        if not entities:
            return self._layout.empty(0)
        return decode(self._layout, cast(list[bytes | None], self._client.mget(keys(self._layout, entities))))

    def forget(self, entities: Sequence[str], markers: Sequence[bytes]) -> None:
        """See RowStore.forget."""
        self._client.unlink(*keys(self._layout, entities), *markers)

    def write(self, entities: Sequence[str], rows: Rows, markers: Sequence[bytes] = ()) -> list[int]:
        """See RowStore.write; one script call. The stored version is the given one plus 1."""
        if not entities:
            return []
        new = rows.copy()
        new[:, VERSION] += 1
        packed = packing.pack(new, self._layout.blank)
        lost = self._set(
            keys=[*keys(self._layout, entities), *markers],
            args=[len(entities), self._layout.view.ttl_s, rows[:, VERSION].tobytes(), *packed],
        )
        if lost is None:
            raise StateLost
        return cast(list[int], lost)

    def missing(self, markers: Sequence[bytes]) -> list[bytes]:
        """See RowStore.missing."""
        standing = cast(list[bytes | None], self._client.mget(markers)) if markers else []
        return [name for name, value in zip(markers, standing, strict=True) if value is None]

    def put_markers(self, markers: Sequence[bytes]) -> None:
        """See RowStore.put_markers."""
        if markers:
            self._client.mset(dict.fromkeys(markers, _STANDS))


class MemoryRows:
    """Rows of one view in a dict; behaves like RedisRows, for tests and single processes."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[bytes, bytes] = {}
        self._markers: set[bytes] = set()

    def read(self, entities: Sequence[str]) -> Rows:
        """See RowStore.read."""
        return decode(self._layout, [self._rows.get(key) for key in keys(self._layout, entities)])

    def forget(self, entities: Sequence[str], markers: Sequence[bytes]) -> None:
        """See RowStore.forget."""
        for key in keys(self._layout, entities):
            self._rows.pop(key, None)
        self._markers.difference_update(markers)

    def write(self, entities: Sequence[str], rows: Rows, markers: Sequence[bytes] = ()) -> list[int]:
        """See RowStore.write."""
        if not self._markers.issuperset(markers):
            raise StateLost
        lost = []
        for i, key in enumerate(keys(self._layout, entities)):
            stored = self._rows.get(key)
            version = int.from_bytes(stored[:8], "little") if stored else 0
            if version != rows[i, VERSION]:
                lost.append(i)
                continue
            row = rows[i : i + 1].copy()
            row[:, VERSION] += 1
            (self._rows[key],) = packing.pack(row, self._layout.blank)
        return lost

    def missing(self, markers: Sequence[bytes]) -> list[bytes]:
        """See RowStore.missing."""
        return [name for name in markers if name not in self._markers]

    def put_markers(self, markers: Sequence[bytes]) -> None:
        """See RowStore.put_markers."""
        self._markers.update(markers)

    def clear(self) -> None:
        """Forget everything, as an emptied Redis does."""
        self._rows.clear()
        self._markers.clear()


def marker(layout: Layout, topic: str, partition: int) -> bytes:
    """Key that stands as long as the rows of a view that this partition feeds; gone means rebuild."""
    return b"fs:%d:%s:%x/%s/%d" % (FORMAT, layout.view.name.encode(), layout.hash, topic.encode(), partition)
