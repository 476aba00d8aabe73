"""What decisions did, counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from plinth_pipelines.fraud.effect import effect

FRAME = pd.DataFrame(
    [
        (0, 100, False),
        (1, 900, True),
        (2, 300, True),
        (3, 50, False),
        (4, 700, True),
        (5, 10, False),
        (6, 99_999, True),
    ],
    columns=["transaction_id", "amount_minor", "is_fraud"],
)
OUTCOMES = {"0": "approve", "1": "block", "2": "approve", "3": "block", "4": "step_up", "5": "monitor"}


def test_frauds_and_money_by_outcome() -> None:
    found = effect(FRAME, OUTCOMES)
    groups = {
        name: (g.transactions, g.frauds, g.amount, g.fraud_amount) for name, g in found.by_outcome.items()
    }
    assert groups == {
        "approve": (2, 1, 400, 300),
        "monitor": (1, 0, 10, 0),
        "step_up": (1, 1, 700, 700),
        "block": (2, 1, 950, 900),
    }
    assert (found.stopped.genuine, found.stopped.genuine_amount) == (1, 50)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.money_recall == pytest.approx(1600 / 1900)
    assert found.false_positive_rate == pytest.approx(1 / 3)


def test_nothing_decided_is_no_division_by_zero() -> None:
    found = effect(FRAME, {})
    assert (found.precision, found.recall, found.money_recall, found.false_positive_rate) == (0, 0, 0, 0)
