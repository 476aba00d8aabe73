"""Deciding: features right after each transaction, one decision per transaction, outcomes by threshold."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fraud_scorer.core.decision import Decision, decode, encode
from fraud_scorer.core.policy import Thresholds, outcomes
from fraud_scorer.service import Arrival, FraudScorer, Snapshot
from plinth_contracts.events import Outcome, TransactionReceived
from plinth_features import projection, spec
from plinth_features.rows import Layout
from plinth_features.store import MemoryRows

FEATURES = spec.load(Path(__file__).parents[3] / "feature_repo" / "compiled" / "fraud.json")
START = datetime(2018, 8, 4, 12, tzinfo=UTC)  # a Saturday
COUNT = FEATURES.names.index("customer_tx_count_1d")
MEAN = FEATURES.names.index("customer_amount_mean_1d")


@dataclass
class FakeModel:
    """Scores the amount in thousands and remembers what it was given."""

    version: str = "1"
    digest: str = "sha256:0"
    fingerprint: str = FEATURES.fingerprint
    thresholds: Thresholds = field(default_factory=lambda: Thresholds(0.1, 0.5, 0.9))
    seen: list[NDArray[np.float32]] = field(default_factory=list)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        self.seen.append(features)
        return np.clip(features[:, 0].astype(np.float64) / 1000, 0, 1)


class MemoryState:
    """Rows and decisions in memory."""

    def __init__(self) -> None:
        self.layouts = {view.name: Layout(view) for view in FEATURES.views}
        self.rows = {name: MemoryRows(layout) for name, layout in self.layouts.items()}
        self.decisions: dict[str, Decision] = {}

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        rows = {view: self.rows[view].read(names) for view, names in entities.items()}
        return Snapshot(rows, [self.decisions.get(t) for t in transactions])

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        return [self.decisions.setdefault(d.transaction_id, d) for d in decisions]

    def engine(self, transaction: TransactionReceived, partition: int, offset: int) -> None:
        """What the feature engine does with a transaction."""
        view = FEATURES.view("customer_transactions")
        layout, store = self.layouts[view.name], self.rows[view.name]
        (update,) = projection.updates([view], projection.transaction(transaction), partition, offset)
        rows = store.read([update.entity])
        layout.fold(rows, projection.as_arrays([update], [update.entity]))
        store.write([update.entity], rows)


def transaction(n: int, amount: int = 5000, customer: str = "c-1", minutes: int = 0) -> TransactionReceived:
    return TransactionReceived(
        transaction_id=f"tx-{n}",
        customer_id=customer,
        terminal_id="t-1",
        amount_minor=amount,
        event_ts=START + timedelta(minutes=minutes),
    )


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def scorer(state: MemoryState) -> FraudScorer:
    ids = itertools.count()
    return FraudScorer(FEATURES, state, lambda: f"d-{next(ids)}", lambda: 100.0)


def test_an_outcome_is_the_strictest_whose_threshold_the_score_reaches() -> None:
    found = outcomes(np.array([0.0, 0.1, 0.49, 0.5, 0.9, 1.0]), Thresholds(0.1, 0.5, 0.9))
    assert [o.value for o in found] == ["approve", "monitor", "monitor", "step_up", "block", "block"]


def test_thresholds_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        Thresholds(0.5, 0.1, 0.9)


def test_a_batch_counts_each_customers_earlier_transactions_of_the_batch(
    state: MemoryState, model: FakeModel
) -> None:
    batch = [
        Arrival(transaction(1, 1000), 0, 10),
        Arrival(transaction(2, 3000, customer="c-2"), 1, 4),
        Arrival(transaction(3, 2000), 0, 11),
    ]
    scorer(state).decide(batch, model, START)
    assert model.seen[0][:, COUNT].tolist() == [1, 1, 2]
    assert model.seen[0][:, MEAN].tolist() == [10.0, 30.0, 15.0]
    assert model.seen[0][:, 1].tolist() == [1, 1, 1]  # a weekend


@pytest.mark.parametrize("engine_has_counted", [0, 1, 2, 3])
def test_features_do_not_depend_on_how_far_the_engine_is(
    state: MemoryState, model: FakeModel, engine_has_counted: int
) -> None:
    arrivals = [Arrival(transaction(n, 1000 * n, minutes=n), 2, 100 + n) for n in range(1, 4)]
    service = scorer(state)
    service.decide(arrivals[:2], model, START)
    for arrival in arrivals[:engine_has_counted]:
        state.engine(arrival.transaction, arrival.partition or 0, arrival.offset or 0)
    service.decide(arrivals[2:], model, START)
    assert model.seen[1][0, COUNT] == 3
    assert model.seen[1][0, MEAN] == pytest.approx(20.0)


def test_http_arrivals_of_the_same_millisecond_see_each_other(state: MemoryState, model: FakeModel) -> None:
    service = scorer(state)
    for n in range(3):
        service.decide([Arrival(transaction(n))], model, START)
    assert [seen[0, COUNT] for seen in model.seen] == [1, 2, 3]


def test_an_http_arrival_that_the_engine_has_counted_since_is_not_counted_twice(
    state: MemoryState, model: FakeModel
) -> None:
    service = scorer(state)
    service.decide([Arrival(transaction(1))], model, START)
    state.engine(transaction(1), 3, 55)
    service.decide([Arrival(transaction(2))], model, START)
    assert model.seen[1][0, COUNT] == 2


def test_the_same_transaction_gets_the_same_decision_whoever_asks(
    state: MemoryState, model: FakeModel
) -> None:
    first = scorer(state).decide([Arrival(transaction(1)), Arrival(transaction(1))], model, START)
    again = scorer(state).decide([Arrival(transaction(1), 0, 7)], model, START + timedelta(days=1))
    assert {d.decision for d in [*first, *again]} == {first[0].decision}
    assert [d.duplicate for d in [*first, *again]] == [False, True, True]


def test_a_decision_that_another_process_made_meanwhile_stands(
    state: MemoryState, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs,) = scorer(state).decide([Arrival(transaction(1))], model, START)
    monkeypatch.setattr(
        state,
        "read",
        lambda entities, transactions: Snapshot(
            {view: state.rows[view].read(names) for view, names in entities.items()}, [None]
        ),
    )
    (mine,) = scorer(state).decide([Arrival(transaction(1), 0, 7)], model, START + timedelta(hours=1))
    assert mine.decision == theirs.decision
    assert mine.duplicate


def test_latency_is_measured_from_the_arrival(state: MemoryState, model: FakeModel) -> None:
    (decided,) = scorer(state).decide([Arrival(transaction(1), received=99.75)], model, START)
    assert decided.decision.latency_ms == 250.0
    assert decided.decision.outcome is Outcome.APPROVE


def test_a_remembered_decision_survives_its_encoding(state: MemoryState, model: FakeModel) -> None:
    (decided,) = scorer(state).decide([Arrival(transaction(1, 95_000))], model, START)
    assert decode(encode(decided.decision)) == decided.decision
    assert decided.decision.outcome is Outcome.BLOCK
    assert decided.decision.values()[0] == 950.0
