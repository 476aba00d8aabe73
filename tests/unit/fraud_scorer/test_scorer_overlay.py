"""What a process remembers of events that rows may lack, and when it forgets them."""

from __future__ import annotations

import numpy as np

from fraud_scorer.core.overlay import SECONDS, UNPLACED, Event, Overlay

NOTHING = np.zeros((1, 2), dtype=np.int64)


def event(some_id: int, offset: int) -> Event:
    return some_id, 1_000, 1, 0, offset, 500


def test_a_placed_event_is_missed_until_the_row_has_its_offset() -> None:
    overlay = Overlay()
    overlay.add("c-1", event(7, 10), 0.0)
    assert overlay.missed(["c-1"], [[9]], NOTHING, 0.0) == [(0, *event(7, 10))]
    assert overlay.missed(["c-1"], [[10]], NOTHING, 0.0) == []
    assert overlay.missed(["c-1"], [[9]], NOTHING, 0.0) == [], "it was forgotten"


def test_an_event_without_a_place_is_missed_until_the_row_shows_it() -> None:
    overlay = Overlay()
    first, second = event(7, UNPLACED + 1), event(8, UNPLACED + 2)
    overlay.add("c-1", first, 0.0)
    overlay.add("c-1", second, 0.0)
    assert overlay.missed(["c-1"], [[99]], NOTHING, 0.0) == [(0, *first), (0, *second)]
    assert overlay.missed(["c-1"], [[99]], np.array([[7, 0]]), 0.0) == [(0, *second)]
    assert overlay.missed(["c-1"], [[99]], NOTHING, 0.0) == [(0, *second)], "the first was forgotten"
    assert overlay.missed(["c-1"], [[99]], np.array([[7, 8]]), 0.0) == []
    assert overlay.missed(["c-1"], [[99]], NOTHING, 0.0) == []


def test_an_event_without_a_place_is_forgotten_after_a_minute() -> None:
    overlay = Overlay()
    overlay.add("c-1", event(7, UNPLACED + 1), 0.0)
    assert overlay.missed(["c-1"], [[99]], NOTHING, SECONDS - 1) != []
    assert overlay.missed(["c-1"], [[99]], NOTHING, SECONDS) == []
