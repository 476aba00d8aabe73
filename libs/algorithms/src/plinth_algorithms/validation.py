"""Splits of time-ordered data that never train on the future.

    fold i: train [s + i step, s + i step + train)    test [e + gap, e + gap + test), e = end of the training
    expanding: train [s, e) with the same e

The gap is the delay after which labels are known: a model tested from time t may only learn from events whose
labels were known at t. All windows are half-open.

Sources: Tashman (2000) "Out-of-sample tests of forecasting accuracy", Int. J. of Forecasting 16, pp. 437-450
(rolling origin, fixed or growing window); Dal Pozzolo et al. (2018) "Credit Card Fraud Detection: A Realistic
Modeling and a Novel Learning Strategy", IEEE TNNLS 29(8), pp. 3784-3797 (delay of the labels);
`sklearn.model_selection.TimeSeriesSplit` (splits by row number).
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.intp]
Instants = NDArray[np.int64] | NDArray[np.float64]
Duration = float | timedelta | np.timedelta64


def walk_forward(
    times: ArrayLike,
    *,
    train: Duration,
    test: Duration,
    gap: Duration,
    step: Duration | None = None,
    expanding: bool = False,
    start: float | np.datetime64 | None = None,
) -> Iterator[tuple[Indices, Indices]]:
    """Yield (training rows, test rows) of windows that walk forward in time.

    `times` (n,), in any order, are datetime64 (resolved to microseconds) with timedelta durations, or numbers
    with durations in the same unit. `start` defaults to the earliest time and `step` to `test`, so that test
    windows adjoin. With `expanding` every training window begins at `start`. Row numbers come in order of
    time. The last test window may reach past the last time; a fold without training or without test rows is
    skipped. Raises ValueError, at the call, on empty or missing times, train, test or step <= 0, gap < 0,
    durations or a start of the wrong kind, and when the first test window begins after the last time.
    """
    instants = _instants(times)
    dated = np.asarray(times).dtype.kind == "M"
    length, horizon = _duration(train, "train", dated), _duration(test, "test", dated)
    stride = horizon if step is None else _duration(step, "step", dated)
    delay = _duration(gap, "gap", dated)
    for name, value in (("train", length), ("test", horizon), ("step", stride)):
        if value <= 0:
            raise ValueError(f"{name} must be positive")
    if delay < 0:
        raise ValueError("gap must not be negative")
    origin = instants.min() if start is None else _start(start, dated)
    if origin + length + delay > instants.max():
        raise ValueError("train and gap leave no time for a test window")
    return _walk(instants, origin, length, horizon, delay, stride, expanding)


def time_series_split(
    n: int,
    n_splits: int = 5,
    *,
    gap: int = 0,
    test_size: int | None = None,
    max_train_size: int | None = None,
) -> Iterator[tuple[Indices, Indices]]:
    """Yield (training rows, test rows) of `n` rows in order of time: the last `n_splits` blocks are tests.

    `gap` rows before each test block are left out; training takes all rows before them, or the latest
    `max_train_size`. `test_size` defaults to n // (n_splits + 1). Same folds as scikit-learn's
    TimeSeriesSplit. Raises ValueError, at the call, on impossible sizes.
    """
    _check_at_least("n", n, 1)
    _check_at_least("n_splits", n_splits, 1)
    _check_at_least("gap", gap, 0)
    size = n // (n_splits + 1) if test_size is None else test_size
    _check_at_least("test_size", size, 1)
    if max_train_size is not None:
        _check_at_least("max_train_size", max_train_size, 1)
    first_test = n - n_splits * size
    if first_test - gap < 1:
        raise ValueError(f"{n} rows leave nothing to train on before {n_splits} test blocks of {size}")
    return _blocks(first_test, n, size, gap, max_train_size)


def _walk(
    instants: Instants,
    origin: float,
    length: float,
    horizon: float,
    delay: float,
    stride: float,
    expanding: bool,
) -> Iterator[tuple[Indices, Indices]]:
    order = np.argsort(instants, kind="stable")
    ordered = instants[order]
    for fold in count():
        train_end = origin + fold * stride + length
        train_start = origin if expanding else origin + fold * stride
        test_start = train_end + delay
        if test_start > ordered[-1]:
            return
        a, b, c, d = np.searchsorted(ordered, [train_start, train_end, test_start, test_start + horizon])
        if a < b and c < d:
            yield order[a:b], order[c:d]


def _blocks(
    first_test: int, n: int, size: int, gap: int, max_train_size: int | None
) -> Iterator[tuple[Indices, Indices]]:
    for test_start in range(first_test, n, size):
        train_end = test_start - gap
        train_start = 0 if max_train_size is None else max(0, train_end - max_train_size)
        yield np.arange(train_start, train_end), np.arange(test_start, test_start + size)


def _instants(times: ArrayLike) -> Instants:
    array = np.asarray(times)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"times must be a non-empty 1-D array, got shape {array.shape}")
    if array.dtype.kind not in "Miuf":
        raise ValueError(f"times must be datetime64 or numbers, got {array.dtype}")
    if (
        array.dtype.kind in "Mf"
        and (np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)).any()
    ):
        raise ValueError("times contains NaT, NaN or infinity")
    if array.dtype.kind == "M":
        return array.astype("M8[us]").astype(np.int64)
    return array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int64)


def _duration(value: Duration, name: str, dated: bool) -> float:
    if isinstance(value, timedelta | np.timedelta64) != dated:
        raise ValueError(f"{name} must be a {'timedelta' if dated else 'number'}, as times are")
    if isinstance(value, timedelta | np.timedelta64):
        exact = np.timedelta64(value)
        if np.isnat(exact) or np.datetime_data(exact.dtype)[0] in ("M", "Y"):
            raise ValueError(f"{name} must be a duration of fixed length, got {value!r}")
        return int(exact.astype("m8[us]").astype(np.int64))
    return _finite(value, name)


def _start(value: float | np.datetime64, dated: bool) -> float:
    if isinstance(value, np.datetime64) != dated:
        raise ValueError(f"start must be a {'datetime64' if dated else 'number'}, as times are")
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise ValueError("start is NaT")
        return int(value.astype("M8[us]").astype(np.int64))
    return _finite(value, "start")


def _finite(value: float, name: str) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return value


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
