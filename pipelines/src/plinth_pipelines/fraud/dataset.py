"""Point-in-time feature matrix: for every chosen transaction, what a reader would have seen at its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plinth_features import request
from plinth_features.offline import History, Moments, join
from plinth_features.spec import FeatureService, View
from plinth_pipelines.fraud import events
from plinth_pipelines.fraud.events import Events

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

IDENTITY = ["transaction_id", "event_ts", "customer_id", "terminal_id"]


@dataclass(frozen=True)
class Dataset:
    """Rows of a training or test set.

    X: [rows, features] in the order of the service's names; y: 1 for fraud; frame: `IDENTITY` of each row.
    """

    X: Floats
    y: NDArray[np.int64]
    frame: pd.DataFrame

    def where(self, mask: Bools) -> Dataset:
        """The rows where the mask is true."""
        return Dataset(self.X[mask], self.y[mask], self.frame[mask].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.y)


def build(
    service: FeatureService,
    transactions: pd.DataFrame,
    *,
    label_delay: timedelta,
    rows: Bools | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Features of transactions as of their own times.

    Args:
        service: the features; a view's source is one of the topics in `events.by_topic`.
        transactions: as `simulate` returns them, in order of time, with the history that the windows need.
        label_delay: from a transaction to the moment its label is known.
        rows: mask of the transactions to build rows for, by default all.
        progress: called after each view with the share of views done, in (0, 1].

    Raises:
        ValueError: if the transactions are out of order or the delay is not positive.
        KeyError: for a view of another topic.
    """
    topics = events.by_topic(transactions, label_delay)
    at = np.arange(len(transactions)) if rows is None else np.flatnonzero(rows)
    ts_ms = events.event_ms(transactions)[at]
    amount = transactions["amount_minor"].to_numpy(np.int64)[at]
    blocks = [request.compute(service.request, ts_ms, amount)]
    for done, view in enumerate(service.views, start=1):
        blocks.append(_features(view, topics[view.source], transactions, at, ts_ms))
        if progress is not None:
            progress(done / len(service.views))
    return Dataset(
        X=np.hstack(blocks),
        y=transactions["is_fraud"].to_numpy(np.int64)[at],
        frame=transactions[IDENTITY].iloc[at].reset_index(drop=True),
    )


def _features(
    view: View, source: Events, transactions: pd.DataFrame, at: NDArray[np.int64], ts_ms: NDArray[np.int64]
) -> Floats:
    entity = pd.factorize(transactions[f"{view.entity}_id"])[0].astype(np.int64)
    history = History(
        entity=entity,
        ts_ms=source.ts_ms,
        weight=np.ones(len(entity), dtype=np.int64),
        values=source.values(view),
    )
    return join(view, history, Moments(entity[at], ts_ms, source.known[at]))
