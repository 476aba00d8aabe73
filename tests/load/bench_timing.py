"""Timing of a function that is called again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def median_ms(call: Callable[[], object], *, repeat: int, warm_up: int = 3) -> float:
    """Median duration of a call in milliseconds, after a few that do not count."""
    for _ in range(warm_up):
        call()
    took = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return float(np.median(took)) * 1000
