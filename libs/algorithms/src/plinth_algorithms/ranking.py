"""Metrics of ranked lists: how much of what matters stands among the first k.

    P@k     = (relevant among the first k) / k        R@k = (relevant among the first k) / (relevant)
    RR      = 1 / (rank of the first relevant item)   AP  = mean of P@rank over the ranks of relevant items
    DCG@k   = sum_{rank <= k} gain / log2(1 + rank)   NDCG@k = DCG@k / DCG@k of the best order
    CP@k(d) = (compromised cards among the first k of day d) / k, cards found before d left out

Sources: Manning, Raghavan, Schuetze (2008) "Introduction to Information Retrieval", section 8.4 (P, AP, MAP);
Voorhees (1999) "The TREC-8 Question Answering Track Report", pp. 77-82 (RR);
Jarvelin, Kekalainen (2002) "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), pp. 422-446,
with the discount 1/log2(1 + rank); McSherry, Najork (2008) "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR, pp. 414-421 (ties);
"Reproducible Machine Learning for Credit Card Fraud Detection" (2022), chapter 4, precision top-k metrics.

Items with equal scores count with the mean over all their orders, equal cards go by ascending id; the order
of the input never matters.
A value that the data do not define (nothing relevant) is NaN.
"""

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from plinth_algorithms._checks import (
    BoolArray,
    FloatArray,
    as_binary,
    as_numbers,
    check_k,
    check_same_length,
)


def precision_at_k(y_true: ArrayLike, scores: ArrayLike, k: int) -> float:
    """Relevant share of k places, in [0, 1]; 0/1 `y_true` (n,), `scores` (n,). Places beyond n are empty."""
    check_k(k)
    return float(_expected_gains(*_relevance_and_scores(y_true, scores))[:k].sum()) / k


def recall_at_k(y_true: ArrayLike, scores: ArrayLike, k: int) -> float:
    """Share of the relevant items that stand among the first k, in [0, 1]; NaN if none is relevant."""
    check_k(k)
    gains = _expected_gains(*_relevance_and_scores(y_true, scores))
    return float(gains[:k].sum() / gains.sum()) if gains.any() else nan


def ndcg_at_k(relevance: ArrayLike, scores: ArrayLike, k: int) -> float:
    """Normalised discounted cumulative gain, in [0, 1]; the graded `relevance` (n,) >= 0 is the gain itself.

    NaN if all relevance is zero; k larger than n means all. Raises ValueError on negative or infinite
    relevance.
    """
    check_k(k)
    graded, values = as_numbers(relevance, "relevance"), as_numbers(scores, "scores")
    check_same_length(relevance=graded, scores=values)
    if graded.min() < 0 or np.isinf(graded).any():
        raise ValueError("relevance must be finite and not negative")
    discount = 1 / np.log2(2 + np.arange(min(k, graded.size)))
    best = np.sort(graded)[::-1][:k] @ discount
    return float(_expected_gains(graded, values)[:k] @ discount / best) if best else nan


def mean_reciprocal_rank(y_true: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """Mean reciprocal rank, in (0, 1], over queries: one 0/1 array and one score array each, of any length.

    Queries without a relevant item are left out; NaN if none is left.
    """
    return _mean([_reciprocal_rank(truth, values) for truth, values in _queries(y_true, scores)])


def mean_average_precision(y_true: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """Mean average precision, in (0, 1], over queries: one 0/1 array and one score array each, of any length.

    Queries without a relevant item are left out; NaN if none is left. Without ties the value of one query is
    `classification.average_precision`, which lowers a tie to its last place instead of averaging its orders.
    """
    return _mean([_average_precision(truth, values) for truth, values in _queries(y_true, scores)])


def card_precision_at_k(
    scores: ArrayLike, labels: ArrayLike, cards: ArrayLike, days: ArrayLike, k: int = 100
) -> float:
    """Mean over the days of the share, in [0, 1], of compromised cards among the k that are checked on a day.

    All arrays have shape (n,), one row a transaction: `scores`, 0/1 fraud `labels`, card ids and day numbers
    or dates, in any order. A card ranks by its highest score of the day, equal cards by ascending id; it is
    compromised if it has a fraud that day. Compromised cards among the first k are found, and left out of all
    later days. The share is of k even if fewer cards are active: k is what investigators can check in a day.
    """
    check_k(k)
    values, fraud = as_numbers(scores, "scores"), as_binary(labels, "labels")
    card_ids, day_ids = np.asarray(cards), np.asarray(days)
    check_same_length(scores=values, labels=fraud, cards=card_ids, days=day_ids)
    unique_cards, card = np.unique(card_ids, return_inverse=True)
    found = np.zeros(unique_cards.size, dtype=np.bool_)
    precisions = []
    for day in np.unique(day_ids):
        today = (day_ids == day) & ~found[card]
        active, row = np.unique(card[today], return_inverse=True)
        highest = np.full(active.size, -np.inf)
        np.maximum.at(highest, row, values[today])
        compromised = np.bincount(row, weights=fraud[today], minlength=active.size) > 0
        checked = np.argsort(-highest, kind="stable")[:k]
        hits = checked[compromised[checked]]
        found[active[hits]] = True
        precisions.append(hits.size / k)
    return _mean(precisions)


def _expected_gains(gains: FloatArray, scores: FloatArray) -> FloatArray:
    """Gain at each rank, best score first; equal scores share theirs evenly."""
    _, group, size = np.unique(-scores, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(group, weights=gains) / size, size)


def _reciprocal_rank(truth: BoolArray, scores: FloatArray) -> float:
    """Expected 1/rank of the first relevant item when `relevant` of `tied` equal items come after `above`."""
    best = scores[truth].max()
    tied, relevant = int(np.sum(scores == best)), int(np.sum(truth & (scores == best)))
    tried = np.arange(tied - relevant + 1)
    hit = relevant / (tied - tried)
    missed_before = np.append(1.0, np.cumprod(1 - hit)[:-1])
    return float(np.sum(missed_before * hit / (np.sum(scores > best) + tried + 1)))


def _average_precision(truth: BoolArray, scores: FloatArray) -> float:
    """Expected average precision over the orders of equal items (McSherry and Najork)."""
    _, group, size = np.unique(-scores, return_inverse=True, return_counts=True)
    relevant = np.bincount(group, weights=truth)
    share, earlier = relevant / size, np.cumsum(relevant) - relevant
    # Given a relevant item at a rank, each earlier place of its tie is relevant with this probability.
    beside = (relevant - 1) / np.maximum(size - 1, 1)
    rank = np.arange(1, scores.size + 1)
    place = rank - np.repeat(np.cumsum(size) - size, size) - 1
    expected_hits = np.repeat(earlier, size) + 1 + place * np.repeat(beside, size)
    return float(np.sum(np.repeat(share, size) * expected_hits / rank) / relevant.sum())


def _queries(y_true: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> list[tuple[BoolArray, FloatArray]]:
    if len(y_true) == 0 or len(y_true) != len(scores):
        raise ValueError(f"y_true and scores need one array a query, got {len(y_true)} and {len(scores)}")
    pairs = []
    for query, (relevance, values) in enumerate(zip(y_true, scores, strict=True)):
        truth, score = as_binary(relevance, f"y_true[{query}]"), as_numbers(values, f"scores[{query}]")
        check_same_length(**{f"y_true[{query}]": truth, f"scores[{query}]": score})
        pairs.append((truth, score))
    return [(truth, score) for truth, score in pairs if truth.any()]


def _relevance_and_scores(y_true: ArrayLike, scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    truth, values = as_binary(y_true, "y_true"), as_numbers(scores, "scores")
    check_same_length(y_true=truth, scores=values)
    return truth.astype(np.float64), values


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else nan
