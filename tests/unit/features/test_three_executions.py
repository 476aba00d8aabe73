"""Online fold, offline join and a naive oracle give the same features for any stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plinth_features.offline import History, Moments, join
from plinth_features.rows import Layout
from plinth_features.spec import DAY, HOUR, PLACE, STATES, Aggregation, Function, View, hop_s
from plinth_features.words import FUNCTIONS, OFFSET, Updates, as_updates

WINDOWS = {"60s": 60, "1h": HOUR, "1d": DAY, "7d": 7 * DAY}
NONE = -1.0
"""Default of every feature."""


def aggregation(function: Function, label: str, window_s: int | None) -> Aggregation:
    column = None if function in ("count", "age", "gap", "distance_km") else "amount"
    return Aggregation(
        feature=f"{function}_{label}", function=function, column=column, window_s=window_s, default=NONE
    )


VIEW = View(
    name="v",
    entity="card",
    source="t",
    partitions=2,
    columns=("longitude_e6", "amount", "placed", "latitude_e6"),
    recent=5,
    distinct=3,
    aggregations=(
        *(aggregation(f, "ever", None) for f in FUNCTIONS if f in STATES),
        *(aggregation(f, name, w) for f in FUNCTIONS if f not in STATES for name, w in WINDOWS.items()),
    ),
)
EXACT = {"count", "sum", "min", "max", "median", "count_high", "last", "age", "gap", "first"} | STATES


class E(NamedTuple):
    """An event: whose, when, its amount; a correction has weight 0; a place in millionths of a degree."""

    entity: int
    ts: int
    amount: int
    weight: int = 1
    place: tuple[int, int] | None = None


def oracle(events: Sequence[E], entity: int, now: int) -> list[float]:
    """Features after all of `events`, by the definitions of the README and nothing else."""
    mine = [e for e in events if e.entity == entity]
    found = []
    for a in VIEW.aggregations:
        value = state(a.function, mine, now) if a.window_s is None else windowed(a, mine, now)
        found.append(NONE if value is None else value)
    return found


def windowed(a: Aggregation, mine: list[E], now: int) -> float | None:
    assert a.window_s is not None
    hop = hop_s(a.window_s) * 1000
    settled, recent = mine[: -VIEW.recent], mine[-VIEW.recent :]
    head = max([now // hop] + [e.ts // hop for e in settled])
    low = head - a.window_s * 1000 // hop
    kept = [e for e in recent if low * hop <= e.ts <= now]
    chosen = [e for e in settled if low <= e.ts // hop <= now // hop] + kept
    count = sum(e.weight for e in chosen)
    total = sum(e.amount for e in chosen)
    real = [e.amount for e in chosen if e.weight]
    kept = [e for e in kept if e.weight]
    if a.function in ("count", "sum", "mean", "min", "max", "std"):
        if count == 0:
            return None
        squares = sum(amount**2 for amount in real)
        return {
            "count": lambda: count,
            "sum": lambda: total,
            "mean": lambda: total / count,
            "min": lambda: min(real),
            "max": lambda: max(real),
            "std": lambda: math.sqrt(squares * count - sum(real) ** 2) / count,
        }[a.function]()
    if not kept:
        return None
    newest = kept[-1]
    if a.function == "over_mean":
        before = total - newest.amount
        return newest.amount / (before / (count - 1)) if count > 1 and before > 0 else None
    if a.function == "distance_km":
        places = [e.place for e in chosen if e.place and e is not newest]
        if newest.place is None or not places:
            return None
        return kilometres(newest.place, [sum(axis) / len(places) for axis in zip(*places, strict=True)])
    middle = median([e.amount for e in kept])
    high = sum(middle > 0 and e.amount >= 2 * middle for e in kept)
    if a.function == "count_high":
        return high
    if a.function == "share_high":
        return high / len(kept)
    if len(kept) == 1:
        return None
    middle = median([e.amount for e in kept[:-1]])
    if a.function == "median":
        return middle
    return newest.amount / middle if middle > 0 else None


def kilometres(one: Sequence[float], other: Sequence[float]) -> float:
    """Angle between two vectors from the centre of the Earth, times its radius."""
    vectors = []
    for latitude, longitude in (one, other):
        phi, lam = math.radians(latitude / 1e6), math.radians(longitude / 1e6)
        vectors.append(
            np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])
        )
    apart = np.linalg.norm(np.cross(*vectors))
    return 6371.0088 * math.atan2(apart, float(vectors[0] @ vectors[1]))


def state(function: str, mine: list[E], now: int) -> float | None:
    mine = [e for e in mine if e.weight]
    if not mine:
        return None
    newest = mine[-1]
    run: list[E] = []
    for e in mine:
        run = [*run, e] if e.amount > 0 else []
    since = {
        "age": newest,
        "age_positive": next((e for e in reversed(mine) if e.amount > 0), None),
        "age_zero": next((e for e in reversed(mine) if e.amount <= 0), None),
        "run_age": run[0] if run else None,
    }
    if function in since:
        begin = since[function]
        return None if begin is None else max(0, now - begin.ts) / 1000
    if function == "gap":
        return max(0, newest.ts - mine[-2].ts) / 1000 if len(mine) > 1 else None
    if function == "first":
        distinct: list[int] = []
        for e in reversed(mine[:-1]):
            if e.amount not in distinct and len(distinct) < VIEW.distinct:
                distinct.append(e.amount)
        return float(newest.amount not in distinct)
    return {"last": newest.amount, "run": len(run)}[function]


def updates(events: Sequence[E], first_offset: int = 0) -> Updates:
    lines = []
    for n, e in enumerate(events, start=first_offset):
        latitude, longitude = e.place or (0, 0)
        values = longitude, e.amount, int(e.place is not None), latitude
        lines.append((e.entity, n + 1, e.ts, e.weight, 0, n, *values))
    return as_updates(lines)


def history(events: Sequence[E]) -> History:
    u = updates(events)
    return History(u[:, 0], u[:, 2], u[:, 3], u[:, 6:])


def assert_close(actual: Sequence[float], expected: Sequence[float]) -> None:
    for a, left, right in zip(VIEW.aggregations, actual, expected, strict=True):
        if a.function in EXACT:
            assert left == right, a.feature
        else:  # a distance is good to a tenth of a millimetre: the mean place is rounded to a double
            tolerance = 1e-7 if a.function == "distance_km" else 0.0
            assert math.isclose(left, right, rel_tol=1e-9, abs_tol=tolerance), a.feature


START = 1_533_000_000_000
STEPS = st.sampled_from([0, 1, 999, 1000, 59_000, 60_000, HOUR * 1000, DAY * 1000, 8 * DAY * 1000])
AMOUNTS = st.one_of(st.integers(0, 4), st.integers(0, 10**7), st.integers(10**12 - 3, 10**12))
PLACES = st.none() | st.tuples(st.integers(-89_000_000, 89_000_000), st.integers(-179_000_000, 179_000_000))


@st.composite
def streams(draw: st.DrawFn, *, disorder: bool) -> list[E]:
    now, events = START, []
    for _ in range(draw(st.integers(1, 20))):
        now += draw(STEPS) + draw(st.integers(0, 3))
        back = draw(st.sampled_from([0, 0, 5, 30_000, 2 * HOUR * 1000, 9 * DAY * 1000])) if disorder else 0
        entity = draw(st.sampled_from([0, 0, 0, 1, 2]))
        if draw(st.integers(0, 5)) == 0:
            events.append(E(entity, now - back, draw(st.sampled_from([-1, 0, 1])), weight=0))
        else:
            events.append(E(entity, now - back, draw(AMOUNTS), place=draw(PLACES)))
    return events


def of_every_event(events: Sequence[E]) -> Moments:
    entity, ts_ms = np.array([e.entity for e in events]), np.array([e.ts for e in events])
    return Moments(entity, ts_ms, np.arange(1, len(events) + 1))


@pytest.mark.parametrize("disorder", [False, True])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_three_agree_right_after_every_event(disorder: bool, data: st.DataObject) -> None:
    events = data.draw(streams(disorder=disorder))
    layout = Layout(VIEW)
    rows = layout.empty(3)
    offline = join(VIEW, history(events), of_every_event(events))
    at_once = layout.fold_and_read(layout.empty(3), updates(events))
    for i, event in enumerate(events):
        layout.fold(rows, updates([event], first_offset=i))
        online = layout.read(rows[event.entity : event.entity + 1], np.array([event.ts]))[0]
        expected = oracle(events[: i + 1], event.entity, event.ts)
        assert_close(online, expected)
        assert_close(offline[i], expected)
        assert at_once[i].tolist() == online.tolist()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_row_ages_without_a_write(data: st.DataObject) -> None:
    events = data.draw(streams(disorder=True))
    later = max(e.ts for e in events) + data.draw(STEPS)
    layout = Layout(VIEW)
    rows = layout.empty(3)
    layout.fold(rows, updates(events))
    online = layout.read(rows, np.full(3, later))
    offline = join(VIEW, history(events), Moments(np.arange(3), np.full(3, later), np.full(3, len(events))))
    for entity in range(3):
        expected = oracle(events, entity, later)
        assert_close(online[entity], expected)
        assert_close(offline[entity], expected)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_batches_and_redelivery_change_nothing(data: st.DataObject) -> None:
    events = data.draw(streams(disorder=True))
    layout = Layout(VIEW)
    once, again = layout.empty(3), layout.empty(3)
    for i, event in enumerate(events):
        layout.fold(once, updates([event], first_offset=i))
    cut = data.draw(st.integers(1, len(events)))
    back = data.draw(st.integers(0, cut - 1))
    assert layout.fold(again, updates(events[:cut])) == cut
    assert layout.fold(again, updates(events[back:], first_offset=back)) == len(events) - cut
    assert once.tobytes() == again.tobytes()


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_second_read_of_the_newest_event_finds_the_same_features(data: st.DataObject) -> None:
    events = data.draw(streams(disorder=True))
    layout = Layout(VIEW)
    rows = layout.empty(3)
    lines = updates(events)
    first = layout.fold_and_read(rows, lines)
    last = {event.entity: i for i, event in enumerate(events)}
    again = layout.fold_and_read(rows, lines[list(last.values())])
    assert again.tolist() == first[list(last.values())].tolist()


def test_an_event_that_a_producer_sent_twice_counts_once() -> None:
    layout = Layout(VIEW)
    rows = layout.empty(3)
    first = updates([E(0, START, 5), E(0, START + 1, 6)])
    again = first.copy()
    again[:, OFFSET] += 2
    assert layout.fold(rows, first) == 2
    assert layout.fold(rows, again) == 0
    count = [a.feature for a in VIEW.aggregations].index("count_60s")
    assert layout.read(rows[:1], np.array([START + 1]))[0, count] == 2


def test_moments_may_share_a_row() -> None:
    layout = Layout(VIEW)
    rows = layout.empty(2)
    layout.fold(rows, updates([E(0, START, 5), E(1, START + 1, 6)]))
    times = np.array([START + 1, START + 60_000, START + 1])
    shared = layout.read(rows, times, np.array([1, 0, 0]))
    assert shared.tolist() == layout.read(rows[[1, 0, 0]], times).tolist()


def test_an_entity_that_nothing_is_known_of_has_defaults() -> None:
    assert set(Layout(VIEW).read(Layout(VIEW).empty(1), np.array([START]))[0]) == {NONE}
    nobody = history([E(0, START, 1)])
    nobody = History(nobody.entity[:0], nobody.ts_ms[:0], nobody.weight[:0], nobody.values[:0])
    moments = Moments(np.array([4]), np.array([START]), np.array([0]))
    assert set(join(VIEW, nobody, moments)[0]) == {NONE}


def test_a_deviation_is_exact_where_squares_are_far_above_64_bits() -> None:
    layout = Layout(VIEW)
    rows = layout.empty(1)
    amounts = [10**12 - 1, 10**12] * 20
    layout.fold(rows, updates([E(0, START + n, amount) for n, amount in enumerate(amounts)]))
    std = [a.feature for a in VIEW.aggregations].index("std_7d")
    assert layout.read(rows, np.array([START + 100]))[0, std] == 0.5


def test_a_place_is_read_from_its_three_columns() -> None:
    assert aggregation("distance_km", "7d", DAY).columns == PLACE


@pytest.mark.parametrize("column", [0, 4])
@pytest.mark.parametrize("beyond", [-1, 3])
def test_an_update_outside_the_rows_is_refused(column: int, beyond: int) -> None:
    lines = updates([E(0, START, 5)])
    lines[0, column] = beyond
    layout = Layout(VIEW)
    with pytest.raises(IndexError):
        layout.fold(layout.empty(3), lines)
    with pytest.raises(IndexError):
        layout.read(layout.empty(3), np.array([START]), np.array([beyond]))
