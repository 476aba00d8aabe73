"""Features of the request alone. Calendar features use UTC, like every time in the platform."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plinth_features.spec import DAY, HOUR, RequestFeature

NIGHT_UNTIL_HOUR = 6


def compute(
    features: Sequence[RequestFeature], ts_ms: NDArray[np.int64], amount_minor: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Values [requests, features] in the given order.

    amount: major units (euros); is_weekend: 1 on Saturday and Sunday; is_night: 1 from 0:00 to 6:59.
    """
    out = np.empty((len(ts_ms), len(features)))
    seconds = ts_ms // 1000
    for position, feature in enumerate(features):
        match feature.function:
            case "amount":
                out[:, position] = amount_minor / 100
            case "is_weekend":
                out[:, position] = (seconds // DAY + 3) % 7 >= 5  # 1970-01-01 was a Thursday
            case "is_night":
                out[:, position] = seconds % DAY // HOUR <= NIGHT_UNTIL_HOUR
    return out
