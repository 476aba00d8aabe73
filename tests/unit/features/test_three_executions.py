"""Online fold, offline join and a naive oracle give the same features for any stream."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plinth_features.offline import History, Moments, join
from plinth_features.rows import Layout, Updates
from plinth_features.spec import DAY, HOUR, Aggregation, View, hop_s

WINDOWS = {"60s": 60, "1h": HOUR, "1d": DAY, "7d": 7 * DAY}
FUNCTIONS = ("count", "sum", "mean", "min", "max", "std", "last", "age", "gap")
VIEW = View(
    name="v",
    entity="card",
    source="t",
    partitions=2,
    columns=("other", "amount"),
    recent=3,
    aggregations=tuple(
        Aggregation(
            feature=f"{function}_{label}",
            function=function,
            column=None if function in ("count", "age", "gap") else "amount",
            window_s=window,
            default=-1.0,
        )
        for label, window in WINDOWS.items()
        for function in FUNCTIONS
    ),
)


@dataclass(frozen=True)
class E:
    entity: int
    ts: int
    amount: int


def oracle(events: list[E], entity: int, now: int) -> list[float]:
    """Features after all of `events`, by the definition of a window and nothing else."""
    mine = [e for e in events if e.entity == entity]
    settled, recent = mine[: -VIEW.recent], mine[-VIEW.recent :]
    out = []
    for window in WINDOWS.values():
        hop = hop_s(window) * 1000
        head = max([now // hop] + [e.ts // hop for e in settled])
        low = head - window * 1000 // hop
        values = [e.amount for e in settled if low <= e.ts // hop <= now // hop]
        values += [e.amount for e in recent if low * hop <= e.ts <= now]
        if not values:
            out += [-1.0] * len(FUNCTIONS)
            continue
        mean = sum(values) / len(values)
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
        newest = [e for e in recent if low * hop <= e.ts <= now]
        last = newest[-1].amount if newest else -1.0
        age = (now - newest[-1].ts) / 1000 if newest else -1.0
        gap = (newest[-1].ts - newest[-2].ts) / 1000 if len(newest) > 1 else -1.0
        out += [len(values), sum(values), mean, min(values), max(values), std, last, age, gap]
    return out


def updates(events: list[E], first_offset: int = 0) -> Updates:
    n = len(events)
    return Updates(
        row=np.array([e.entity for e in events], dtype=np.int64),
        event_id=np.arange(first_offset + 1, first_offset + n + 1),
        ts_ms=np.array([e.ts for e in events], dtype=np.int64),
        weight=np.ones(n, dtype=np.int64),
        values=np.array([[7, e.amount] for e in events], dtype=np.int64).reshape(n, 2),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(first_offset, first_offset + n),
    )


def history(events: list[E]) -> History:
    u = updates(events)
    return History(u.row, u.ts_ms, u.weight, u.values)


def close(actual: np.ndarray, expected: list[float]) -> bool:
    """Counts, sums, extremes exactly; means and deviations to 1e-9 of the amounts' size."""
    exact = [i for i, a in enumerate(VIEW.aggregations) if a.function not in ("mean", "std")]
    return list(actual[exact]) == [expected[i] for i in exact] and np.allclose(
        actual, expected, rtol=1e-9, atol=1e-3
    )


START = 1_533_000_000_000
STEPS = st.sampled_from([0, 1, 999, 1000, 59_000, 60_000, HOUR * 1000, DAY * 1000, 8 * DAY * 1000])


@st.composite
def streams(draw: st.DrawFn, *, disorder: bool) -> list[E]:
    now, events = START, []
    for _ in range(draw(st.integers(1, 24))):
        now += draw(STEPS) + draw(st.integers(0, 3))
        back = draw(st.sampled_from([0, 0, 5, 30_000, 2 * HOUR * 1000, 9 * DAY * 1000])) if disorder else 0
        events.append(E(draw(st.integers(0, 2)), now - back, draw(st.integers(0, 10**7))))
    return events


@pytest.mark.parametrize("disorder", [False, True])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_three_agree_at_every_event(disorder: bool, data: st.DataObject) -> None:
    events = data.draw(streams(disorder=disorder))
    layout = Layout(VIEW)
    rows = layout.empty(3)
    offline = join(
        VIEW,
        history(events),
        Moments(
            np.array([e.entity for e in events]),
            np.array([e.ts for e in events]),
            np.arange(1, len(events) + 1),
        ),
    )
    for i, event in enumerate(events):
        layout.fold(rows, updates([event], first_offset=i))
        online = layout.read(rows[event.entity : event.entity + 1], np.array([event.ts]))[0]
        expected = oracle(events[: i + 1], event.entity, event.ts)
        assert close(online, expected)
        assert close(offline[i], expected)


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
        assert close(online[entity], expected)
        assert close(offline[entity], expected)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_batches_and_redelivery_change_nothing(data: st.DataObject) -> None:
    events = data.draw(streams(disorder=True))
    layout = Layout(VIEW)
    once, again = layout.empty(3), layout.empty(3)
    for i, event in enumerate(events):
        layout.fold(once, updates([event], first_offset=i))
    cut = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, cut))
    assert layout.fold(again, updates(events[:cut])) == cut
    assert layout.fold(again, updates(events[back:], first_offset=back)) == len(events) - cut
    assert once.tobytes() == again.tobytes()


def test_an_event_that_a_producer_sent_twice_counts_once() -> None:
    layout = Layout(VIEW)
    rows = layout.empty(3)
    first = updates([E(0, START, 5), E(0, START + 1, 6)])
    again = replace(first, offset=first.offset + 2)
    assert layout.fold(rows, first) == 2
    assert layout.fold(rows, again) == 0
    assert layout.read(rows[:1], np.array([START + 1]))[0, 0] == 2


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_features_right_after_each_event_of_a_batch(data: st.DataObject) -> None:
    events = data.draw(streams(disorder=True))
    layout = Layout(VIEW)
    features = layout.fold_and_read(layout.empty(3), updates(events))
    for i, event in enumerate(events):
        assert close(features[i], oracle(events[: i + 1], event.entity, event.ts))


def test_a_correction_changes_the_sum_and_not_the_count() -> None:
    view = View(
        name="labels",
        entity="terminal",
        source="label.observed",
        partitions=1,
        columns=("fraud",),
        aggregations=(
            Aggregation(feature="n", function="count", window_s=DAY),
            Aggregation(feature="share", function="mean", column="fraud", window_s=DAY),
        ),
    )
    layout = Layout(view)
    rows = layout.empty(1)
    layout.fold(
        rows,
        Updates(
            row=np.zeros(3, dtype=np.int64),
            event_id=np.array([11, 12, 13]),
            ts_ms=np.array([START, START + 1, START + 2]),
            weight=np.array([1, 1, 0]),
            values=np.array([[1], [1], [-1]]),
            partition=np.zeros(3, dtype=np.int64),
            offset=np.arange(3),
        ),
    )
    assert layout.read(rows, np.array([START + 10]))[0].tolist() == [2.0, 0.5]


def test_an_entity_that_nothing_is_known_of_has_defaults() -> None:
    assert set(Layout(VIEW).read(Layout(VIEW).empty(1), np.array([START]))[0]) == {-1.0}


def test_a_window_that_no_hop_divides_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of its hop"):
        hop_s(7 * DAY + 1)
