"""Isolation forests against the expected depth worked out exactly, a walk by hand, and scikit-learn's."""

from functools import cache

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Peer
from sklearn.ensemble._iforest import _average_path_length

from plinth_algorithms import isolation_forest as ours
from plinth_algorithms.trees import LEAF


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def expected_depths(points: list[float], limit: int) -> list[float]:
    """Mean path length of each of some distinct numbers, over all ways to cut between them."""
    c = [0.0, 0.0, 1.0, 5 / 3, 13 / 6, 2.5666666666666664, 2.9, 3.185714285714286]

    @cache
    def depth(i: int, first: int, last: int, level: int) -> float:
        if first == last or level == limit:
            return level + c[last - first + 1]
        width = points[last] - points[first]
        total = 0.0
        for gap in range(first, last):
            side = (first, gap) if i <= gap else (gap + 1, last)
            total += (points[gap + 1] - points[gap]) / width * depth(i, *side, level + 1)
        return total

    return [depth(i, 0, len(points) - 1, 0) for i in range(len(points))]


def test_average_path_length() -> None:
    np.testing.assert_allclose(ours.average_path_length([1, 2, 3, 4]), [0, 1, 5 / 3, 13 / 6])
    n = np.array([50, 256, 10_000])
    np.testing.assert_allclose(ours.average_path_length(n), _average_path_length(n), rtol=5e-3)
    with pytest.raises(ValueError, match="at least 1"):
        ours.average_path_length([3, 0])


def test_mean_depth_of_numbers_on_a_line() -> None:
    points = [0.0, 1.0, 1.5, 4.0, 4.25, 9.0, 30.0]
    X = np.array(points)[:, None]
    forest = ours.fit(X, trees=10_000, rng=rng(1))
    np.testing.assert_allclose(ours.path_lengths(forest, X), expected_depths(points, limit=3), atol=0.035)


def test_columns_are_chosen_evenly_and_constant_ones_never() -> None:
    X = rng(2).normal(size=(500, 4)) * [1, 1000, 0, 1]
    forest = ours.fit(X, trees=3000, subsample=64, rng=rng(3))
    first = np.bincount(forest.trees.feature[forest.trees.roots], minlength=4)
    assert first[2] == 0
    assert np.abs(first[[0, 1, 3]] - 1000).max() < 5 * np.sqrt(1000 * 2 / 3)


def test_leaves_hold_depth_and_what_is_left_to_isolate() -> None:
    X = rng(4).normal(size=(300, 3)).astype(np.float32)
    forest = ours.fit(X, trees=7, subsample=32, rng=rng(5))
    t = forest.trees
    for root in t.roots:
        assert t.cover[root] == 32
        waiting = [(int(root), 0)]
        while waiting:
            node, depth = waiting.pop()
            assert depth <= 5
            if t.feature[node] == LEAF:
                n = int(t.cover[node])
                rest = 2 * sum(1 / i for i in range(1, n)) - 2 * (n - 1) / n
                assert t.value[node] * 7 == pytest.approx(depth + rest)
            else:
                left, right = int(t.left[node]), int(t.right[node])
                assert t.cover[left] + t.cover[right] == t.cover[node]
                assert min(t.cover[left], t.cover[right]) >= 1
                waiting += [(left, depth + 1), (right, depth + 1)]


def test_scores_agree_with_scikit_learn_over_many_trees() -> None:
    """Its logarithm in c(n) is half a step short at two or three rows, hence the tolerance."""
    X = rng(6).normal(size=(2000, 5))
    X[:20] += 6
    mine = ours.scores(ours.fit(X, trees=2000, rng=rng(7)), X)
    theirs = -Peer(n_estimators=2000, random_state=8).fit(X).score_samples(X)
    assert np.abs(mine - theirs).max() < 0.02
    assert np.corrcoef(mine, theirs)[0, 1] > 0.998
    assert mine[:20].min() > mine[20:].mean()


def test_same_generator_same_forest() -> None:
    X = rng(9).normal(size=(400, 3))
    one, other, third = (ours.scores(ours.fit(X, trees=5, rng=rng(s)), X) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


def test_equal_rows_are_one_leaf() -> None:
    forest = ours.fit(np.ones((10, 2)), trees=3, rng=rng())
    assert len(forest.trees.feature) == 3
    np.testing.assert_allclose(ours.scores(forest, np.ones((1, 2))), 0.5)


def test_impossible_requests_are_named() -> None:
    X = rng().normal(size=(10, 2))
    for bad, message in ((X[:1], "at least two rows"), (X * np.nan, "finite"), (X[:, 0], "2-D")):
        with pytest.raises(ValueError, match=message):
            ours.fit(bad, rng=rng())
    with pytest.raises(ValueError, match="trees must be at least 1"):
        ours.fit(X, trees=0, rng=rng())
