"""The training matrix against events replayed one by one through the rows that serve live traffic."""

from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from plinth_features import request, spec
from plinth_features.rows import Layout
from plinth_features.spec import DAY, Aggregation, FeatureService, View
from plinth_features.words import Updates, as_updates
from plinth_pipelines.fraud.dataset import build
from plinth_pipelines.fraud.events import by_topic
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

FRAUD = spec.load(Path(__file__).parents[3] / "feature_repo/compiled/fraud.json")
WEEK = timedelta(days=7)
OTHER = FeatureService(
    name="other",
    request=(),
    views=(
        View(
            name="card_labels",
            entity="customer",
            source="label.observed",
            partitions=1,
            columns=("label",),
            recent=2,
            aggregations=(Aggregation(feature="frauds", function="sum", column="label", window_s=7 * DAY),),
        ),
        View(
            name="till",
            entity="terminal",
            source="transaction.received",
            partitions=1,
            columns=("amount_minor",),
            recent=2,
            aggregations=(
                Aggregation(feature="highest", function="max", column="amount_minor", window_s=3600),
                Aggregation(
                    feature="spread", function="std", column="amount_minor", window_s=DAY, scale=0.01
                ),
            ),
        ),
    ),
)


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    return simulate(SimulationConfig(customers=20, terminals=30, days=45, radius=30.0))


def milliseconds(world: pd.DataFrame) -> list[int]:
    return [round(time.timestamp() * 1000) for time in world["event_ts"]]


def replayed(view: View, world: pd.DataFrame, delay: timedelta) -> list[np.ndarray]:
    """What a read gives at each transaction: labels known by then are folded first, then the transaction."""
    layout = Layout(view)
    rows = layout.empty(int(world[f"{view.entity}_id"].max()) + 1)
    entity, times = world[f"{view.entity}_id"].tolist(), milliseconds(world)
    values = by_topic(world, delay)[view.source].values(view)
    later = round(delay.total_seconds() * 1000) if view.source == "label.observed" else 0
    waiting, features = 0, []
    for i, now in enumerate(times):
        while waiting < len(times) and times[waiting] + later <= now and (later or waiting <= i):
            event = entity[waiting], times[waiting] + later, values[waiting].tolist()
            layout.fold(rows, one_update(*event, number=waiting))
            waiting += 1
        features.append(layout.read(rows[entity[i] : entity[i] + 1], np.array([now]))[0])
    return features


def one_update(row: int, ts_ms: int, values: list[int], number: int) -> Updates:
    return as_updates([(row, number + 1, ts_ms, 1, 0, number, *values)])


@pytest.mark.parametrize("service", [FRAUD, OTHER], ids=lambda service: service.name)
def test_equals_a_replay_of_events_one_by_one(service: FeatureService, world: pd.DataFrame) -> None:
    data = build(service, world, label_delay=WEEK)
    assert data.X.shape == (len(world), len(service.names))
    position = len(service.request)
    for view in service.views:
        expected = np.array(replayed(view, world, WEEK))
        for aggregation, column in zip(view.aggregations, expected.T, strict=True):
            if aggregation.function == "count":
                assert data.X[:, position].tolist() == column.tolist(), aggregation.feature
            else:
                np.testing.assert_allclose(data.X[:, position], column, rtol=1e-9, atol=1e-9)
            assert len(set(column)) > 1, f"{aggregation.feature} is constant, which tests nothing"
            position += 1


def test_request_features_come_first_and_amounts_are_in_euros(world: pd.DataFrame) -> None:
    X = build(FRAUD, world, label_delay=WEEK).X
    amounts = world["amount_minor"].to_numpy(np.int64)
    expected = request.compute(FRAUD.request, np.array(milliseconds(world)), amounts)
    assert X[:, :3].tolist() == expected.tolist()
    assert X[:, 0].tolist() == (amounts / 100).tolist()


def test_chosen_rows_are_those_rows_of_the_whole_with_ids_and_labels(world: pd.DataFrame) -> None:
    rows = np.random.default_rng(3).random(len(world)) < 0.2
    shares: list[float] = []
    whole = build(FRAUD, world, label_delay=WEEK)
    part = build(FRAUD, world, label_delay=WEEK, rows=rows, progress=shares.append)
    assert part.X.tolist() == whole.X[rows].tolist()
    assert part.y.tolist() == world["is_fraud"][rows].astype(int).tolist()
    assert part.frame["transaction_id"].tolist() == world["transaction_id"][rows].tolist()
    assert shares == [0.5, 1.0]
    assert whole.where(rows).frame.equals(part.frame)


def test_a_label_is_seen_from_the_moment_it_is_known_and_not_before() -> None:
    texts = ["2024-05-01T10:00:00.000Z", "2024-05-08T09:59:59.999Z", "2024-05-08T10:00:00.000Z"]
    world = pd.DataFrame(
        {
            "transaction_id": range(3),
            "event_ts": pd.to_datetime(texts),
            "customer_id": range(3),
            "terminal_id": 5,
            "amount_minor": 100,
            "is_fraud": [True, False, False],
        }
    )
    X = build(FRAUD, world, label_delay=WEEK).X
    shares = X[:, FRAUD.names.index("terminal_fraud_share_1d")]
    assert shares.tolist() == [0.0, 0.0, 1.0]


def test_a_later_transaction_of_the_same_moment_is_not_seen() -> None:
    world = pd.DataFrame(
        {
            "transaction_id": range(2),
            "event_ts": pd.to_datetime(["2024-05-01T10:00:00Z"] * 2),
            "customer_id": 1,
            "terminal_id": 5,
            "amount_minor": [100, 300],
            "is_fraud": False,
        }
    )
    X = build(FRAUD, world, label_delay=WEEK).X
    assert X[:, FRAUD.names.index("customer_tx_count_1d")].tolist() == [1, 2]
    assert X[:, FRAUD.names.index("customer_tx_count_60s")].tolist() == [1, 2]
    assert X[:, FRAUD.names.index("customer_amount_mean_1d")].tolist() == [1.0, 2.0]


def test_disorder_a_missing_delay_and_an_unknown_topic_are_refused(world: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="order of time"):
        build(FRAUD, world[::-1], label_delay=WEEK)
    with pytest.raises(ValueError, match="after its transaction"):
        build(FRAUD, world, label_delay=timedelta(0))
    other = msgspec.structs.replace(FRAUD.views[0], source="decision.made")
    with pytest.raises(KeyError, match=r"decision\.made"):
        build(msgspec.structs.replace(FRAUD, views=(other,)), world, label_delay=WEEK)
