"""Which messages a group passes over."""

from __future__ import annotations

import pytest

from plinth_cli.errors import PlatformError
from plinth_cli.skipping import Skip, Standing, plan

STANDINGS = {
    0: Standing(first=0, end=100, committed=40),
    1: Standing(first=50, end=80, committed=10),  # what it stood at was deleted meanwhile
    2: Standing(first=5, end=9, committed=None),
    3: Standing(first=0, end=7, committed=7),
}


@pytest.mark.parametrize(
    ("to", "partition", "skips"),
    [
        ("latest", None, [Skip(0, 40, 100), Skip(1, 50, 80), Skip(2, 5, 9)]),
        ("latest", 3, []),
        ("+10", None, [Skip(0, 40, 50), Skip(1, 50, 60), Skip(2, 5, 9)]),
        ("+1", 1, [Skip(1, 50, 51)]),
        ("+0", None, []),
        ("41", 0, [Skip(0, 40, 41)]),
        ("40", 0, []),
        ("1000000", 0, [Skip(0, 40, 100)]),
    ],
)
def test_what_is_skipped(to: str, partition: int | None, skips: list[Skip]) -> None:
    assert plan(STANDINGS, to, partition) == skips


@pytest.mark.parametrize(
    ("to", "partition", "words"),
    [
        ("39", 0, "partition 0 is at 40: skip goes forward only"),
        ("45", None, "name it with --partition"),
        ("latest", 4, "there is no partition 4; there are 0 to 3"),
        ("-5", 0, "none of: latest"),
        ("newest", None, "none of: latest"),
        ("", None, "none of: latest"),
    ],
)
def test_what_makes_no_sense_is_refused(to: str, partition: int | None, words: str) -> None:
    with pytest.raises(PlatformError, match=words):
        plan(STANDINGS, to, partition)
