"""What decisions did once their labels are known: frauds and money stopped, missed, and stopped wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from plinth_contracts.events import Outcome

STOPPED = ("step_up", "block")
"""Outcomes that keep the money from moving: refused, or asked for a second factor."""


@dataclass(frozen=True)
class Group:
    """Transactions of one kind, amounts in minor units."""

    transactions: int
    frauds: int
    amount: int
    fraud_amount: int

    @property
    def genuine(self) -> int:
        """How many were no fraud."""
        return self.transactions - self.frauds

    @property
    def genuine_amount(self) -> int:
        """Amount that was no fraud."""
        return self.amount - self.fraud_amount


@dataclass(frozen=True)
class Effect:
    """By outcome, and of those stopped and of all together. Shares are 0 where there is nothing to share."""

    by_outcome: Mapping[str, Group]
    stopped: Group
    everything: Group

    @property
    def precision(self) -> float:
        """Share of the stopped transactions that were fraud."""
        return _share(self.stopped.frauds, self.stopped.transactions)

    @property
    def recall(self) -> float:
        """Share of the frauds that were stopped."""
        return _share(self.stopped.frauds, self.everything.frauds)

    @property
    def money_recall(self) -> float:
        """Share of the fraudulent amount that was stopped."""
        return _share(self.stopped.fraud_amount, self.everything.fraud_amount)

    @property
    def false_positive_rate(self) -> float:
        """Share of the genuine transactions that were blocked."""
        return _share(self.by_outcome["block"].genuine, self.everything.genuine)


def effect(transactions: pd.DataFrame, outcomes: Mapping[str, str]) -> Effect:
    """The effect of outcomes by transaction id on transactions as `simulate` returns them.

    Transactions without an outcome are left out.
    """
    frame = pd.DataFrame(
        {
            "outcome": transactions["transaction_id"].astype(str).map(outcomes),
            "fraud": transactions["is_fraud"].astype(bool),
            "amount": transactions["amount_minor"].astype("int64"),
        }
    ).dropna(subset=["outcome"])
    return Effect(
        by_outcome={outcome: _group(frame[frame["outcome"] == outcome]) for outcome in Outcome},
        stopped=_group(frame[frame["outcome"].isin(STOPPED)]),
        everything=_group(frame),
    )


def _group(frame: pd.DataFrame) -> Group:
    frauds = frame[frame["fraud"]]
    return Group(len(frame), len(frauds), int(frame["amount"].sum()), int(frauds["amount"].sum()))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
