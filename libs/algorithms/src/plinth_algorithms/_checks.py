"""Argument checks shared by the metrics. Every error names the argument at fault."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def as_numbers(values: ArrayLike, name: str) -> FloatArray:
    """Return `values` as float64 of shape (n,), n >= 1.

    Raises ValueError if it is empty, not one-dimensional or contains NaN; infinities pass.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty 1-D array, got shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} contains NaN")
    return array


def as_binary(values: ArrayLike, name: str) -> BoolArray:
    """Return 0/1 or boolean `values` as booleans of shape (n,). Raises ValueError on any other value."""
    array = as_numbers(values, name)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1")
    return array.astype(np.bool_)


def as_probabilities(values: ArrayLike, name: str) -> FloatArray:
    """Return `values` as float64 of shape (n,). Raises ValueError outside [0, 1]."""
    array = as_numbers(values, name)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} must lie in [0, 1]")
    return array


def check_same_length(**arrays: NDArray[np.generic]) -> None:
    """Raise ValueError, with names and lengths, unless all `arrays` have the same first dimension."""
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(array)}" for name, array in arrays.items())
        raise ValueError(f"arguments differ in length ({lengths})")


def check_k(k: int) -> None:
    """Raise ValueError unless the cut-off `k` is at least 1."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
