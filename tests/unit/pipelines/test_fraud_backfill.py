"""Rows made in bulk against the same events taken one by one along the live path."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plinth_contracts.events import FeatureUpdate, LabelObserved, TransactionReceived
from plinth_features import projection, spec
from plinth_features.rows import Layout
from plinth_features.spec import View
from plinth_features.words import NEVER, RANK, Rows
from plinth_pipelines.fraud.backfill import rows_at
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

FRAUD = spec.load(Path(__file__).parents[3] / "feature_repo/compiled/fraud.json")
WEEK = timedelta(days=7)
START = datetime(2018, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    return simulate(SimulationConfig(customers=20, terminals=30, days=60, radius=30.0))


def live_updates(view: View, world: pd.DataFrame, until: datetime) -> list[FeatureUpdate]:
    """What the engine would be handed, in the order of the log."""
    found: list[FeatureUpdate] = []
    for row in world.to_dict("records"):
        time = row["event_ts"].to_pydatetime()
        if view.source == "transaction.received":
            event = projection.transaction(
                TransactionReceived(
                    transaction_id=str(row["transaction_id"]),
                    customer_id=str(row["customer_id"]),
                    terminal_id=str(row["terminal_id"]),
                    amount_minor=row["amount_minor"],
                    event_ts=time,
                    latitude=row["latitude"],
                    longitude=row["longitude"],
                )
            )
        else:
            event = projection.label(
                LabelObserved(
                    label_id=f"label-{row['transaction_id']}",
                    request_id=str(row["transaction_id"]),
                    entity_id=str(row["customer_id"]),
                    entities={"customer": str(row["customer_id"]), "terminal": str(row["terminal_id"])},
                    event_ts=time,
                    known_ts=time + WEEK,
                    label=float(row["is_fraud"]),
                    amount_minor=row["amount_minor"],
                )
            )
        if event.ts_ms < until.timestamp() * 1000:
            found += projection.updates([view], event, 3, len(found))
    return found


def one_by_one(layout: Layout, updates: list[FeatureUpdate]) -> tuple[list[str], Rows]:
    entities = list(dict.fromkeys(update.entity for update in updates))
    rows = layout.empty(len(entities))
    for update in updates:
        layout.fold(rows, projection.as_matrix([update], entities))
    layout.offsets(rows)[:] = NEVER
    return entities, rows


@pytest.mark.parametrize("position", [0, 1])
def test_equals_a_fold_one_by_one_to_the_last_bit(position: int, world: pd.DataFrame) -> None:
    until = START + timedelta(days=20, hours=13)
    made = rows_at(FRAUD, world, WEEK, until)[position]
    entities, rows = one_by_one(Layout(made.view), live_updates(made.view, world, until))
    assert made.view == FRAUD.views[position]
    assert list(made.entities) == entities
    assert made.rows.tobytes() == rows.tobytes()
    assert (made.rows[:, RANK] > made.view.recent).any(), "nothing was settled into tiles"


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=5), timedelta(days=9)])
def test_after_a_long_history_every_read_is_the_same(
    position: int, later: timedelta, world: pd.DataFrame
) -> None:
    until = START + timedelta(days=59, hours=23)
    made = rows_at(FRAUD, world, WEEK, until)[position]
    layout = Layout(made.view)
    entities, rows = one_by_one(layout, live_updates(made.view, world, until))
    ms = round((until + later).timestamp() * 1000)
    full = dict(zip(entities, layout.read(rows, np.full(len(rows), ms)).tolist(), strict=True))
    short = layout.read(made.rows, np.full(len(made.rows), ms)).tolist()
    assert len(made.entities) > 10
    assert short == [full[entity] for entity in made.entities]


def test_an_event_at_the_moment_itself_is_left_to_the_log(world: pd.DataFrame) -> None:
    until = world["event_ts"].iloc[100].to_pydatetime()
    customers = rows_at(FRAUD, world, WEEK, until)[0]
    assert customers.rows[:, RANK].sum() == (world["event_ts"] < until).sum()


def test_a_moment_without_a_zone_is_refused(world: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="time zone"):
        rows_at(FRAUD, world, WEEK, datetime(2018, 4, 20))
