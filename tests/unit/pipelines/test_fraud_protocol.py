"""Which days train and test, which cards count, and the figures, on cases worked out by hand."""

from dataclasses import replace
from datetime import date, timedelta

import msgspec
import numpy as np
import pandas as pd
import pytest

from plinth_algorithms.validation import walk_forward
from plinth_pipelines.fraud import protocol
from plinth_pipelines.fraud.protocol import Protocol
from plinth_pipelines.fraud.thresholds import choose, counts


def table(rows: list[tuple[str, int, bool]]) -> pd.DataFrame:
    """Transactions from (time, customer, fraud)."""
    times, customers, frauds = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "event_ts": pd.to_datetime(times, utc=True, format="ISO8601"),
            "customer_id": customers,
            "is_fraud": frauds,
        }
    )


def test_published_days() -> None:
    assert (Protocol().train_start, Protocol().train_end) == (date(2018, 7, 25), date(2018, 8, 1))


def test_days_are_half_open_in_utc() -> None:
    rows = [
        ("2018-07-24T23:59:59.999Z", 1, False),
        ("2018-07-25T00:00:00Z", 1, False),
        ("2018-07-31T23:59:59.999Z", 1, False),
        ("2018-08-01T00:00:00Z", 1, False),
        ("2018-08-07T23:59:59.999Z", 1, False),
        ("2018-08-08T00:00:00Z", 1, False),
        ("2018-08-15T01:59:00+02:00", 1, False),
        ("2018-08-15T00:00:00Z", 1, False),
    ]
    train, test = protocol.split(Protocol(), table(rows))
    assert train.tolist() == [False, True, True, False, False, False, False, False]
    assert test.tolist() == [False, False, False, False, False, True, True, False]


def test_a_card_is_left_out_from_the_day_after_its_fraud_is_known() -> None:
    rows = [
        ("2018-07-20T12:00:00Z", 1, True),  # before the training days: forgotten
        ("2018-07-25T12:00:00Z", 2, True),  # in training
        ("2018-08-02T12:00:00Z", 3, True),  # known during 2018-08-09, left out from 2018-08-10
        *((f"2018-08-{day:02}T23:00:00Z", card, False) for day in (8, 9, 10) for card in (1, 2, 3)),
    ]
    test = protocol.split(Protocol(), table(rows)).test[3:].reshape(3, 3)
    assert test.tolist() == [[True, False, True], [True, False, True], [True, False, False]]


def test_more_training_days_leave_the_test_rows_as_they_are() -> None:
    rows = [("2018-07-10T12:00:00Z", 1, True), ("2018-08-08T12:00:00Z", 1, False)]
    longer = replace(Protocol(), train_days=28)
    train, test = protocol.split(longer, table(rows))
    assert (train.tolist(), test.tolist()) == ([True, False], [False, True])


def test_folds_lie_inside_training_with_the_same_delay() -> None:
    earlier, later = Protocol(train_days=28).folds(2)
    assert (later.train_start, later.train_end) == (date(2018, 7, 4), date(2018, 7, 18))
    assert (later.test_start, later.test_days) == (date(2018, 7, 25), 7)
    assert (earlier.train_start, earlier.train_end) == (date(2018, 7, 4), date(2018, 7, 11))
    with pytest.raises(ValueError, match="at least a day"):
        Protocol(train_days=28).folds(3)


def test_folds_are_those_of_the_walk_forward_split() -> None:
    hours = pd.date_range("2018-06-01", "2018-08-20", freq="6h", tz="UTC", inclusive="left")
    frame = pd.DataFrame({"event_ts": hours, "customer_id": 1, "is_fraud": False})
    outer = Protocol(train_days=60)
    days = timedelta(days=1)
    walked = list(
        walk_forward(
            hours.tz_localize(None).to_numpy(),
            train=25 * days,
            gap=outer.delay_days * days,
            test=outer.test_days * days,
            expanding=True,
            start=np.datetime64(outer.train_start),
        )
    )
    for fold, (train, test) in zip(outer.folds(4), walked, strict=False):
        found = protocol.split(fold, frame)
        assert np.flatnonzero(found.train).tolist() == train.tolist()
        assert np.flatnonzero(found.test).tolist() == test.tolist()


def test_figures_at_the_operating_point() -> None:
    y = np.r_[np.ones(4, dtype=np.int64), np.zeros(2000, dtype=np.int64)]
    genuine = np.linspace(0, 0.5, 2000)
    genuine[-3:] = [0.6, 0.7, 0.95]
    scores = np.r_[0.99, 0.9, 0.65, 0.1, genuine]
    found = protocol.evaluate(scores, y, np.arange(2004), np.zeros(2004, dtype=np.int64))
    assert (found.rows, found.frauds) == (2004, 4)
    assert (found.recall, found.precision, found.threshold) == (0.75, 0.6, 0.65)
    assert found.card_precision_100 == 0.03


def test_thresholds_keep_their_share_of_genuine_scores() -> None:
    genuine = np.random.default_rng(5).random(10_000)
    scores, y = np.r_[genuine, 0.999, 0.5], np.r_[np.zeros(10_000, dtype=np.int64), 1, 1]
    cuts = choose(scores, y)
    assert (counts(scores, y, cuts.monitor).fp, counts(scores, y, cuts.monitor).tp) == (100, 1)
    assert (counts(scores, y, cuts.step_up).fp, counts(scores, y, cuts.block).fp) == (50, 10)
    assert cuts.monitor < cuts.step_up < cuts.block


def test_tied_genuine_scores_stay_below_the_threshold_together() -> None:
    scores, y = np.r_[np.full(500, 0.25), 0.26], np.r_[np.zeros(500, dtype=np.int64), 1]
    for cut in msgspec.structs.astuple(choose(scores, y)):
        at = counts(scores, y, cut)
        assert (at.fp, at.tp) == (0, 1)


def test_thresholds_need_genuine_rows() -> None:
    with pytest.raises(ValueError, match="genuine"):
        choose(np.array([0.5]), np.array([1]))
