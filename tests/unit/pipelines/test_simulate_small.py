"""A small world against a literal, transaction by transaction reading of the published description."""

import random
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

SMALL = SimulationConfig(customers=50, terminals=100, days=30, start=date(2020, 2, 15), radius=12.0)
LABELS = ["amount_minor", "is_fraud", "scenario"]
PURCHASE = ["event_ts", "customer_id", "terminal_id"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulate(SMALL)


def literal_purchases(config: SimulationConfig) -> pd.DataFrame:
    profile, place = np.random.RandomState(0), np.random.RandomState(1)
    bounds = [(0, 100), (0, 100), (5, 100), (0, 4)]
    customers = [[profile.uniform(*bound) for bound in bounds] for _ in range(config.customers)]
    terminals = [(place.uniform(0, 100), place.uniform(0, 100)) for _ in range(config.terminals)]
    rows = []
    for number, (x, y, mean, rate) in enumerate(customers):
        near = [
            i for i, t in enumerate(terminals) if ((t[0] - x) ** 2 + (t[1] - y) ** 2) ** 0.5 < config.radius
        ]
        draw, pick = np.random.RandomState(number), random.Random(number)
        for day in range(config.days):
            for _ in range(draw.poisson(rate)):
                second = int(draw.normal(43200, 20000))
                if not 0 < second < 86400:
                    continue
                amount = draw.normal(mean, mean / 2)
                if amount < 0:
                    amount = draw.uniform(0, mean * 2)
                if near:
                    time = pd.Timestamp(config.start) + pd.Timedelta(day * 86400 + second, "s")
                    rows.append((time, day, number, pick.choice(near), np.round(amount, decimals=2)))
    purchases = pd.DataFrame(rows, columns=["time", "day", "customer", "terminal", "amount"])
    return purchases.sort_values("time").reset_index(drop=True)


def literal_frauds(purchases: pd.DataFrame, config: SimulationConfig) -> pd.DataFrame:
    terminals, customers = pd.Series(range(config.terminals)), pd.Series(range(config.customers))
    purchases["scenario"] = 0
    purchases.loc[purchases["amount"] > 220, "scenario"] = 1
    for day in range(purchases["day"].max()):
        within = purchases["day"].between(day, day + 27)
        compromised = terminals.sample(n=2, random_state=day)
        purchases.loc[within & purchases["terminal"].isin(compromised), "scenario"] = 2
    for day in range(purchases["day"].max()):
        within = purchases["day"].between(day, day + 13)
        stolen = within & purchases["customer"].isin(customers.sample(n=3, random_state=day))
        rows = list(purchases.index[stolen])
        frauds = random.Random(day).sample(rows, k=int(len(rows) / 3))
        purchases.loc[frauds, "amount"] *= 5
        purchases.loc[frauds, "scenario"] = 3
    return purchases


def test_equals_the_literal_description(table: pd.DataFrame) -> None:
    literal = literal_frauds(literal_purchases(SMALL), SMALL)
    assert table["transaction_id"].tolist() == list(range(len(literal)))
    assert table["event_ts"].dt.tz_localize(None).tolist() == literal["time"].tolist()
    assert table["customer_id"].tolist() == literal["customer"].tolist()
    assert table["terminal_id"].tolist() == literal["terminal"].tolist()
    assert table["amount_minor"].tolist() == (literal["amount"] * 100).round().astype(int).tolist()
    assert table["scenario"].tolist() == literal["scenario"].tolist()
    assert table["is_fraud"].tolist() == (literal["scenario"] > 0).tolist()


def test_small_world_holds_stolen_cards_and_compromised_terminals(table: pd.DataFrame) -> None:
    assert set(table["scenario"]) >= {0, 2, 3}


def test_column_types(table: pd.DataFrame) -> None:
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "transaction_id": "int64",
        "event_ts": "datetime64[ms, UTC]",
        "customer_id": "int64",
        "terminal_id": "int64",
        "amount_minor": "int64",
        "latitude": "float64",
        "longitude": "float64",
        "is_fraud": "bool",
        "scenario": "int8",
    }


@pytest.mark.parametrize("days", [range(0, 1), range(11, 18), range(29, 30), range(5, 5)])
def test_days_are_those_rows_of_the_full_table(table: pd.DataFrame, days: range) -> None:
    day = (table["event_ts"] - pd.Timestamp(SMALL.start, tz="UTC")) // pd.Timedelta("1D")
    expected = table[day.isin(days)].reset_index(drop=True)
    pd.testing.assert_frame_equal(simulate(SMALL, days=days), expected)


def test_shorter_world_is_the_beginning_but_for_frauds_of_its_last_13_days(table: pd.DataFrame) -> None:
    short = simulate(replace(SMALL, days=20)).sort_values(PURCHASE).reset_index(drop=True)
    long = table[: len(short)].sort_values(PURCHASE).reset_index(drop=True)
    pd.testing.assert_frame_equal(short[PURCHASE], long[PURCHASE])
    settled = (short["event_ts"] < pd.Timestamp(SMALL.start, tz="UTC") + pd.Timedelta("7D")).sum()
    pd.testing.assert_frame_equal(short[LABELS][:settled], long[LABELS][:settled])


@pytest.mark.parametrize("days", [range(0, 31), range(-1, 3), range(0, 30, 2), range(9, 3)])
def test_days_outside_the_period_are_refused(days: range) -> None:
    with pytest.raises(ValueError, match="days must lie within"):
        simulate(SMALL, days=days)


@pytest.mark.parametrize(
    "field",
    [{"customers": 2}, {"terminals": 1}, {"days": 0}, {"radius": 0.0}],
    ids=lambda field: next(iter(field)),
)
def test_impossible_worlds_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be positive|at least"):
        replace(SMALL, **field)


def test_world_without_reachable_terminals_is_empty() -> None:
    assert simulate(replace(SMALL, radius=1e-6)).empty


def test_world_of_one_day_has_no_fraud_that_lasts() -> None:
    assert set(simulate(replace(SMALL, days=1))["scenario"]) <= {0, 1}


def test_progress_reports_the_share_of_customers() -> None:
    shares: list[float] = []
    simulate(replace(SMALL, customers=4), progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_global_randomness_is_left_alone() -> None:
    np.random.seed(7)
    random.seed(7)
    expected = np.random.RandomState(7).random_sample(), random.Random(7).random()
    simulate(replace(SMALL, days=3))
    assert (np.random.random_sample(), random.random()) == expected


def test_a_transaction_is_where_its_terminal_is_a_unit_being_a_kilometre(table: pd.DataFrame) -> None:
    place = np.random.RandomState(1)
    terminals = [(place.uniform(0, 100), place.uniform(0, 100)) for _ in range(SMALL.terminals)]
    assert table.groupby("terminal_id")[["latitude", "longitude"]].nunique().to_numpy().max() == 1
    first, other = table.iloc[0], table.iloc[-1]
    ends = [terminals[row["terminal_id"]] for row in (first, other)]
    (phi, lam), (to_phi, to_lam) = np.radians([[row["latitude"], row["longitude"]] for row in (first, other)])
    angle = np.arccos(np.sin(phi) * np.sin(to_phi) + np.cos(phi) * np.cos(to_phi) * np.cos(lam - to_lam))
    assert first["terminal_id"] != other["terminal_id"]
    assert angle * 6371.0 == pytest.approx(np.hypot(*np.subtract(*ends)), rel=0.02)
