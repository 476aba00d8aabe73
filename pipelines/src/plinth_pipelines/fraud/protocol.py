"""How fraud models are compared: which days train and test, which cards count, which figures are published.

Fraud Detection Handbook (2022), chapters 3 to 5: a model is trained on some days, the labels of the days
after them are still unknown, then follow the test days. Cards already known as compromised are left out of a
test day: their frauds would be no finding. A fraud is known `delay_days` after its own day has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plinth_algorithms.classification import average_precision, recall_at_fpr, roc_auc
from plinth_algorithms.ranking import card_precision_at_k

Bools = NDArray[np.bool_]
Days = NDArray[np.int64]

MAX_FPR = 0.001
CARDS_A_DAY = 100


@dataclass(frozen=True)
class Protocol:
    """The days of an experiment, UTC; by default the published ones.

    Training ends `delay_days` before the test begins. Cards with a fraud in the last `known_days` of training
    are known as compromised, whatever the length of training, so that the test rows stay the same.
    """

    test_start: date = date(2018, 8, 8)
    test_days: int = 7
    delay_days: int = 7
    train_days: int = 7
    known_days: int = 7

    def __post_init__(self) -> None:
        if min(self.test_days, self.delay_days, self.train_days, self.known_days) < 1:
            raise ValueError(f"every length must be at least a day: {self}")

    @property
    def train_end(self) -> date:
        """First day that is no longer trained on."""
        return self.test_start - timedelta(days=self.delay_days)

    @property
    def train_start(self) -> date:
        """First day of training."""
        return self.train_end - timedelta(days=self.train_days)

    @property
    def label_delay(self) -> timedelta:
        """From a transaction to its label."""
        return timedelta(days=self.delay_days)

    def folds(self, n: int) -> tuple[Protocol, ...]:
        """The same experiment n times inside the training days, walking forward, each learning from day one.

        Their test periods adjoin, the last one ends with the training. Raises ValueError if the training days
        are too few.
        """
        shifts = [back * self.test_days for back in range(n, 0, -1)]
        return tuple(
            replace(
                self,
                test_start=self.train_end - timedelta(days=shift),
                train_days=self.train_days - self.delay_days - shift,
            )
            for shift in shifts
        )


PUBLISHED = Protocol()
PUBLISHED_FIGURES = {
    "logistic regression (published)": (0.871, 0.606, 0.291),
    "random forest (published)": (0.867, 0.658, 0.287),
    "XGBoost (published)": (0.862, 0.639, 0.273),
    "XGBoost, prequential (published)": (0.872, 0.694, 0.304),
    "isolation forest (published)": (0.808, 0.164, 0.190),
}
"""AUC ROC, average precision, card precision@100: Fraud Detection Handbook (2022), chapters 3, 5 and 7."""


class Split(NamedTuple):
    """Masks of the rows to train on and to test on."""

    train: Bools
    test: Bools


@dataclass(frozen=True)
class Evaluation:
    """The published figures of one scorer, and its operating point at a false positive rate <= 0.1 %."""

    rows: int
    frauds: int
    roc_auc: float
    average_precision: float
    card_precision_100: float
    recall: float
    precision: float
    threshold: float


def split(protocol: Protocol, transactions: pd.DataFrame) -> Split:
    """Which transactions train and which test, cards known as compromised left out of the test days."""
    day = days(transactions["event_ts"])
    test_start = _day(protocol.test_start)
    train = (day >= _day(protocol.train_start)) & (day < _day(protocol.train_end))
    test = (day >= test_start) & (day < test_start + protocol.test_days)
    since = _day(protocol.train_end) - protocol.known_days
    frauds = transactions["is_fraud"].to_numpy(np.bool_) & (day >= since)
    first_fraud = pd.Series(day[frauds]).groupby(transactions["customer_id"].to_numpy()[frauds]).min()
    own_first = transactions["customer_id"].map(first_fraud).to_numpy(np.float64)
    return Split(train, test & ~(own_first < day - protocol.delay_days))


def evaluate(
    scores: NDArray[np.floating], y: NDArray[np.int64], cards: NDArray[np.int64], day: Days
) -> Evaluation:
    """Figures of `scores` (n,), higher meaning more suspicious; one row a transaction.

    Sources: Fraud Detection Handbook (2022), chapter 4, for the first three; the operating point is the best
    recall with at most `MAX_FPR` of the genuine transactions at or above the threshold.
    """
    point = recall_at_fpr(y, scores, MAX_FPR)
    return Evaluation(
        rows=len(y),
        frauds=int(y.sum()),
        roc_auc=roc_auc(y, scores),
        average_precision=average_precision(y, scores),
        card_precision_100=card_precision_at_k(scores, y, cards, day, CARDS_A_DAY),
        recall=point.recall,
        precision=point.precision,
        threshold=point.threshold,
    )


def days(event_ts: pd.Series[pd.Timestamp]) -> Days:
    """Day number of each time since 1970, UTC."""
    naive = event_ts.dt.tz_convert("UTC").dt.tz_localize(None)
    return naive.to_numpy("datetime64[D]").astype(np.int64)


def _day(day: date) -> int:
    return (day - date(1970, 1, 1)).days
