"""The simulated set against the published one: its counts, and its rows where the months are at hand.

Counts from the Fraud Detection Handbook (Le Borgne et al., 2022). The months are looked for as parquet files
in the folder `fraud` of PLINTH_SHARED_DATA.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plinth_pipelines.fraud.simulate import PUBLISHED, simulate

REPOSITORY = Path(__file__).parents[3]
MONTHS = Path(os.environ.get("PLINTH_SHARED_DATA", REPOSITORY / "../shared/data")) / "fraud"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulate()


def test_published_counts(table: pd.DataFrame) -> None:
    assert len(table) == 1_754_155
    assert table["is_fraud"].sum() == 14_681
    assert table["scenario"].value_counts().to_dict() == {0: 1_739_474, 1: 973, 2: 9_077, 3: 4_631}


def test_ids_number_the_transactions_in_order_of_time(table: pd.DataFrame) -> None:
    assert (table["transaction_id"] == np.arange(len(table))).all()
    assert table["event_ts"].is_monotonic_increasing
    assert table["customer_id"].nunique() == 4_990


def test_training_week_alone_equals_the_same_days_of_the_full_table(table: pd.DataFrame) -> None:
    week = simulate(PUBLISHED, days=range(115, 122))
    between = table["event_ts"].between("2018-07-25T00:00:00Z", "2018-07-31T23:59:59Z")
    pd.testing.assert_frame_equal(week, table[between].reset_index(drop=True))
    assert (len(week), week["is_fraud"].sum()) == (67_240, 598)


@pytest.mark.skipif(not MONTHS.is_dir(), reason="the published months are not here")
@pytest.mark.parametrize("month", ["2018-04", "2018-05", "2018-06", "2018-07", "2018-08"])
def test_rows_equal_the_published_month(table: pd.DataFrame, month: str) -> None:
    published = pd.read_parquet(MONTHS / f"fdh_simulated_{month}.parquet").reset_index(drop=True)
    simulated = table[table["event_ts"].dt.month == pd.Timestamp(month).month].reset_index(drop=True)
    expected = pd.DataFrame(
        {
            "transaction_id": published["TRANSACTION_ID"].astype("int64"),
            "event_ts": published["TX_DATETIME"].dt.tz_localize("UTC").dt.as_unit("ms"),
            "customer_id": published["CUSTOMER_ID"].astype("int64"),
            "terminal_id": published["TERMINAL_ID"].astype("int64"),
            "amount_minor": (published["TX_AMOUNT"] * 100).round().astype("int64"),
            "is_fraud": published["TX_FRAUD"].astype(bool),
            "scenario": published["TX_FRAUD_SCENARIO"].astype("int8"),
        }
    )
    pd.testing.assert_frame_equal(simulated[expected.columns], expected)
