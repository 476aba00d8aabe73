"""Rows as bytes: nothing is lost, little is used, and what was not packed here is refused."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from plinth_features import packing
from plinth_features.words import NEVER, Rows

LONGS = np.iinfo(np.int64)
EDGES = [0, -1, 1, 2**15 - 1, 2**15, -(2**15), -(2**15) - 1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1]
WORDS = st.one_of(st.sampled_from([*EDGES, NEVER, LONGS.min, LONGS.max]), st.integers(LONGS.min, LONGS.max))


@st.composite
def rows_and_empty(draw: st.DrawFn) -> tuple[Rows, Rows]:
    words = draw(st.integers(1, 70))
    empty = draw(arrays.arrays(np.int64, (1, words), elements=WORDS))
    rows = draw(arrays.arrays(np.int64, (draw(st.integers(0, 4)), words), elements=WORDS))
    rows[:, words // 2 :] = np.where(rows[:, words // 2 :] % 2, rows[:, words // 2 :], empty[:, words // 2 :])
    return rows, empty


@settings(deadline=None)  # the first call compiles
@given(rows_and_empty())
def test_unpacking_gives_the_rows_back(given_: tuple[Rows, Rows]) -> None:
    rows, empty = given_
    packed = packing.pack(rows, empty)
    assert [one[:8] for one in packed] == [row[:1].tobytes() for row in rows], "scripts read the version"
    again = packing.unpack([None, *packed, None], empty)
    np.testing.assert_array_equal(again, np.vstack([empty, rows, empty]))
    again += 1  # the caller's own


def test_words_take_as_few_bytes_as_they_need() -> None:
    empty = np.full((1, 1 + 64), NEVER)
    header, codes = 16, 16
    for difference, size in [(0, 0), (1, 2), (-(2**15), 2), (2**15, 4), (-(2**31), 4), (2**31, 8)]:
        (packed,) = packing.pack(empty ^ difference, empty)
        assert len(packed) == header + codes + 64 * size


@settings(deadline=None)  # the first call compiles
@given(rows_and_empty(), st.data())
def test_whatever_the_bytes_are_they_are_read_or_refused(
    given_: tuple[Rows, Rows], data: st.DataObject
) -> None:
    rows, empty = given_
    packed = [bytearray(one) for one in packing.pack(rows, empty)]
    for one in packed:
        for _ in range(data.draw(st.integers(0, 5))):
            one[data.draw(st.integers(0, len(one) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            del one[data.draw(st.integers(0, len(one) - 1)) :]
    with pytest.MonkeyPatch.context() as patch, suppress(packing.Damaged):
        for kernel in ("_unpack", "_fill"):  # interpreted they check bounds, compiled they do not
            patch.setattr(packing, kernel, getattr(packing, kernel).py_func)
        assert packing.unpack([bytes(one) for one in packed], empty).shape == rows.shape


def test_bytes_of_another_view_are_refused() -> None:
    packed = packing.pack(np.ones((1, 30), dtype=np.int64), np.zeros((1, 30), dtype=np.int64))
    with pytest.raises(packing.Damaged, match="row 0"):
        packing.unpack(packed, np.zeros((1, 300), dtype=np.int64))
