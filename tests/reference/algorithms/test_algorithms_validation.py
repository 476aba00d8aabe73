"""Time splits against scikit-learn's and a brute-force reading of the windows."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import TimeSeriesSplit

from plinth_algorithms.validation import time_series_split, walk_forward

positive = st.integers(1, 9)


@given(
    times=st.lists(st.integers(-5, 40), min_size=1, max_size=50),
    train=positive,
    test=positive,
    gap=st.integers(0, 9),
    step=st.none() | positive,
    expanding=st.booleans(),
    start=st.none() | st.integers(-10, 10),
)
def test_folds_are_the_rows_inside_the_windows(
    times: list[int], train: int, test: int, gap: int, step: int | None, expanding: bool, start: int | None
) -> None:
    origin, stride = (min(times) if start is None else start), (test if step is None else step)
    expected = []
    for shift in range(0, 100, stride):
        train_end = origin + shift + train
        train_from = origin if expanding else origin + shift
        learn = [i for i, t in enumerate(times) if train_from <= t < train_end]
        judge = [i for i, t in enumerate(times) if train_end + gap <= t < train_end + gap + test]
        if learn and judge:
            expected.append((learn, judge))
    arguments: dict[str, Any] = {
        "train": train,
        "test": test,
        "gap": gap,
        "step": step,
        "expanding": expanding,
        "start": start,
    }
    if origin + train + gap > max(times):
        with pytest.raises(ValueError, match="leave no time"):
            walk_forward(times, **arguments)
        return
    folds = list(walk_forward(times, **arguments))
    assert [(sorted(learn), sorted(judge)) for learn, judge in folds] == expected
    for train_rows, test_rows in folds:
        assert (np.diff(np.array(times)[train_rows]) >= 0).all()
        assert max(np.array(times)[train_rows]) + gap < min(np.array(times)[test_rows])


def test_one_week_of_training_a_week_of_delay_and_a_week_of_test() -> None:
    times = np.arange("2018-07-20", "2018-08-15", np.timedelta64(6, "h"), dtype="datetime64[ns]")
    week = timedelta(days=7)
    folds = list(walk_forward(times, train=week, test=week, gap=week, start=np.datetime64("2018-07-25")))
    ((learn, judge),) = folds
    assert (str(times[learn[0]])[:13], str(times[learn[-1]])[:13]) == ("2018-07-25T00", "2018-07-31T18")
    assert (str(times[judge[0]])[:13], str(times[judge[-1]])[:13]) == ("2018-08-08T00", "2018-08-14T18")


def test_dates_numbers_and_durations_of_any_unit_agree() -> None:
    days = np.arange(60)
    dates = np.datetime64("2024-01-01") + days
    by_number = list(walk_forward(days, train=10, test=5, gap=3, step=4))
    by_date = list(
        walk_forward(
            dates,
            train=np.timedelta64(240, "h"),
            test=timedelta(days=5),
            gap=np.timedelta64(3, "D"),
            step=np.timedelta64(4, "D"),
        )
    )
    assert len(by_number) == len(by_date) == 12
    for one, other in zip(by_number, by_date, strict=True):
        assert_array_equal(one[0], other[0])
        assert_array_equal(one[1], other[1])


def test_rows_come_in_order_of_time() -> None:
    ((learn, judge),) = walk_forward([5.5, 0.5, 3.0, 0.0, 1.0], train=2, test=3.5, gap=1)
    assert_array_equal(learn, [3, 1, 4])
    assert_array_equal(judge, [2, 0])


def test_a_fold_without_rows_is_skipped() -> None:
    times = np.array([0, 1, 2, 3, 50, 51, 52, 53])
    folds = [(list(a), list(b)) for a, b in walk_forward(times, train=2, test=2, gap=0)]
    assert folds == [([0, 1], [2, 3]), ([4, 5], [6, 7])]


DAY = np.timedelta64(1, "D")
DATES = np.datetime64("2024-01-01") + np.arange(10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train must be positive"),
        ({"test": -1}, "test must be positive"),
        ({"step": 0}, "step must be positive"),
        ({"gap": -1}, "gap must not be negative"),
        ({"gap": 9}, "leave no time"),
        ({"start": 100}, "leave no time"),
        ({"train": np.nan}, "train must be finite"),
        ({"start": -np.inf}, "start must be finite"),
        ({"gap": timedelta(days=1)}, "gap must be a number"),
        ({"start": np.datetime64("2024-01-01")}, "start must be a number"),
        ({"times": []}, "times must be a non-empty"),
        ({"times": [1.0, np.nan]}, "times contains"),
        ({"times": ["a", "b"]}, "times must be datetime64 or numbers"),
        ({"times": DATES}, "train must be a timedelta"),
    ],
)
def test_impossible_walks_are_refused_at_the_call(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"times": np.arange(10), "train": 2, "test": 2, "gap": 1, **change}
    with pytest.raises(ValueError, match=message):
        walk_forward(arguments.pop("times"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": np.timedelta64(1, "M")}, "train must be a duration of fixed length"),
        ({"gap": np.timedelta64("NaT")}, "gap must be a duration of fixed length"),
        ({"start": 5}, "start must be a datetime64"),
        ({"start": np.datetime64("NaT")}, "start is NaT"),
        ({"times": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]")}, "times contains"),
    ],
)
def test_impossible_dates_are_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"times": DATES, "train": 2 * DAY, "test": 2 * DAY, "gap": DAY, **change}
    with pytest.raises(ValueError, match=message):
        walk_forward(arguments.pop("times"), **arguments)


@given(
    n=st.integers(2, 60),
    n_splits=st.integers(2, 8),
    gap=st.integers(0, 5),
    test_size=st.none() | st.integers(1, 10),
    max_train_size=st.none() | st.integers(1, 20),
)
def test_time_series_split_equals_scikit_learn(
    n: int, n_splits: int, gap: int, test_size: int | None, max_train_size: int | None
) -> None:
    arguments: dict[str, Any] = {"gap": gap, "test_size": test_size, "max_train_size": max_train_size}
    peer = TimeSeriesSplit(n_splits, **arguments)
    try:
        expected = list(peer.split(np.zeros((n, 1))))
    except ValueError:
        with pytest.raises(ValueError, match=r"leave nothing to train on|test_size must be at least 1"):
            time_series_split(n, n_splits, **arguments)
        return
    actual = list(time_series_split(n, n_splits, **arguments))
    assert len(actual) == len(expected) == n_splits
    for (learn, judge), (their_learn, their_judge) in zip(actual, expected, strict=True):
        assert_array_equal(learn, their_learn)
        assert_array_equal(judge, their_judge)


def test_a_single_split_is_a_holdout() -> None:
    ((learn, judge),) = time_series_split(10, 1, gap=2, test_size=3)
    assert_array_equal(learn, np.arange(5))
    assert_array_equal(judge, [7, 8, 9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n_splits": 0}, "n_splits must be at least 1"),
        ({"gap": -1}, "gap must be at least 0"),
        ({"test_size": 0}, "test_size must be at least 1"),
        ({"max_train_size": 0}, "max_train_size must be at least 1"),
        ({"n": 3}, "test_size must be at least 1"),
        ({"test_size": 2}, "leave nothing to train on"),
        ({"gap": 5}, "leave nothing to train on"),
    ],
)
def test_impossible_splits_are_refused_at_the_call(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_series_split(**{"n": 10, "n_splits": 5, **change})
