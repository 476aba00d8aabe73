"""Compiled loops over packed rows: apply one event, read the features of a row.

Plain scalar code on one row at a time, which a plan of its view directs (see `plan`). What is compiled is
cached on disk, see `rows.warm`. Where a feature is not defined its value is NaN until `_put`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from plinth_features import words
from plinth_features.plan import (
    CLOCK,
    COLUMN,
    COLUMNS,
    CURRENT_RUN,
    DEFAULT,
    DISTINCTS,
    END,
    END_FEATURE,
    END_STAT,
    EVENTS,
    FACTOR,
    FEATURE_SIZE,
    FEATURES,
    FIRST_FEATURE,
    FIRST_STAT,
    FUNCTION,
    HEAD,
    HIGHS,
    HOP_MS,
    HOPS,
    IDENTITIES,
    IDS,
    KIND,
    LAST_VALUE,
    LEAST,
    LOWS,
    MOST,
    OF_COLUMN,
    POSITION,
    RECENT,
    RING,
    RING_SIZE,
    RINGS,
    SCALE,
    SECOND,
    SLOTS,
    SOURCE,
    STAT_SIZE,
    STATEFUL,
    STATES,
    STATS,
    THIRD,
    TIMES,
    TOTALS,
    VALUES,
    WEIGHTS,
    WINDOW_SIZE,
    WINDOWS,
    WORD,
)
from plinth_features.words import NEVER, Floats, Ints, Rows, Updates

F = TypeVar("F", bound=Callable[..., Any])

EARTH_RADIUS_KM = 6371.0088
HALF = 20
"""A square is kept as high * 2**40 + low, so that sums of squares stay exact; values stay below 2**40."""


def _compiled(function: F) -> F:
    # Nothing here allocates: without reference counts of arrays (_nrt) the kernels take half the time.
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    return cast(F, numba.njit(**options)(function))


@_compiled
def fold(rows: Rows, updates: Updates, plan: Ints) -> int:
    """Apply events to rows in place, each once; returns how many were new."""
    new = 0
    for i in range(len(updates)):
        new += _apply(rows[updates[i, words.ROW]], updates[i], plan)
    return new


@_compiled
def fold_and_read(rows: Rows, updates: Updates, plan: Ints, numbers: Floats, room: Ints, out: Floats) -> None:
    """Apply events as `fold` does; features of each one's row right after it, into out[events, features].

    room: for intermediate results, [4, the larger of statistics and kept events].
    """
    for i in range(len(updates)):
        row = rows[updates[i, words.ROW]]
        _apply(row, updates[i], plan)
        _read(row, updates[i, words.TS_MS], plan, numbers, room, out[i])


@_compiled
def read(rows: Rows, at: Ints, ts_ms: Ints, plan: Ints, numbers: Floats, room: Ints, out: Floats) -> None:
    """Features of the rows at[i] as of ts_ms[i], into out[i]. room: as in `fold_and_read`."""
    for i in range(len(at)):
        _read(rows[at[i]], ts_ms[i], plan, numbers, room, out[i])


# Applying an event


@_compiled
def _apply(row: Ints, event: Ints, plan: Ints) -> int:
    """1 if the event is new to the row: its offset is above the row's, its id not among the kept ones."""
    highest = words.OFFSETS + event[words.PARTITION]
    if event[words.OFFSET] <= row[highest]:
        return 0
    row[highest] = event[words.OFFSET]
    for slot in range(plan[RECENT]):
        if row[plan[IDS] + slot] == event[words.EVENT_ID]:
            return 0
    slot = row[words.RANK] % plan[RECENT]
    if row[words.RANK] >= plan[RECENT]:
        _settle(row, slot, plan)
    row[plan[IDS] + slot] = event[words.EVENT_ID]
    row[plan[TIMES] + slot] = event[words.TS_MS]
    row[plan[WEIGHTS] + slot] = event[words.WEIGHT]
    for column in range(plan[COLUMNS]):
        row[plan[VALUES] + slot * plan[COLUMNS] + column] = event[words.VALUES + column]
    row[words.RANK] += 1
    if event[words.WEIGHT] > 0:
        _remember(row, event, plan)
    return 1


@_compiled
def _settle(row: Ints, slot: int, plan: Ints) -> None:
    """Add the oldest kept event to its tiles; tiles that the head moves past start empty."""
    kept = True
    for ring in range(plan[RINGS], plan[STATS], RING_SIZE):
        slots, head = plan[ring + SLOTS], row[plan[ring + HEAD]]
        tile = row[plan[TIMES] + slot] // plan[ring + HOP_MS]
        kept = tile > head - slots
        if not kept:
            continue
        for number in range(plan[ring + FIRST_STAT], plan[ring + END_STAT]):
            stat = plan[STATS] + number * STAT_SIZE
            kind, word = plan[stat + KIND], plan[stat + WORD]
            for stale in range(max(head + 1, tile - slots + 1), tile + 1):
                row[word + stale % slots] = IDENTITIES[kind]
            at = word + tile % slots
            row[at] = _combine(kind, row[at], _share(row, slot, stat, plan))
        row[plan[ring + HEAD]] = max(head, tile)
    if not kept:
        row[words.LATE] += 1


@_compiled
def _remember(row: Ints, event: Ints, plan: Ints) -> None:
    """Bring the states up to date with a new event."""
    now, clock = event[words.TS_MS], plan[CLOCK]
    for state in range(plan[STATES], plan[WINDOWS], STAT_SIZE):
        kind, word = plan[state + KIND], plan[state + WORD]
        value = event[words.VALUES + plan[state + COLUMN]]
        if kind == LAST_VALUE:
            row[word] = value
        elif kind == CURRENT_RUN and value > 0:
            row[word + 1] = row[word + 1] if row[word] > 0 else now
            row[word] += 1
            row[word + 2] = now
        elif kind == CURRENT_RUN:
            row[word] = 0
            row[word + 3] = now
        else:
            if row[clock] != NEVER:
                _to_front(row, word, plan[DISTINCTS])
            row[word + 1] = value
    row[clock + 1] = row[clock]
    row[clock] = now


@_compiled
def _to_front(row: Ints, word: int, most: int) -> None:
    """Put the newest value in front of the distinct ones before it, the longest unused one falls out."""
    place = _find(row, word)
    if place == row[word]:
        row[word] = min(place + 1, most)
        place = min(place, most - 1)
    first = word + 2
    for at in range(first + place, first, -1):
        row[at] = row[at - 1]
    row[first] = row[word + 1]


@_compiled
def _find(row: Ints, word: int) -> int:
    """Place of the newest value among the distinct ones before it; their number where it is not there."""
    place = 0
    while place < row[word] and row[word + 2 + place] != row[word + 1]:
        place += 1
    return place


# Statistics


@_compiled
def _share(row: Ints, slot: int, stat: int, plan: Ints) -> int:
    """What a kept event adds to a statistic. A correction adds to the sum of values and to nothing else."""
    kind, weight = plan[stat + KIND], row[plan[WEIGHTS] + slot]
    value = row[plan[VALUES] + slot * plan[COLUMNS] + plan[stat + COLUMN]]
    if kind == EVENTS:
        value = weight
    elif kind != TOTALS and weight <= 0:
        value = IDENTITIES[kind]
    elif kind == HIGHS:
        value = _square(value)[0]
    elif kind == LOWS:
        value = _square(value)[1]
    return int(value)


@_compiled
def _combine(kind: int, one: int, other: int) -> int:
    """A statistic of two sets of events from those of each."""
    if kind == LEAST:
        return min(one, other)
    return max(one, other) if kind == MOST else one + other


@_compiled
def _combine_words(kind: int, total: int, row: Ints, begin: int, end: int) -> int:
    """A statistic together with those in the words begin..end-1."""
    if kind == LEAST:
        for word in range(begin, end):
            total = min(total, row[word])
    elif kind == MOST:
        for word in range(begin, end):
            total = max(total, row[word])
    else:
        for word in range(begin, end):
            total += row[word]
    return total


@_compiled
def _square(value: int) -> tuple[int, int]:
    """value**2 as high * 2**40 + low with 0 <= low < 2**40."""
    mask = (1 << HALF) - 1
    a, b = value >> HALF, value & mask
    middle = 2 * a * b + (b * b >> HALF)
    return a * a + (middle >> HALF), ((middle & mask) << HALF) | (b * b & mask)


@_compiled
def _deviation(count: int, total: int, high: int, low: int) -> float:
    """Population standard deviation from exact sums: squares are taken from a whole number near the mean."""
    centre = total // count
    rest = total - count * centre
    centre_high, centre_low = _square(centre)
    high -= count * centre_high
    low -= count * centre_low + 2 * centre * rest
    high += low >> 2 * HALF
    spread = float(high) * 2.0 ** (2 * HALF) + float(low & ((1 << 2 * HALF) - 1))
    off = rest / count
    return math.sqrt(max(0.0, spread / count - off * off))


@_compiled
def _kilometres(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Great-circle distance of two places in degrees (haversine, mean radius of the Earth)."""
    up = math.sin(math.radians(to_latitude - latitude) / 2)
    along = math.sin(math.radians(to_longitude - longitude) / 2)
    flat = math.cos(math.radians(latitude)) * math.cos(math.radians(to_latitude))
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, up * up + flat * along * along)))


# Reading a row


@_compiled
def _read(row: Ints, now: int, plan: Ints, numbers: Floats, room: Ints, out: Floats) -> None:
    """All features of a row as of `now`."""
    totals, sums, kept, ordered = room[0], room[1], room[2], room[3]
    ring, newest, tile = -1, 0, 0
    for window in range(plan[WINDOWS], plan[FEATURES], WINDOW_SIZE):
        if plan[window + RING] != ring:
            ring = plan[window + RING]
            current, head = now // plan[ring + HOP_MS], row[plan[ring + HEAD]]
            newest, tile = max(current, head), min(current, head)  # tile: the newest that is not taken yet
            for number in range(plan[ring + FIRST_STAT], plan[ring + END_STAT]):
                totals[number] = IDENTITIES[plan[plan[STATS] + number * STAT_SIZE + KIND]]
        low = newest - plan[window + HOPS]
        _take_tiles(row, low, tile, ring, plan, totals)
        tile = min(tile, low - 1)
        seen = _visible(row, low * plan[ring + HOP_MS], now, plan, kept)
        _add_kept(row, kept, seen, ring, plan, totals, sums)
        _window_features(row, kept, seen, window, plan, numbers, sums, ordered, out)
    for feature in range(plan[STATEFUL], plan[END], FEATURE_SIZE):
        _put(_state(row, now, feature, plan), feature, plan, numbers, out)


@_compiled
def _take_tiles(row: Ints, low: int, high: int, ring: int, plan: Ints, totals: Ints) -> None:
    """Add the tiles low..high of a ring, all of which it holds, to the totals of their statistics."""
    if low > high:
        return
    slots = plan[ring + SLOTS]
    for number in range(plan[ring + FIRST_STAT], plan[ring + END_STAT]):
        stat = plan[STATS] + number * STAT_SIZE
        kind, word = plan[stat + KIND], plan[stat + WORD]
        first = low % slots
        end = first + high + 1 - low
        total = _combine_words(kind, totals[number], row, word + first, word + min(end, slots))
        totals[number] = _combine_words(kind, total, row, word, word + end - slots)


@_compiled
def _visible(row: Ints, low_ms: int, now: int, plan: Ints, kept: Ints) -> int:
    """Slots of the kept events with low_ms <= time <= now, the last to arrive first; how many they are."""
    seen, slot = 0, row[words.RANK] % plan[RECENT]
    for _ in range(min(row[words.RANK], plan[RECENT])):
        slot = slot - 1 if slot > 0 else plan[RECENT] - 1
        if low_ms <= row[plan[TIMES] + slot] <= now:
            kept[seen] = slot
            seen += 1
    return seen


@_compiled
def _add_kept(row: Ints, kept: Ints, seen: int, ring: int, plan: Ints, totals: Ints, sums: Ints) -> None:
    """Statistics of tiles and kept events together, into sums."""
    for number in range(plan[ring + FIRST_STAT], plan[ring + END_STAT]):
        stat = plan[STATS] + number * STAT_SIZE
        total = totals[number]
        for i in range(seen):
            total = _combine(plan[stat + KIND], total, _share(row, kept[i], stat, plan))
        sums[number] = total


@_compiled
def _window_features(
    row: Ints,
    kept: Ints,
    seen: int,
    window: int,
    plan: Ints,
    numbers: Floats,
    sums: Ints,
    ordered: Ints,
    out: Floats,
) -> None:
    """Features of one window from its visible kept events and its statistics."""
    newest, column, earlier = _newest(row, kept, seen, plan), -1, 0
    count = sums[plan[plan[window + RING] + FIRST_STAT]]
    for feature in range(plan[window + FIRST_FEATURE], plan[window + END_FEATURE], FEATURE_SIZE):
        value = math.nan
        if plan[feature + FUNCTION] < words.OVER_MEAN:
            value = _of_window(count, feature, plan, sums)
        elif newest >= 0 and plan[feature + FUNCTION] < words.MEDIAN:
            value = _of_newest(row, newest, count, feature, plan, sums)
        elif newest >= 0:
            if plan[feature + OF_COLUMN] != column:
                column = plan[feature + OF_COLUMN]
                earlier = _sort_earlier(row, kept, seen, column, plan, ordered)
            own = row[plan[VALUES] + newest * plan[COLUMNS] + column]
            factor = numbers[plan[feature + POSITION], FACTOR]
            value = _of_kept(plan[feature + FUNCTION], own, ordered, earlier, factor)
        _put(value, feature, plan, numbers, out)


@_compiled
def _put(value: float, feature: int, plan: Ints, numbers: Floats, out: Floats) -> None:
    """Write a value, or the default where it is not defined."""
    at = plan[feature + POSITION]
    out[at] = numbers[at, DEFAULT] if math.isnan(value) else value * numbers[at, SCALE]


@_compiled
def _of_window(count: int, feature: int, plan: Ints, sums: Ints) -> float:
    """count, sum, mean, min, max or std; not defined without events."""
    function, value = plan[feature + FUNCTION], sums[plan[feature + SOURCE]]
    if count <= 0:
        return math.nan
    if function == words.MEAN:
        return float(value / count)
    if function == words.STD:
        return _deviation(count, value, sums[plan[feature + SECOND]], sums[plan[feature + THIRD]])
    return float(value)


@_compiled
def _newest(row: Ints, kept: Ints, seen: int, plan: Ints) -> int:
    """Slot of the newest of these events, corrections apart; -1 without one."""
    for i in range(seen):
        if row[plan[WEIGHTS] + kept[i]] > 0:
            return int(kept[i])
    return -1


@_compiled
def _of_newest(row: Ints, newest: int, count: int, feature: int, plan: Ints, sums: Ints) -> float:
    """over_mean or distance_km: the newest event against the sums of the earlier ones in the window."""
    value, total = _against(row, newest, plan[feature + SOURCE], plan, sums)
    if plan[feature + FUNCTION] == words.OVER_MEAN:
        return float(value * (count - 1) / total) if count > 1 and total > 0 else math.nan
    longitude, longitudes = _against(row, newest, plan[feature + SECOND], plan, sums)
    placed, places = _against(row, newest, plan[feature + THIRD], plan, sums)
    if placed <= 0 or places <= 0:
        return math.nan
    return _kilometres(value / 1e6, longitude / 1e6, total / places / 1e6, longitudes / places / 1e6)


@_compiled
def _against(row: Ints, newest: int, number: int, plan: Ints, sums: Ints) -> tuple[int, int]:
    """Value of the newest event, and the sum of the earlier ones in the window."""
    column = plan[plan[STATS] + number * STAT_SIZE + COLUMN]
    value = row[plan[VALUES] + newest * plan[COLUMNS] + column]
    return value, sums[number] - value


@_compiled
def _sort_earlier(row: Ints, kept: Ints, seen: int, column: int, plan: Ints, ordered: Ints) -> int:
    """Values of the events but the newest, ascending, corrections apart; how many they are."""
    found = -1
    for i in range(seen):
        if row[plan[WEIGHTS] + kept[i]] <= 0:
            continue
        place, value = found, row[plan[VALUES] + kept[i] * plan[COLUMNS] + column]
        while place > 0 and ordered[place - 1] > value:
            ordered[place] = ordered[place - 1]
            place -= 1
        if found >= 0:
            ordered[place] = value
        found += 1
    return max(found, 0)


@_compiled
def _of_kept(function: int, newest: int, earlier: Ints, n: int, factor: float) -> float:
    """median, over_median, count_high or share_high from the newest value and n earlier ones, ascending."""
    if function == words.COUNT_HIGH or function == words.SHARE_HIGH:
        high = _count_high(newest, earlier, n, factor)
        return float(high) if function == words.COUNT_HIGH else float(high / (n + 1))
    if n == 0:
        return math.nan
    median = (earlier[(n - 1) // 2] + earlier[n // 2]) / 2
    if function == words.MEDIAN:
        return float(median)
    return float(newest / median) if median > 0 else math.nan


@_compiled
def _count_high(newest: int, earlier: Ints, n: int, factor: float) -> int:
    """How many of all these values are at least `factor` times their median, if that is above 0."""
    place = 0
    while place < n and earlier[place] < newest:
        place += 1
    twice = 0
    for i in (n // 2, (n + 1) // 2):  # the middle of n + 1 values
        twice += earlier[i] if i < place else newest if i == place else earlier[i - 1]
    least, high = factor * (twice / 2), 0
    if twice <= 0:
        return 0
    for i in range(n):
        high += earlier[i] >= least
    return high + (newest >= least)


@_compiled
def _state(row: Ints, now: int, feature: int, plan: Ints) -> float:
    """A feature of a state; not defined where nothing of the kind has been seen."""
    function, word = plan[feature + FUNCTION], plan[feature + SOURCE]
    newest, before = row[plan[CLOCK]], row[plan[CLOCK] + 1]
    if newest == NEVER:
        return math.nan
    if function == words.LAST or function == words.RUN:
        return float(row[word])
    if function == words.FIRST:
        return 1.0 if _find(row, word) == row[word] else 0.0
    if function == words.AGE:
        return _seconds(newest, now)
    if function == words.GAP:
        return _seconds(before, newest)
    if function == words.RUN_AGE:
        return _seconds(row[word + 1], now) if row[word] > 0 else math.nan
    return _seconds(row[word + 2] if function == words.AGE_POSITIVE else row[word + 3], now)


@_compiled
def _seconds(begin: int, end: int) -> float:
    """Seconds between two times, not below 0; not defined where the first never was."""
    return math.nan if begin == NEVER else max(0, end - begin) / 1000
