"""Contributions of the features to the output of any function: kernel SHAP.

The value of a coalition S is the mean output over background rows whose features in S are set to those of x:

    v(S) = mean_b f(x_S, b_not S)
    phi  = argmin sum_S k(|S|) (v(S) - v(0) - sum_{i in S} phi_i)^2,  sum phi = f(x) - v(0)
    k(s) = (M - 1) / (C(M, s) s (M - s))

With all 2^M - 2 coalitions the solution is the Shapley values. With fewer, coalitions are drawn with
probability proportional to C(M, s) k(s), each together with its complement, which halves the noise.

Sources: Lundberg, Lee (2017) "A Unified Approach to Interpreting Model Predictions", NeurIPS, theorem 2;
Covert, Lee (2021) "Improving KernelSHAP: Practical Shapley Value Estimation via Linear Regression", AISTATS
(paired sampling).
"""

from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def kernel_shap(
    function: Callable[[Floats], Floats],
    x: Floats,
    background: Floats,
    *,
    coalitions: int = 2048,
    rng: np.random.Generator,
) -> Floats:
    """SHAP values (features,) of row `x` (features,); they sum to f(x) - mean of f over the background.

    Args:
        function: outputs (n,) of rows (n, features); called once.
        background: rows (m, features) that stand for an absent feature.
        coalitions: at most this many, an even number; all of them if there are no more, and then the result
            is exact and `rng` unused.

    Raises:
        ValueError: on shapes that do not fit or fewer coalitions than twice the features.
    """
    if x.ndim != 1 or background.ndim != 2 or background.shape[1] != len(x) or not background.size:
        raise ValueError(f"x {x.shape} and background {background.shape} do not fit")
    m = len(x)
    if m == 1:
        members, weight = np.empty((0, 1), dtype=bool), np.empty(0)
    elif 2**m - 2 <= coalitions:
        members, weight = _all(m)
    elif coalitions < 2 * m:
        raise ValueError(f"{coalitions} coalitions are too few for {m} features")
    else:
        members, weight = _paired(m, coalitions // 2, rng)
    asked = np.concatenate([np.zeros((1, m), dtype=bool), np.ones((1, m), dtype=bool), members])
    rows = np.where(asked[:, None, :], x, background)
    values = np.asarray(function(rows.reshape(-1, m)), dtype=np.float64).reshape(len(asked), -1).mean(axis=1)
    return _solve(members, weight, values[2:] - values[0], float(values[1] - values[0]))


def _all(m: int) -> tuple[Bools, Floats]:
    members = (np.arange(1, 2**m - 1)[:, None] >> np.arange(m)) & 1 == 1
    kernel = np.array([0.0] + [(m - 1) / (comb(m, s) * s * (m - s)) for s in range(1, m)])
    return members, kernel[members.sum(axis=1)]


def _paired(m: int, pairs: int, rng: np.random.Generator) -> tuple[Bools, Floats]:
    sizes = np.arange(1, m)
    chance = 1 / (sizes * (m - sizes))
    drawn = rng.choice(sizes, size=pairs, p=chance / chance.sum())
    members = rng.random((pairs, m)).argsort(axis=1).argsort(axis=1) < drawn[:, None]
    return np.concatenate([members, ~members]), np.ones(2 * pairs)


def _solve(members: Bools, weight: Floats, gain: Floats, total: float) -> Floats:
    """Weighted least squares under the constraint on the sum, the last feature eliminated."""
    last = members[:, -1].astype(np.float64)
    design = (members[:, :-1] - last[:, None]) * np.sqrt(weight)[:, None]
    first, *_ = np.linalg.lstsq(design, (gain - last * total) * np.sqrt(weight), rcond=None)
    return np.append(first, total - first.sum())
