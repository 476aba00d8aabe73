"""Rows as they are stored: a third of their size, because most words are small or those of an empty row.

    version | numbers of long, middle and short words, 2 bytes each | codes, 2 bits a word | words

A word is stored as its exclusive or with that of an empty row, in 0, 2, 4 or 8 bytes as its code says, the
long ones first; so what nothing is known of takes no bytes. All little-endian; each part begins at a multiple
of 8 bytes. The version stands as it is, for scripts to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from plinth_features.words import VERSION, Rows

MAX_WORDS = 1 << 15
"""Words of a row; so many can be counted in its header."""
_HEADER = 16
_SHORT, _MIDDLE, _LONG = 1, 2, 3
"""Codes; 0 is a word as in an empty row."""
_FIRST_BITS = 0x5555_5555_5555_5555
"""The first of the two bits of each code."""
_DE_BRUIJN = 0x03F7_9D71_B4CB_0A89
_POSITIONS = np.zeros(64, dtype=np.int64)
for _position in range(64):
    _POSITIONS[(_DE_BRUIJN << _position & (1 << 64) - 1) >> 58] = _position


class Damaged(Exception):
    """Bytes that `pack` did not make; `row`: the first of them."""

    def __init__(self, row: int) -> None:
        super().__init__(f"stored row {row} is damaged")
        self.row = row


def pack(rows: Rows, empty: Rows) -> list[bytes]:
    """Bytes of each row; `empty`: [1, words], a row that nothing is known of."""
    n, words = rows.shape
    packed = np.zeros(n * (_HEADER + _codes(words) + 8 * words), dtype=np.uint8)  # at most
    ends = np.empty(n, dtype=np.int64)
    _pack(rows, empty[0], _codes(words), *_views(packed), ends)
    data, begins = packed.data, [0, *ends.tolist()]
    return [bytes(data[begin:end]) for begin, end in pairwise(begins)]


def unpack(values: Sequence[bytes | None], empty: Rows) -> Rows:
    """Rows [values, words] from what `pack` made of them, for the caller to change; None is an empty row.

    Raises Damaged for bytes that `pack` did not make.
    """
    sizes = [0 if value is None else len(value) for value in values]
    rows = np.empty((len(values), empty.shape[1]), dtype=np.int64)
    ends = np.cumsum(sizes, dtype=np.int64)
    packed = np.frombuffer(b"".join([value or b"" for value in values]), dtype=np.uint8)
    odd = [row for row, size in enumerate(sizes) if size % 8]
    damaged = odd[0] if odd else _unpack(*_views(packed)[1:], ends, _codes(empty.shape[1]), empty[0], rows)
    if damaged >= 0:
        raise Damaged(damaged)
    return rows


def _codes(words: int) -> int:
    """Bytes of the codes of a row: 4 words a byte, all but the version."""
    return ((words + 2) // 4 + 7) & ~7


def _views(packed: Any) -> tuple[Any, Any, Any, Any]:
    return packed, packed.view(np.int16), packed.view(np.int32), packed.view(np.int64)


@numba.njit(cache=True)
def _pack(
    rows: Any, empty: Any, codes: int, bytes_: Any, shorts: Any, middles: Any, longs: Any, ends: Any
) -> None:
    begin = 0
    words = rows.shape[1]
    for i in range(len(rows)):
        counts = np.zeros(4, dtype=np.int64)
        code_at = begin + _HEADER
        for word in range(1, words):
            value = rows[i, word] ^ empty[word]
            if value != 0:
                code = _LONG
                if value == np.int16(value):
                    code = _SHORT
                elif value == np.int32(value):
                    code = _MIDDLE
                counts[code] += 1
                bytes_[code_at + (word - 1) // 4] |= np.uint8(code << (2 * ((word - 1) % 4)))
        long_at = (code_at + codes) // 8
        middle_at = 2 * (long_at + counts[_LONG])
        short_at = 2 * (middle_at + counts[_MIDDLE])
        longs[begin // 8] = rows[i, VERSION]
        shorts[begin // 2 + 4] = counts[_LONG]
        shorts[begin // 2 + 5] = counts[_MIDDLE]
        shorts[begin // 2 + 6] = counts[_SHORT]
        begin = (2 * (short_at + counts[_SHORT]) + 7) & ~7
        ends[i] = begin
        for four in range(0, words - 1, 4):
            some = bytes_[code_at + four // 4]
            word = four + 1
            while some != 0:
                code = some & 3
                value = rows[i, word] ^ empty[word] if code != 0 else 0
                if code == _LONG:
                    longs[long_at] = value
                    long_at += 1
                elif code == _MIDDLE:
                    middles[middle_at] = value
                    middle_at += 1
                elif code == _SHORT:
                    shorts[short_at] = value
                    short_at += 1
                some >>= 2
                word += 1


@numba.njit(cache=True)
def _unpack(shorts: Any, middles: Any, longs: Any, ends: Any, codes: int, empty: Any, rows: Any) -> int:
    """Fills rows; returns the first that is damaged, or -1."""
    one, first_bits = np.uint64(1), np.uint64(_FIRST_BITS)
    begin = 0
    for i in range(len(ends)):
        end, row = ends[i], rows[i]
        row[:] = empty
        if begin == end:
            continue
        code_at = begin + _HEADER
        if code_at + codes > end:
            return i
        n_long, n_middle, n_short = shorts[begin // 2 + 4], shorts[begin // 2 + 5], shorts[begin // 2 + 6]
        long_at = (code_at + codes) // 8
        long_end = long_at + n_long
        middle_at = 2 * long_end
        middle_end = middle_at + n_middle
        short_at = 2 * middle_end
        short_end = short_at + n_short
        if min(n_long, n_middle, n_short) < 0 or (2 * short_end + 7) & ~7 != end:
            return i
        row[VERSION] = longs[begin // 8]
        word = 1
        for at in range(code_at // 8, (code_at + codes) // 8):
            some = np.uint64(longs[at])
            low, high = some & first_bits, (some >> one) & first_bits
            long_at = _fill(row, word, low & high, longs, long_at, long_end)
            middle_at = _fill(row, word, high & ~low, middles, middle_at, middle_end)
            short_at = _fill(row, word, low & ~high, shorts, short_at, short_end)
            if min(long_at, middle_at, short_at) < 0:
                return i
            word += 32
        if long_at != long_end or middle_at != middle_end or short_at != short_end:
            return i
        begin = end
    return -1


@numba.njit(cache=True)
def _fill(row: Any, word: int, bits: Any, values: Any, at: int, end: int) -> int:
    """Words from `word` on whose bit is set, each from the next of values[at:end]; where they go on.

    -1 where a word is beyond the row, or where there are too few values.
    """
    while bits != 0:
        here = word + _lowest(bits) // 2
        if here >= len(row) or at >= end:
            return -1
        row[here] ^= values[at]
        at += 1
        bits &= bits - np.uint64(1)
    return at


@numba.njit(cache=True, inline="always")
def _lowest(bits: Any) -> int:
    """Position of the lowest bit that is set: a De Bruijn sequence shifted by it has six leading bits of its
    own (Leiserson, Prokop and Randall, 1998)."""
    shifted = (bits & (~bits + np.uint64(1))) * np.uint64(_DE_BRUIJN)
    return int(_POSITIONS[shifted >> np.uint64(58)])
