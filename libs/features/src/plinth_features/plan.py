"""A view in numbers: where things stand in its rows, and what its features read.

A plan is one vector of integers, which `kernels` walk: a header, then tables whose lines follow one another.
The name of a field is its place in the line; a line is known by the place where it begins.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from plinth_features.spec import STATES as STATE_FUNCTIONS
from plinth_features.spec import Aggregation, View, hop_s, schema_hash
from plinth_features.words import FUNCTIONS, NEVER, OFFSETS, SCHEMA, Floats, Ints

RECENT, COLUMNS, DISTINCTS, STATISTICS = range(4)
"""Header: number of kept events, of columns, of distinct values, of statistics."""

IDS, TIMES, WEIGHTS, VALUES, CLOCK = range(4, 9)
"""Header: words of a row where ids, times, weights and values of the kept events begin; word with the time of
the newest event, behind which stands that of the one before."""

RINGS, STATS, STATES, WINDOWS, FEATURES, STATEFUL, END = range(9, 16)
"""Header: where its tables begin, one behind the other. Features of states are the last, from STATEFUL on."""

HEADER_SIZE = 16

HOP_MS, SLOTS, HEAD, FIRST_STAT, END_STAT, RING_SIZE = range(6)
"""Ring: width of its tiles, their number, word of its newest tile, its statistics by number."""

KIND, COLUMN, WORD, STAT_SIZE = range(4)
"""Statistic or state: what it is, of which column, its first word in the row."""

RING, HOPS, FIRST_FEATURE, END_FEATURE, WINDOW_SIZE = range(5)
"""Window: its ring, its length in hops, its features. Those of a ring are together, the shortest first."""

FUNCTION, POSITION, OF_COLUMN, SOURCE, SECOND, THIRD, FEATURE_SIZE = range(7)
"""Feature: its function, place in the output, column, and its statistics by number or its state's word."""

EVENTS, TOTALS, PLAIN, HIGHS, LOWS, LEAST, MOST = range(7)
"""Kinds of statistics of a tile: events, sum of values, the same without corrections, sum of squares in two
parts, extremes."""

IDENTITIES: Final = (0, 0, 0, 0, 0, int(np.iinfo(np.int64).max), int(np.iinfo(np.int64).min))
"""Statistics of no event, by kind."""

LAST_VALUE, CURRENT_RUN, DISTINCT = range(3)
"""Kinds of states: the newest value; length and begin of the run, time of the last positive and of the last
other value; number of distinct values before the newest, the newest, these values."""

DEFAULT, SCALE, FACTOR = range(3)
"""Columns of a plan's numbers."""

_NEEDS: Final = {
    "sum": (TOTALS,),
    "mean": (TOTALS,),
    "over_mean": (TOTALS,),
    "distance_km": (TOTALS,),
    "min": (LEAST,),
    "max": (MOST,),
    "std": (PLAIN, HIGHS, LOWS),
}
"""Statistics of each column behind a function, beside the number of events."""

_KEEPS: Final = {
    "last": LAST_VALUE,
    "first": DISTINCT,
    "run": CURRENT_RUN,
    "run_age": CURRENT_RUN,
    "age_positive": CURRENT_RUN,
    "age_zero": CURRENT_RUN,
}
"""The state behind a function; `age` and `gap` need none but the clock."""

Table = list[list[int]]


class Plan(NamedTuple):
    """numbers: [features, 3] in the view's order. empty: the words of a row that nothing is known of."""

    plan: Ints
    numbers: Floats
    empty: Ints


def of(view: View) -> Plan:
    """The plan of a view."""
    k, columns = view.recent, len(view.columns)
    ids = OFFSETS + view.partitions
    clock = ids + (3 + columns) * k
    empty = [0] * (clock + 2)
    empty[SCHEMA] = int.from_bytes(schema_hash(view), "little", signed=True)
    empty[OFFSETS:ids] = [NEVER] * view.partitions
    empty[clock:] = [NEVER] * 2
    rings, stats, windows, windowed = _windows(view, empty)
    states, stateful = _states(view, empty)
    begins = [HEADER_SIZE]
    for table in (rings, stats, states, windows, windowed, stateful):
        begins.append(begins[-1] + sum(map(len, table)))
    for window in windows:
        window[RING] = begins[0] + window[RING] * RING_SIZE
        window[FIRST_FEATURE] = begins[4] + window[FIRST_FEATURE] * FEATURE_SIZE
        window[END_FEATURE] = begins[4] + window[END_FEATURE] * FEATURE_SIZE
    header = [k, columns, view.distinct, len(stats), ids, ids + k, ids + 2 * k, ids + 3 * k, clock, *begins]
    lines = [*rings, *stats, *states, *windows, *windowed, *stateful]
    return Plan(
        np.array([*header, *(number for line in lines for number in line)], dtype=np.int64),
        np.array([(a.default, a.scale, a.factor) for a in view.aggregations], dtype=np.float64),
        np.array(empty, dtype=np.int64),
    )


def _windows(view: View, empty: list[int]) -> tuple[Table, Table, Table, Table]:
    """Rings, their statistics, their windows and the features of these; tiles are added to `empty`.

    Lines refer to one another by number.
    """
    rings, stats, windows, features = Table(), Table(), Table(), Table()
    by_length = defaultdict(list)
    for position, aggregation in enumerate(view.aggregations):
        if aggregation.window_s is not None:
            by_length[aggregation.window_s].append((position, aggregation))
    for hop, lengths in groupby(sorted(by_length), hop_s):
        mine = list(lengths)
        slots, head, first = mine[-1] // hop + 1, len(empty), len(stats)
        empty.append(NEVER)
        needed = [stat for length in mine for _, a in by_length[length] for stat in _statistics(view, a)]
        number = {stat: first + i for i, stat in enumerate(dict.fromkeys([(EVENTS, 0), *needed]))}
        for kind, column in number:
            stats.append([kind, column, len(empty)])
            empty += [IDENTITIES[kind]] * slots
        for length in mine:
            begin = len(features)
            for position, aggregation in sorted(by_length[length], key=lambda one: one[1].columns):
                sources = [number[stat] for stat in _statistics(view, aggregation)] or [first]
                features.append(_feature(view, position, sources))
            windows.append([len(rings), length // hop, begin, len(features)])
        rings.append([hop * 1000, slots, head, first, len(stats)])
    return rings, stats, windows, features


def _statistics(view: View, aggregation: Aggregation) -> list[tuple[int, int]]:
    """Kind and column of the statistics behind a feature, beside the number of events."""
    kinds = _NEEDS.get(aggregation.function, ())
    return [(kind, view.columns.index(column)) for column in aggregation.columns for kind in kinds]


def _states(view: View, empty: list[int]) -> tuple[Table, Table]:
    """States and their features; their words are added to `empty`."""
    words: dict[tuple[int, int], int] = {}
    features = Table()
    for position, aggregation in enumerate(view.aggregations):
        if aggregation.function not in STATE_FUNCTIONS:
            continue
        word = 0
        if aggregation.column is not None:
            state = _KEEPS[aggregation.function], view.columns.index(aggregation.column)
            if state not in words:
                words[state] = len(empty)
                empty += _empty_state(state[0], view.distinct)
            word = words[state]
        features.append(_feature(view, position, [word]))
    return [[kind, column, word] for (kind, column), word in words.items()], features


def _empty_state(kind: int, distinct: int) -> list[int]:
    if kind == CURRENT_RUN:
        return [0, NEVER, NEVER, NEVER]
    return [0] * (2 + distinct) if kind == DISTINCT else [0]


def _feature(view: View, position: int, sources: list[int]) -> list[int]:
    aggregation = view.aggregations[position]
    column = view.columns.index(aggregation.columns[0]) if aggregation.columns else 0
    return [FUNCTIONS.index(aggregation.function), position, column, *[*sources, 0, 0][:3]]
