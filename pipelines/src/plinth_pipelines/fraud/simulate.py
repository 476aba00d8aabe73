"""Simulated card transactions of the Fraud Detection Handbook, digit for digit.

Le Borgne, Siblini, Lebichot, Bontempi: Reproducible Machine Learning for Credit Card Fraud Detection,
Practical Handbook (2022), chapter 3. Customers and terminals lie on a square of 100 x 100; a customer pays at
terminals nearer than `radius`. Three kinds of fraud are laid over the purchases: amounts that are too high,
compromised terminals, stolen cards. The default configuration gives the published set: 1,754,155 transactions
with 14,681 frauds.

All randomness comes from legacy Mersenne Twisters (`numpy.random.RandomState`, `random.Random`), whose
streams are frozen. They are seeded as for the published set: 0 for the customers, 1 for the terminals, the
number of the customer for its purchases, the number of the day for the frauds that begin on it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAY_SECONDS = 86_400
NOON_SECONDS = 43_200
SPREAD_SECONDS = 20_000

HIGH_AMOUNT_MINOR = 22_000
TERMINALS_COMPROMISED_A_DAY = 2
TERMINAL_COMPROMISED_DAYS = 28
CARDS_STOLEN_A_DAY = 3
CARD_STOLEN_DAYS = 14
STOLEN_CARD_FACTOR = 5

CENTRE = 50.85, 4.35
"""Latitude and longitude of the middle of the square, of which a unit is laid out as a kilometre."""

KM_PER_DEGREE = 111.195

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SimulationConfig:
    """Size of the simulated world.

    A world of fewer `days` is the beginning of a longer one, with two differences: transactions of the same
    second may be numbered in another order, and the frauds of its last 13 days are others, because stolen
    cards are sampled over windows of 14 days and no fraud begins on the last day.

    Args:
        customers: number of customers (cards), at least 3.
        terminals: number of terminals, at least 2.
        days: length in days, at least 1.
        start: first day, UTC.
        radius: a customer pays at terminals nearer than this; the world is 100 x 100.

    Raises:
        ValueError: if a field is below its minimum.
    """

    customers: int = 5_000
    terminals: int = 10_000
    days: int = 183
    start: date = date(2018, 4, 1)
    radius: float = 5.0

    def __post_init__(self) -> None:
        if self.customers < CARDS_STOLEN_A_DAY or self.terminals < TERMINALS_COMPROMISED_A_DAY:
            raise ValueError(f"needs at least 3 customers and 2 terminals: {self}")
        if self.days < 1 or self.radius <= 0:
            raise ValueError(f"days and radius must be positive: {self}")


PUBLISHED = SimulationConfig()


@dataclass(frozen=True)
class _Customer:
    x: float
    y: float
    mean_amount: float
    daily_rate: float


@dataclass(frozen=True)
class _Purchases:
    """Columns of the same length; times are seconds since the first midnight, money is in cents."""

    seconds: Ints
    customers: Ints
    terminals: Ints
    amounts: Ints


def simulate(
    config: SimulationConfig = PUBLISHED,
    *,
    days: range | None = None,
    progress: Callable[[float], None] | None = None,
) -> pd.DataFrame:
    """Simulate card transactions with their fraud labels, in order of time.

    With `days`, the result is exactly those rows of the full table: ids, order, amounts and labels. The whole
    period is simulated all the same, because the order among transactions of the same second follows from
    sorting all of them; a smaller `config` is the way to save time.

    Args:
        config: size of the world.
        days: days to return, counted from 0 at `config.start`; a part of `range(config.days)` with step 1, by
            default all of it.
        progress: called after each customer with the share of customers done, in (0, 1].

    Returns:
        Columns `transaction_id` int64 (0, 1, ... over the whole period), `event_ts` datetime64[ms, UTC],
        `customer_id` int64, `terminal_id` int64, `amount_minor` int64 (cents, at least 0), `latitude` and
        `longitude` float64 (of the terminal, degrees with 6 digits), `is_fraud` bool, `scenario` int8 (0
        genuine, 1 high amount, 2 compromised terminal, 3 stolen card; the last one applied wins). The index
        is 0, 1, ...

    Raises:
        ValueError: if `days` reaches outside the simulated period or skips days.
    """
    wanted = range(config.days) if days is None else days
    if wanted.step != 1 or not 0 <= wanted.start <= wanted.stop <= config.days:
        raise ValueError(f"days must lie within range({config.days}), step 1: {wanted}")
    purchases = _sorted_by_time(_draw_purchases(config, progress))
    midnights = np.arange(config.days + 1) * DAY_SECONDS
    first_rows: list[int] = np.searchsorted(purchases.seconds, midnights).tolist()
    scenarios = _apply_frauds(purchases, first_rows, config)
    rows = slice(first_rows[wanted.start], first_rows[wanted.stop])
    return _to_frame(purchases, scenarios, rows, config)


def _draw_purchases(config: SimulationConfig, progress: Callable[[float], None] | None) -> _Purchases:
    customers = _draw_customers(config.customers)
    terminal_x, terminal_y = _draw_terminals(config.terminals)
    rng = np.random.RandomState(0)  # seeded anew for each customer; a new one each would cost more time
    drawn = []
    for number, customer in enumerate(customers):
        distances = np.sqrt((terminal_x - customer.x) ** 2 + (terminal_y - customer.y) ** 2)
        nearby = np.flatnonzero(distances < config.radius).tolist()
        drawn.append(_draw_purchases_of(number, customer, nearby, config.days, rng))
        if progress is not None:
            progress((number + 1) / config.customers)
    seconds, terminals, amounts = (np.concatenate(column) for column in zip(*drawn, strict=True))
    counts = [len(columns[0]) for columns in drawn]
    numbers = np.repeat(np.arange(config.customers, dtype=np.int64), counts)
    return _Purchases(seconds, numbers, terminals, amounts)


def _draw_customers(count: int) -> list[_Customer]:
    profiles = np.random.RandomState(0).uniform([0, 0, 5, 0], [100, 100, 100, 4], size=(count, 4)).tolist()
    return [_Customer(*profile) for profile in profiles]


def _draw_terminals(count: int) -> tuple[Floats, Floats]:
    x, y = np.random.RandomState(1).uniform(0, 100, size=(count, 2)).T.copy()
    return x, y


def _draw_purchases_of(
    number: int, customer: _Customer, nearby: list[int], days: int, rng: np.random.RandomState
) -> tuple[Ints, Ints, Ints]:
    """Seconds, terminals and cents of one customer, in the order drawn: sorted by day, not within a day."""
    rng.seed(number)
    choose = random.Random(number).choice
    seconds, amounts = _draw_times_and_amounts(rng, customer, days) if nearby else ([], [])
    terminals = [choose(nearby) for _ in seconds]
    cents = np.rint(np.array(amounts, dtype=np.float64) * 100).astype(np.int64)
    return np.array(seconds, dtype=np.int64), np.array(terminals, dtype=np.int64), cents


def _draw_times_and_amounts(
    rng: np.random.RandomState, customer: _Customer, days: int
) -> tuple[list[int], list[float]]:
    # Each outcome decides what is drawn next from the one stream, so the draws cannot be batched.
    # A scaled standard normal has the digits of `rng.normal` in half the time.
    normal, poisson = rng.standard_normal, rng.poisson
    mean, deviation, rate = customer.mean_amount, customer.mean_amount / 2, customer.daily_rate
    seconds: list[int] = []
    amounts: list[float] = []
    for midnight in range(0, days * DAY_SECONDS, DAY_SECONDS):
        for _ in range(poisson(rate)):
            second = int(NOON_SECONDS + SPREAD_SECONDS * normal())
            if 0 < second < DAY_SECONDS:
                amount = mean + deviation * normal()
                seconds.append(midnight + second)
                amounts.append(amount if amount >= 0 else rng.uniform(0, 2 * mean))
    return seconds, amounts


def _sorted_by_time(purchases: _Purchases) -> _Purchases:
    # Transactions of the same second keep the order in which numpy's plain introsort leaves them. datetime64
    # is sorted by it everywhere; int64 by vector instructions where the processor has them, in another order.
    order = np.argsort(purchases.seconds.astype("datetime64[s]"), kind="quicksort")
    return _Purchases(
        purchases.seconds[order],
        purchases.customers[order],
        purchases.terminals[order],
        purchases.amounts[order],
    )


def _apply_frauds(purchases: _Purchases, first_rows: list[int], config: SimulationConfig) -> NDArray[np.int8]:
    """Scenario of each row; multiplies the amounts of stolen cards in place."""
    scenarios = (purchases.amounts > HIGH_AMOUNT_MINOR).astype(np.int8)
    for day in range(config.days - 1):
        window = slice(first_rows[day], first_rows[min(day + TERMINAL_COMPROMISED_DAYS, config.days)])
        compromised = _draw_without_replacement(day, config.terminals, TERMINALS_COMPROMISED_A_DAY)
        scenarios[window][np.isin(purchases.terminals[window], compromised)] = 2
    for day in range(config.days - 1):
        window = slice(first_rows[day], first_rows[min(day + CARD_STOLEN_DAYS, config.days)])
        stolen = _draw_without_replacement(day, config.customers, CARDS_STOLEN_A_DAY)
        rows = window.start + np.flatnonzero(np.isin(purchases.customers[window], stolen))
        frauds = rows[random.Random(day).sample(range(len(rows)), k=len(rows) // 3)]
        purchases.amounts[frauds] *= STOLEN_CARD_FACTOR
        scenarios[frauds] = 3
    return scenarios


def _draw_without_replacement(seed: int, population: int, size: int) -> Ints:
    return np.random.RandomState(seed).choice(population, size=size, replace=False)


def _to_frame(
    purchases: _Purchases, scenarios: NDArray[np.int8], rows: slice, config: SimulationConfig
) -> pd.DataFrame:
    latitudes, longitudes = _places(config.terminals)
    terminals = purchases.terminals[rows]
    times = np.datetime64(config.start, "ms") + purchases.seconds[rows].astype("timedelta64[s]")
    return pd.DataFrame(
        {
            "transaction_id": np.arange(rows.start, rows.stop, dtype=np.int64),
            "event_ts": pd.Series(times).dt.tz_localize("UTC"),
            "customer_id": purchases.customers[rows],
            "terminal_id": terminals,
            "amount_minor": purchases.amounts[rows],
            "latitude": latitudes[terminals],
            "longitude": longitudes[terminals],
            "is_fraud": scenarios[rows] > 0,
            "scenario": scenarios[rows],
        }
    )


def _places(terminals: int) -> tuple[Floats, Floats]:
    """Latitude and longitude of each terminal."""
    x, y = _draw_terminals(terminals)
    latitude, longitude = CENTRE
    east = KM_PER_DEGREE * np.cos(np.radians(latitude))
    return np.round(latitude + (y - 50) / KM_PER_DEGREE, 6), np.round(longitude + (x - 50) / east, 6)
