"""Stand-ins of the scorer's neighbours: a model, Redis, transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from fraud_scorer import policy_file
from fraud_scorer.core.decision import Decision, Version
from fraud_scorer.core.policy import Judge, LetThrough, Policy
from fraud_scorer.service import FraudScorer, Scores, Snapshot, StateAway
from plinth_contracts.events import TransactionReceived
from plinth_contracts.model import Thresholds
from plinth_features import projection, spec
from plinth_features.rows import Layout
from plinth_features.store import MemoryRows
from plinth_features.words import as_updates

ROOT = Path(__file__).parents[3]
FEATURES = spec.load(ROOT / "feature_repo" / "compiled" / "fraud.json")
SHIPPED = policy_file.load(ROOT / "services/fraud-scorer/src/fraud_scorer/policy.yaml")
START = datetime(2018, 8, 4, 12, tzinfo=UTC)  # a Saturday
NOW = 100.0
AMOUNT = FEATURES.names.index("amount")


def policy(**changes: Any) -> Policy:
    """The shipped policy without chance and contexts, changed."""
    fields = {name: getattr(SHIPPED, name) for name in Policy.__struct_fields__}
    plain = {"let_through": LetThrough(share=0.0, at_most_minor=0), "contexts": ()}
    return Policy(**{**fields, **plain, **changes})


@dataclass
class FakeModel:
    """Scores the amount in thousands, says that the amount alone is why, remembers what it was given."""

    number: str = "1"
    factor: float = 1.0
    members: tuple[str, ...] = ("trees", "forest")
    thresholds: Thresholds = field(default_factory=lambda: Thresholds(0.1, 0.5, 0.9))
    seen: list[NDArray[np.float32]] = field(default_factory=list)
    explained: list[int] = field(default_factory=list)

    @property
    def version(self) -> Version:
        return Version("fraud", self.number, f"sha256:{self.number}", FEATURES.fingerprint)

    def score(self, features: NDArray[np.float32]) -> Scores:
        self.seen.append(features)
        probability = np.clip(self.factor * features[:, AMOUNT].astype(np.float64) / 1000, 0, 1)
        return Scores(probability, np.stack([probability, probability / 2], axis=1))

    def explain(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        self.explained.append(len(features))
        contributions = np.zeros(features.shape)
        contributions[:, AMOUNT] = features[:, AMOUNT] / 100
        return contributions


class MemoryState:
    """Rows and decisions in memory, reachable or not."""

    def __init__(self) -> None:
        self.layouts = {view.name: Layout(view) for view in FEATURES.views}
        self.rows = {name: MemoryRows(layout) for name, layout in self.layouts.items()}
        self.decisions: dict[str, Decision] = {}
        self.away = False
        self.claims_fail = False
        self.forgets = False

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        if self.away:
            raise StateAway
        rows = {view: self.rows[view].read(names) for view, names in entities.items()}
        return Snapshot(rows, [None if self.forgets else self.decisions.get(t) for t in transactions])

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        if self.away or self.claims_fail:
            raise StateAway
        return [self.decisions.setdefault(d.transaction_id, d) for d in decisions]

    def remember_logged(self, decisions: Sequence[Decision]) -> None:
        self.decisions |= {d.transaction_id: replace(d, logged=True) for d in decisions}

    def engine(self, transaction: TransactionReceived, partition: int, offset: int) -> None:
        """What the feature engine does with a transaction."""
        view = FEATURES.view("customer_transactions")
        layout, store = self.layouts[view.name], self.rows[view.name]
        seen = projection.transaction(transaction)
        values = [seen.columns[column] for column in view.columns]
        entity = [seen.entities[view.entity]]
        rows = store.read(entity)
        layout.fold(
            rows, as_updates([(0, seen.event_id, seen.ts_ms, seen.weight, partition, offset, *values)])
        )
        store.write(entity, rows)


def scorer(state: MemoryState, of_policy: Policy | None = None) -> FraudScorer:
    """A scorer whose clock stands at NOW."""
    return FraudScorer(FEATURES, Judge(of_policy or policy(), FEATURES.names), state, lambda: NOW)


def transaction(
    n: int, amount: int = 5000, customer: str = "c-1", minutes: float = 0, **fields: Any
) -> TransactionReceived:
    """Transaction tx-<n> at a terminal of its own time."""
    values = {
        "transaction_id": f"tx-{n}",
        "customer_id": customer,
        "terminal_id": "t-1",
        "amount_minor": amount,
        "event_ts": START + timedelta(minutes=minutes),
    }
    return TransactionReceived(**values | fields)
