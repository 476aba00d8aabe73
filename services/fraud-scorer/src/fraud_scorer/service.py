"""Use case: decide transactions, each once, whatever way they came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fraud_scorer.core.decision import Decision
from fraud_scorer.core.policy import Thresholds, outcomes
from plinth_contracts.events import FeatureUpdate, TransactionReceived
from plinth_features import projection, request
from plinth_features.rows import Floats, Layout, Rows
from plinth_features.spec import FeatureService

SOURCE = "transaction.received"
OVERLAY_PER_ENTITY, OVERLAY_ENTITIES, OVERLAY_SECONDS = 16, 20_000, 60.0
_UNPLACED = 1 << 62
SCORE_DIGITS = 6


class Model(Protocol):
    """A scorer of one feature matrix, with what must be known of it."""

    version: str
    digest: str
    fingerprint: str
    thresholds: Thresholds

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of fraud [n] for [n, features] in the order of the feature service."""
        ...


class Snapshot(NamedTuple):
    """What the store knew at one moment: rows by view, and earlier decisions (None: not decided)."""

    rows: Mapping[str, Rows]
    decisions: Sequence[Decision | None]


class State(Protocol):
    """Online features and the decisions made so far."""

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        """Rows of the entities by view, in order, and the decisions of the transactions; one round trip."""
        ...

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Make these the decisions of their transactions; where one was made before, that one is returned."""
        ...


class Arrival(NamedTuple):
    """A transaction and where it came from: its place in the topic, or None over HTTP."""

    transaction: TransactionReceived
    partition: int | None = None
    offset: int | None = None
    received: float = 0.0


class Decided(NamedTuple):
    """The decision in effect for an arrival; `duplicate` when it had been made before."""

    transaction: TransactionReceived
    decision: Decision
    duplicate: bool


class Overlay:
    """Events that this process has seen and the rows in the store may lack: the engine runs beside us.

    Bounded: the last 16 events of the last 20,000 entities of each view. An event without a place in the log
    is forgotten after a minute, when the engine has surely counted it.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[str, str], list[tuple[float, FeatureUpdate]]] = OrderedDict()
        self._unplaced = _UNPLACED

    def place(self, arrival: Arrival) -> tuple[int, int]:
        """Partition and offset of an arrival; over HTTP one after all that the log holds."""
        if arrival.partition is not None and arrival.offset is not None:
            return arrival.partition, arrival.offset
        self._unplaced += 1
        return 0, self._unplaced

    def of(self, view: str, entity: str, now: float) -> list[FeatureUpdate]:
        """What was seen of an entity, in order."""
        return [
            update
            for seen, update in self._recent.get((view, entity), ())
            if update.source_offset < _UNPLACED or now - seen < OVERLAY_SECONDS
        ]

    def add(self, update: FeatureUpdate, now: float) -> None:
        """Remember an event."""
        key = (update.view, update.entity)
        self._recent[key] = [*self._recent.pop(key, ()), (now, update)][-OVERLAY_PER_ENTITY:]
        if len(self._recent) > OVERLAY_ENTITIES:
            self._recent.popitem(last=False)


class FraudScorer:
    """Decides batches of transactions. Not thread-safe: one per worker loop or request batcher."""

    def __init__(
        self, features: FeatureService, state: State, new_id: Callable[[], str], clock: Callable[[], float]
    ) -> None:
        self._features = features
        self._layouts = {view.name: Layout(view) for view in features.views}
        self._state = state
        self._new_id = new_id
        self._clock = clock
        self._overlay = Overlay()

    def decide(self, arrivals: Sequence[Arrival], model: Model, now: datetime) -> list[Decided]:
        """One decision per arrival, in order; the same for every arrival of the same transaction.

        `clock` and `Arrival.received` count seconds on the same scale; latency is the difference.
        """
        transactions = [arrival.transaction for arrival in arrivals]
        projected = [projection.transaction(transaction) for transaction in transactions]
        entities = {
            view.name: list(dict.fromkeys(p.entities[view.entity] for p in projected))
            for view in self._features.views
        }
        snapshot = self._state.read(entities, [t.transaction_id for t in transactions])
        features = self._compute(arrivals, projected, entities, snapshot.rows)
        scores = model.score(features.astype(np.float32))
        verdicts = outcomes(scores, model.thresholds)
        done = self._clock()
        made: dict[str, Decision] = {}
        for i, arrival in enumerate(arrivals):
            earlier = snapshot.decisions[i]
            transaction_id = arrival.transaction.transaction_id
            if earlier is None and transaction_id not in made:
                made[transaction_id] = Decision(
                    decision_id=self._new_id(),
                    transaction_id=transaction_id,
                    outcome=verdicts[i],
                    score=round(float(scores[i]), SCORE_DIGITS),
                    model_version=model.version,
                    model_digest=model.digest,
                    feature_fingerprint=model.fingerprint,
                    known_ts=now,
                    latency_ms=round(max(0.0, done - arrival.received) * 1000, 3),
                    features=features[i].astype("<f8").tobytes(),
                )
        claimed = dict(zip(made, self._state.claim(list(made.values())), strict=True))
        decided = []
        for transaction, earlier in zip(transactions, snapshot.decisions, strict=True):
            mine = made.pop(transaction.transaction_id, None)
            decision = earlier or claimed[transaction.transaction_id]
            decided.append(Decided(transaction, decision, decision != mine))
        return decided

    def _compute(
        self,
        arrivals: Sequence[Arrival],
        projected: Sequence[projection.Projected],
        entities: Mapping[str, Sequence[str]],
        rows: Mapping[str, Rows],
    ) -> Floats:
        """Features [arrivals, features] right after each arrival."""
        ts_ms = np.array([p.ts_ms for p in projected], dtype=np.int64)
        amounts = np.array([p.columns["amount_minor"] for p in projected], dtype=np.int64)
        parts = [request.compute(self._features.request, ts_ms, amounts)]
        live = [view for view in self._features.views if view.source == SOURCE]
        updates = [
            projection.updates(live, p, *self._overlay.place(arrival))
            for p, arrival in zip(projected, arrivals, strict=True)
        ]
        for view in self._features.views:
            layout, known = self._layouts[view.name], rows[view.name]
            if view in live:
                mine = [u for per_arrival in updates for u in per_arrival if u.view == view.name]
                parts.append(self._with_overlay(layout, entities[view.name], known, mine))
            else:
                index = {entity: i for i, entity in enumerate(entities[view.name])}
                at = np.array([index[p.entities[view.entity]] for p in projected])
                parts.append(layout.read(known[at], ts_ms))
        return np.hstack(parts)

    def _with_overlay(
        self, layout: Layout, entities: Sequence[str], rows: Rows, updates: Sequence[FeatureUpdate]
    ) -> Floats:
        """Features of a view right after each update, on rows brought up to date with what we have seen."""
        name, now = layout.view.name, self._clock()
        missed = [seen for entity in entities for seen in self._overlay.of(name, entity, now)]
        everything = projection.as_arrays([*missed, *updates], entities)
        for update in updates:
            self._overlay.add(update, now)
        return layout.fold_and_read(rows, everything)[len(missed) :]
