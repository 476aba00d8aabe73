"""Ranking metrics against all orders of the ties, scikit-learn and a naive loop."""

from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from math import isnan, log2, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from plinth_algorithms import ranking as ours
from plinth_algorithms.classification import average_precision

Items = list[tuple[int, int]]  # (relevance, score)
OrderedMetric = Callable[[Sequence[int]], float]

items = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=6).filter(
    lambda rows: any(relevance for relevance, _ in rows)
)


def over_all_orders(rows: Items, metric: OrderedMetric) -> float:
    """Mean of `metric` over every order of the rows in which no score rises."""
    orders = [p for p in permutations(rows) if all(a[1] >= b[1] for a, b in pairwise(p))]
    return float(np.mean([metric([relevance for relevance, _ in order]) for order in orders]))


def reciprocal_rank(relevance: Sequence[int]) -> float:
    return 1 / (1 + list(relevance).index(1))


def ordered_average_precision(relevance: Sequence[int]) -> float:
    hits = [sum(relevance[: i + 1]) / (i + 1) for i, relevant in enumerate(relevance) if relevant]
    return sum(hits) / len(hits)


@settings(deadline=None)
@given(items, st.integers(1, 8))
def test_ties_count_with_the_mean_over_all_their_orders(rows: Items, k: int) -> None:
    relevance, scores = [r for r, _ in rows], [s for _, s in rows]
    total = sum(relevance)
    for actual, metric in (
        (ours.precision_at_k(relevance, scores, k), lambda r: sum(r[:k]) / k),
        (ours.recall_at_k(relevance, scores, k), lambda r: sum(r[:k]) / total),
        (ours.mean_reciprocal_rank([relevance], [scores]), reciprocal_rank),
        (ours.mean_average_precision([relevance], [scores]), ordered_average_precision),
    ):
        assert actual == pytest.approx(over_all_orders(rows, metric))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=20),
    st.integers(1, 25),
)
def test_ndcg_equals_scikit_learn(rows: Items, k: int) -> None:
    relevance, scores = np.array(rows).T
    actual = ours.ndcg_at_k(relevance, scores, k)
    if relevance.any():
        assert actual == pytest.approx(ndcg_score([relevance], [scores], k=k))
    else:
        assert isnan(actual)


def test_ndcg_by_hand() -> None:
    # Order of the scores: gains 2, 3, 0; best order 3, 2, 0.
    expected = (2 + 3 / log2(3)) / (3 + 2 / log2(3))
    assert ours.ndcg_at_k([3, 0, 2], [0.5, 0.1, 0.9], 2) == pytest.approx(expected)
    assert ours.ndcg_at_k([3, 0, 2], [0.5, 0.1, 0.9], 1) == pytest.approx(2 / 3)


def test_average_precision_without_ties_equals_scikit_learn() -> None:
    rng = np.random.default_rng(11)
    truth, scores = rng.integers(0, 2, (20, 30)), rng.random((20, 30))
    theirs = np.mean([average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)])
    assert ours.mean_average_precision(list(truth), list(scores)) == pytest.approx(theirs)


def test_a_tie_is_averaged_here_and_lowered_in_the_classification_metric() -> None:
    assert ours.mean_average_precision([[1, 0]], [[0.5, 0.5]]) == 0.75
    assert average_precision([1, 0], [0.5, 0.5]) == 0.5


def test_means_over_queries_of_different_length() -> None:
    truth = [[0, 1], [0, 0, 1], [1]]
    scores = [[0.1, 0.9], [0.3, 0.2, 0.1], [0.5]]
    assert ours.mean_reciprocal_rank(truth, scores) == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_queries_with_nothing_to_find_are_left_out() -> None:
    truth, scores = [[0, 0], [0, 1]], [[0.1, 0.2], [0.9, 0.8]]
    assert ours.mean_reciprocal_rank(truth, scores) == 0.5
    assert ours.mean_average_precision(truth, scores) == 0.5
    assert isnan(ours.mean_reciprocal_rank(truth[:1], scores[:1]))
    assert isnan(ours.recall_at_k([0, 0], [0.1, 0.2], 1))


def test_places_beyond_the_list_are_empty() -> None:
    assert ours.precision_at_k([1, 1], [0.1, 0.2], 8) == 0.25
    assert ours.recall_at_k([1, 1], [0.1, 0.2], 8) == 1.0


def test_reciprocal_rank_of_one_relevant_item_in_a_long_tie() -> None:
    n = 100_000
    truth = np.zeros(n)
    truth[n // 2] = 1
    expected = np.sum(1 / np.arange(1, n + 1)) / n
    assert ours.mean_reciprocal_rank([truth], [np.zeros(n)]) == pytest.approx(expected)


Row = tuple[int, int, int, int]  # (day, card, score, fraud)


def naive_card_precision(rows: list[Row], k: int) -> float:
    """Card precision top-k as a clerk would do it, a day and a card at a time."""
    found: set[int] = set()
    shares = []
    for day in sorted({row[0] for row in rows}):
        scores: dict[int, int] = {}
        compromised = set()
        for row_day, card, score, fraud in rows:
            if row_day != day or card in found:
                continue
            scores[card] = max(score, scores.get(card, score))
            if fraud:
                compromised.add(card)
        checked = sorted(scores, key=lambda card: (-scores[card], card))[:k]
        caught = [card for card in checked if card in compromised]
        shares.append(len(caught) / k)
        found.update(caught)
    return sum(shares) / len(shares)


rows_of_days = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 6), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)


@given(rows_of_days, st.integers(1, 10))
def test_card_precision_equals_a_naive_loop(rows: list[Row], k: int) -> None:
    days, cards, scores, labels = np.array(rows).T
    assert ours.card_precision_at_k(scores, labels, cards, days, k) == pytest.approx(
        naive_card_precision(rows, k)
    )


def test_card_precision_leaves_out_only_cards_that_were_found() -> None:
    # Day 1 finds a (b is compromised but second); day 2 leaves a out, finds b; on day 3 no card is left.
    cards = ["a", "b", "a", "b", "c", "b"]
    days = np.array(["2018-08-08"] * 2 + ["2018-08-09"] * 3 + ["2018-08-10"], dtype="datetime64[D]")
    scores, labels = [0.9, 0.8, 0.9, 0.8, 0.1, 0.9], [1, 1, 1, 1, 0, 1]
    assert ours.card_precision_at_k(scores, labels, cards, days, k=1) == pytest.approx(2 / 3)


def test_a_checked_card_without_fraud_comes_back() -> None:
    cards, days = ["a", "b", "a", "b"], [1, 1, 2, 2]
    scores, labels = [0.9, 0.1, 0.9, 0.1], [0, 1, 1, 0]
    assert ours.card_precision_at_k(scores, labels, cards, days, k=1) == 0.5


def test_card_precision_is_a_share_of_the_capacity() -> None:
    assert ours.card_precision_at_k([0.5, 0.4], [1, 1], ["a", "b"], [1, 1], k=100) == 0.02


@pytest.mark.parametrize("metric", [ours.precision_at_k, ours.recall_at_k, ours.ndcg_at_k])
def test_bad_input_of_one_list_is_named(metric: Callable[..., float]) -> None:
    for relevance, scores, k, message in [
        ([0, 1], [0.1, nan], 1, "scores contains NaN"),
        ([0, nan], [0.1, 0.2], 1, "(y_true|relevance) contains NaN"),
        ([], [], 1, "must be a non-empty"),
        ([0, 1], [0.1], 1, "differ in length"),
        ([0, 1], [0.1, 0.2], 0, "k must be at least 1"),
        ([0, -1], [0.1, 0.2], 1, "y_true must hold only|relevance must be finite and not negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(relevance, scores, k)


@pytest.mark.parametrize("metric", [ours.mean_reciprocal_rank, ours.mean_average_precision])
def test_bad_queries_are_named(metric: Callable[..., float]) -> None:
    for truth, scores, message in [
        ([[0, 1], [1, 0]], [[0.1, 0.2], [0.1, nan]], r"scores\[1\] contains NaN"),
        ([[0, 1], []], [[0.1, 0.2], []], r"y_true\[1\] must be a non-empty"),
        ([[0, 1]], [[0.1]], r"y_true\[0\]: 2, scores\[0\]: 1"),
        ([], [], "one array a query, got 0 and 0"),
        ([[1]], [], "one array a query, got 1 and 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(truth, scores)


def test_bad_transactions_are_named() -> None:
    with pytest.raises(ValueError, match="scores contains NaN"):
        ours.card_precision_at_k([nan], [1], ["a"], [1])
    with pytest.raises(ValueError, match="labels must hold only 0 and 1"):
        ours.card_precision_at_k([0.1], [2], ["a"], [1])
    with pytest.raises(ValueError, match="cards: 2, days: 1"):
        ours.card_precision_at_k([0.1], [1], ["a", "b"], [1])
    with pytest.raises(ValueError, match="scores must be a non-empty"):
        ours.card_precision_at_k([], [], [], [])
    with pytest.raises(ValueError, match="k must be at least 1"):
        ours.card_precision_at_k([0.1], [1], ["a"], [1], k=0)
