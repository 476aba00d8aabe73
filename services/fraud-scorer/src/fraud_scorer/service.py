"""Use case: decide transactions, each once, whatever way they came, with whatever is there to decide with."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fraud_scorer.core.decision import (
    EXPLAINED_FEATURES,
    Decision,
    Shadow,
    Version,
    decision_id,
    payment_digest,
)
from fraud_scorer.core.features import Features, Reader, Reads
from fraud_scorer.core.policy import BLOCK, ORDER, Judge
from plinth_contracts.events import Outcome, TransactionReceived
from plinth_contracts.model import Thresholds
from plinth_features import projection
from plinth_features.projection import Projected
from plinth_features.spec import FeatureService
from plinth_features.words import Rows

_LOG = logging.getLogger(__name__)

FEATURES, MODEL = "features", "model"
"""What a decision may lack, as told in `degraded`."""
SCORE_DIGITS = 6
MAX_DEBTS, PAID_AT_ONCE = 100_000, 1_000

Float32s = NDArray[np.float32]
Floats = NDArray[np.float64]


class StateAway(Exception):
    """Online features and earlier decisions cannot be reached."""


class Scores(NamedTuple):
    """probability: [n] of fraud; members: [n, members], the scores behind it."""

    probability: Floats
    members: Floats


class Model(Protocol):
    """A scorer of one feature matrix, with what must be known of it."""

    version: Version
    members: tuple[str, ...]
    thresholds: Thresholds

    def score(self, features: Float32s) -> Scores:
        """Scores of [n, features] in the order of the feature service."""
        ...

    def explain(self, features: Float32s) -> Floats:
        """What each feature adds to the score of each row, [n, features] in log-odds."""
        ...


class Serving(NamedTuple):
    """The models at one moment: the one that decides, if any, and those that are only logged, by alias."""

    champion: Model | None
    shadows: Sequence[tuple[str, Model]] = ()


class Snapshot(NamedTuple):
    """What the store knew at one moment: rows by view, and earlier decisions (None: not decided)."""

    rows: Mapping[str, Rows]
    decisions: Sequence[Decision | None]


class State(Protocol):
    """Online features and the decisions made so far. Both calls raise StateAway."""

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        """Rows of the entities by view, in order, and the decisions of the transactions; one round trip."""
        ...

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Make these the decisions of their transactions; where one was made before, that one is returned."""
        ...

    def remember_logged(self, decisions: Sequence[Decision]) -> None:
        """The transactions of these decisions are in the log, as far as the state can be reached."""
        ...


class Arrival(NamedTuple):
    """A transaction and where it came from: its place in the topic, or None over HTTP.

    decided: somebody else has decided it; it counts for those that follow, and gets no decision here.
    """

    transaction: TransactionReceived
    partition: int | None = None
    offset: int | None = None
    received: float = 0.0
    decided: bool = False


class Decided(NamedTuple):
    """The decision in effect for an arrival; `duplicate` when it had been made before.

    other: it was made about another payment under the same id, and is no answer to this one.
    """

    transaction: TransactionReceived
    decision: Decision
    duplicate: bool
    other: bool = False


class Batch(NamedTuple):
    """Decisions in the order of their arrivals, those decided elsewhere left out; what was read, by view."""

    decided: list[Decided]
    reads: Mapping[str, Reads]


class FraudScorer:
    """Decides batches of transactions. Not thread-safe: one per worker loop or request batcher.

    `clock` and `Arrival.received` count seconds on the same scale; latency is the difference.
    """

    def __init__(
        self, features: FeatureService, judge: Judge, state: State, clock: Callable[[], float]
    ) -> None:
        self._judge = judge
        self._state = state
        self._clock = clock
        self._reader = Reader(features)
        self._names = features.names
        # made while the state was away, not claimed yet; a dict is slow to give up its oldest
        self._debts: OrderedDict[str, Decision] = OrderedDict()

    def decide(self, arrivals: Sequence[Arrival], serving: Serving, now: datetime) -> Batch:
        """One decision per arrival, in order; the same for every arrival of the same transaction.

        While the state is away, rules decide on the request alone. Such a decision is remembered here and
        becomes the one in effect when the state is back.
        """
        projected = [projection.transaction(arrival.transaction) for arrival in arrivals]
        asked = [at for at, arrival in enumerate(arrivals) if not arrival.decided]
        mine, seen = [arrivals[at] for at in asked], [projected[at] for at in asked]
        places = [(arrival.partition, arrival.offset) for arrival in arrivals]
        if not asked:
            self._reader.remember(projected, places, self._clock())
            return Batch([], {})
        try:
            self._pay_debts()
            entities = self._reader.entities(seen)
            snapshot = self._state.read(entities, [arrival.transaction.transaction_id for arrival in mine])
            features, reads = self._reader.read(
                projected, places, asked, entities, snapshot.rows, self._clock()
            )
            return Batch(self._decide(mine, seen, snapshot.decisions, features, serving, now), reads)
        except StateAway:
            return Batch(self._decide_alone(mine, seen, now), {})

    def remember_logged(self, decisions: Sequence[Decision]) -> None:
        """See State.remember_logged. Any thread may call it."""
        self._state.remember_logged(decisions)

    def _decide(
        self,
        arrivals: Sequence[Arrival],
        projected: Sequence[Projected],
        earlier: Sequence[Decision | None],
        features: Features,
        serving: Serving,
        now: datetime,
    ) -> list[Decided]:
        made = self._make(_undecided(earlier), arrivals, projected, features, serving, now)
        try:
            claimed = dict(zip(made, self._state.claim(list(made.values())), strict=True))
        except StateAway:  # written or not: claimed again, the decision is the same
            self._owe(made)
            claimed = made
        return _in_order(arrivals, projected, earlier, made, claimed)

    def _decide_alone(
        self, arrivals: Sequence[Arrival], projected: Sequence[Projected], now: datetime
    ) -> list[Decided]:
        earlier = [self._debts.get(arrival.transaction.transaction_id) for arrival in arrivals]
        features = self._reader.of_request(projected)
        made = self._make(_undecided(earlier), arrivals, projected, features, Serving(None), now)
        self._owe(made)
        return _in_order(arrivals, projected, earlier, made, made)

    def _owe(self, made: Mapping[str, Decision]) -> None:
        self._debts.update(made)
        while len(self._debts) > MAX_DEBTS:
            self._debts.popitem(last=False)

    def _pay_debts(self) -> None:
        while self._debts:
            some = list(islice(self._debts.values(), PAID_AT_ONCE))
            self._state.claim(some)
            for decision in some:
                del self._debts[decision.transaction_id]

    def _make(
        self,
        new: Sequence[int],
        arrivals: Sequence[Arrival],
        projected: Sequence[Projected],
        features: Features,
        serving: Serving,
        now: datetime,
    ) -> dict[str, Decision]:
        """Decisions of the arrivals at these positions by transaction, one of each."""
        if not new:
            return {}
        model = serving.champion
        matrix = features.values[new] if len(new) < len(arrivals) else features.values
        seen = matrix.astype(np.float32)
        scores = model.score(seen) if model else None
        basis = (scores.probability, model.thresholds) if model and scores else (None, None)
        verdicts = self._judge.judge(matrix, features.known, *basis)
        shadows = [
            said
            for alias, shadow in serving.shadows
            if (said := self._shadow(alias, shadow, matrix, seen)) is not None
        ]
        explained = self._explain(model, seen, verdicts.level)
        complete = features.known == len(self._names)
        degraded = (FEATURES,) if not complete else (MODEL,) if model is None else ()
        raw, width = seen.tobytes(), seen.itemsize * seen.shape[1]
        probability = scores.probability.round(SCORE_DIGITS).tolist() if scores else [0.0] * len(new)
        members = scores.members.round(SCORE_DIGITS).tolist() if scores else [()] * len(new)
        names = model.members if model else ()
        levels, rule_scores, fired = (part.tolist() for part in verdicts)
        done = self._clock()
        made: dict[str, Decision] = {}
        for i, at in enumerate(new):
            transaction = arrivals[at].transaction
            transaction_id = transaction.transaction_id
            if transaction_id in made:
                continue
            level, propensity, let_through = levels[i], 1.0, False
            if level == BLOCK and not degraded:
                let_through = self._judge.lets_through(transaction_id, transaction.amount_minor)
                propensity = self._judge.block_propensity(transaction.amount_minor)
                if let_through:
                    level, propensity = 0, 1.0 - propensity
            contributions = explained.get(i, ())
            made[transaction_id] = Decision(
                decision_id=decision_id(transaction_id, projected[at].ts_ms),
                transaction_id=transaction_id,
                outcome=ORDER[level],
                score=probability[i],
                model=model.version if model else None,
                members=tuple(zip(names, members[i], strict=True)),
                rule_score=rule_scores[i],
                rules=self._fired(fired[i]),
                reasons=self._judge.reasons(fired[i], contributions) if levels[i] else (),
                contributions=tuple([(self._names[name], value) for name, value in contributions]),
                let_through=let_through,
                propensity=propensity,
                policy=self._judge.policy.version,
                known_ts=now,
                latency_ms=round(max(0.0, done - arrivals[at].received) * 1000, 3),
                features=raw[i * width : (i + 1) * width] if complete else b"",
                shadows=tuple([Shadow(a, v, s[i], o[i]) for a, v, s, o in shadows]),
                degraded=degraded,
                payment=payment_digest(transaction, projected[at].ts_ms),
                logged=arrivals[at].offset is not None,
            )
        return made

    def _fired(self, fired: Sequence[bool]) -> tuple[str, ...]:
        if True not in fired:
            return ()
        return tuple([rule.name for rule, yes in zip(self._judge.rules, fired, strict=True) if yes])

    def _shadow(
        self, alias: str, model: Model, matrix: Floats, seen: Float32s
    ) -> tuple[str, Version, list[float], list[Outcome]] | None:
        """What a shadow says of each row: its score, and what it would decide; None if it fails."""
        try:
            probability = model.score(seen).probability
        except Exception:  # whatever is wrong with a shadow, the champion must go on deciding
            _LOG.exception("shadow %s failed", alias)
            return None
        verdicts = self._judge.judge(matrix, len(self._names), probability, model.thresholds)
        outcomes = [ORDER[level] for level in verdicts.level.tolist()]
        return alias, model.version, probability.round(SCORE_DIGITS).tolist(), outcomes

    def _explain(
        self, model: Model | None, seen: Float32s, level: NDArray[np.int64]
    ) -> dict[int, list[tuple[int, float]]]:
        """The largest contributions (position of the feature, log-odds) of the rows not to be approved."""
        rows = np.flatnonzero(level)
        if model is None or not len(rows):
            return {}
        contributions = model.explain(seen[rows])
        largest = np.argsort(-np.abs(contributions), axis=1)[:, :EXPLAINED_FEATURES]
        values = np.take_along_axis(contributions, largest, axis=1).round(SCORE_DIGITS)
        pairs = zip(rows.tolist(), largest.tolist(), values.tolist(), strict=True)
        return {row: list(zip(names, of_row, strict=True)) for row, names, of_row in pairs}


def _undecided(earlier: Sequence[Decision | None]) -> list[int]:
    """Positions of what nobody has decided."""
    return [at for at, known in enumerate(earlier) if known is None]


def _in_order(
    arrivals: Sequence[Arrival],
    projected: Sequence[Projected],
    earlier: Sequence[Decision | None],
    made: dict[str, Decision],
    claimed: Mapping[str, Decision],
) -> list[Decided]:
    """The decision in effect for each arrival; the first arrival of what was made here is no duplicate."""
    left = dict(made)
    decided = []
    for arrival, seen, known in zip(arrivals, projected, earlier, strict=True):
        transaction = arrival.transaction
        mine = left.pop(transaction.transaction_id, None)
        decision = known or claimed[transaction.transaction_id]
        duplicate = decision is not mine and decision != mine
        other = duplicate and decision.payment not in (b"", payment_digest(transaction, seen.ts_ms))
        decided.append(Decided(transaction, decision, duplicate, other))
    return decided
