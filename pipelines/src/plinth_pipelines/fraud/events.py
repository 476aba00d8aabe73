"""What a table of transactions means as events: the transactions, and their labels once these are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plinth_features.projection import id64
from plinth_features.spec import ORDINARY, View

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """Events of one topic in the order of its log; event i stems from transaction i.

    id_pattern: the event's id when filled with the transaction's; ts_ms: when it counts; known: how many
    events were known when transaction i was scored; columns: the integer values that an event carries.
    """

    id_pattern: str
    ts_ms: Ints
    known: Ints
    columns: Mapping[str, Ints]

    def values(self, view: View) -> Ints:
        """What each event adds to the columns of a view [events, columns], as `projection.values`."""
        columns = dict(self.columns)
        if view.ordinary_minor is not None:
            large = columns["amount_minor"] > view.ordinary_minor
            columns[ORDINARY] = np.where(large, 0, columns["label"])
        return np.stack([columns[name] for name in view.columns], axis=1)


def by_topic(transactions: pd.DataFrame, label_delay: timedelta) -> dict[str, Events]:
    """Events by source topic.

    A transaction is known to its own features. Its label, fraud or genuine, becomes known `label_delay`
    after it, and is seen by transactions from that moment on. Raises ValueError unless the transactions are
    in order of time and the delay is positive.
    """
    if label_delay <= timedelta(0):
        raise ValueError(f"a label becomes known after its transaction, not after {label_delay}")
    times = event_ms(transactions)
    if (np.diff(times) < 0).any():
        raise ValueError("transactions must be in order of time")
    label_ms = times + round(label_delay.total_seconds() * 1000)
    fraud = transactions["is_fraud"].to_numpy(np.int64)
    amounts = transactions["amount_minor"].to_numpy(np.int64)
    return {
        "transaction.received": Events(
            id_pattern="{}",
            ts_ms=times,
            known=np.arange(1, len(times) + 1),
            columns={
                "amount_minor": amounts,
                "terminal": _hashes(transactions["terminal_id"]),
                **_places(transactions),
            },
        ),
        "label.observed": Events(
            id_pattern="label-{}",
            ts_ms=label_ms,
            known=np.searchsorted(label_ms, times, side="right").astype(np.int64),
            columns={"label": fraud, "amount_minor": amounts},
        ),
    }


def _hashes(names: pd.Series) -> Ints:
    """What a name on the wire becomes in a column."""
    codes, distinct = pd.factorize(names)
    return np.array([id64(str(name)) for name in distinct], dtype=np.int64)[codes]


def _places(transactions: pd.DataFrame) -> dict[str, Ints]:
    """Columns of the place, see `projection.transaction`; a table may lack places."""
    nowhere = pd.Series(np.nan, index=transactions.index)
    degrees = np.stack([transactions.get(name, nowhere) for name in ("latitude", "longitude")]).astype(float)
    placed = ~np.isnan(degrees).any(axis=0)
    latitude, longitude = np.where(placed, np.rint(degrees * 1e6), 0).astype(np.int64)
    return {"latitude_e6": latitude, "longitude_e6": longitude, "placed": placed.astype(np.int64)}


def event_ms(transactions: pd.DataFrame) -> Ints:
    """Event times in milliseconds since 1970."""
    naive = transactions["event_ts"].dt.tz_convert("UTC").dt.tz_localize(None)
    milliseconds: Ints = naive.to_numpy("datetime64[ms]").astype(np.int64)
    return milliseconds
