"""Deciding: features right after each transaction, one decision per transaction, whatever is away."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import pytest
from fakes_scorer import FEATURES, START, FakeModel, MemoryState, policy, scorer, transaction

from fraud_scorer.core.decision import decision_id, decode, encode, prediction_logs
from fraud_scorer.core.policy import LetThrough
from fraud_scorer.service import MAX_DEBTS, Arrival, Scores, Serving
from plinth_contracts.events import Outcome
from plinth_contracts.model import Thresholds

COUNT = FEATURES.names.index("customer_tx_count_1d")
COUNT_60S = FEATURES.names.index("customer_tx_count_60s")
MEAN = FEATURES.names.index("customer_amount_mean_1d")


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def test_a_batch_counts_each_customers_earlier_transactions_of_the_batch(
    state: MemoryState, model: FakeModel
) -> None:
    batch = [
        Arrival(transaction(1, 1000), 0, 10),
        Arrival(transaction(2, 3000, customer="c-2"), 1, 4),
        Arrival(transaction(3, 2000), 0, 11),
    ]
    scorer(state).decide(batch, Serving(model), START)
    assert model.seen[0][:, COUNT].tolist() == [1, 1, 2]
    assert model.seen[0][:, MEAN].tolist() == [10.0, 30.0, 15.0]
    assert model.seen[0][:, 1].tolist() == [1, 1, 1]  # a weekend


@pytest.mark.parametrize("engine_has_counted", [0, 1, 2, 3])
def test_features_do_not_depend_on_how_far_the_engine_is(
    state: MemoryState, model: FakeModel, engine_has_counted: int
) -> None:
    arrivals = [Arrival(transaction(n, 1000 * n, minutes=n), 2, 100 + n) for n in range(1, 4)]
    service = scorer(state)
    service.decide(arrivals[:2], Serving(model), START)
    for arrival in arrivals[:engine_has_counted]:
        state.engine(arrival.transaction, arrival.partition or 0, arrival.offset or 0)
    reads = service.decide(arrivals[2:], Serving(model), START).reads
    assert model.seen[1][0, COUNT] == 3
    assert model.seen[1][0, MEAN] == pytest.approx(20.0)
    found = reads["customer_transactions"]
    assert found[:3] == (1, int(engine_has_counted == 0), max(0, 2 - engine_has_counted))
    assert reads["terminal_labels"] == (1, 1, 0, 0)


@pytest.mark.parametrize("together", [True, False])
def test_payments_of_the_same_millisecond_count_each_other(
    state: MemoryState, model: FakeModel, together: bool
) -> None:
    service = scorer(state)
    arrivals = [Arrival(transaction(n, 100)) for n in range(7)]
    for part in [arrivals] if together else [[arrival] for arrival in arrivals]:
        decided = service.decide(part, Serving(model), START).decided
    assert [row[COUNT_60S] for seen in model.seen for row in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert "velocity_check" in decided[-1].decision.rules
    assert decided[-1].decision.outcome is Outcome.MONITOR
    assert decided[-1].decision.reasons[0] == "many_payments"


def test_an_http_arrival_that_the_engine_has_counted_since_is_not_counted_twice(
    state: MemoryState, model: FakeModel
) -> None:
    service = scorer(state)
    service.decide([Arrival(transaction(1))], Serving(model), START)
    state.engine(transaction(1), 3, 55)
    service.decide([Arrival(transaction(2))], Serving(model), START)
    assert model.seen[1][0, COUNT] == 2


def test_the_same_transaction_gets_the_same_decision_whoever_asks(
    state: MemoryState, model: FakeModel
) -> None:
    twice = [Arrival(transaction(1)), Arrival(transaction(1))]
    first = scorer(state).decide(twice, Serving(model), START).decided
    later = START + timedelta(days=1)
    again = scorer(state).decide([Arrival(transaction(1), 0, 7)], Serving(model), later).decided
    assert {d.decision.decision_id for d in [*first, *again]} == {first[0].decision.decision_id}
    assert {d.decision.known_ts for d in [*first, *again]} == {START}
    assert [d.duplicate for d in [*first, *again]] == [False, True, True]


def test_a_decision_that_another_process_made_meanwhile_stands(state: MemoryState, model: FakeModel) -> None:
    (theirs,) = scorer(state).decide([Arrival(transaction(1))], Serving(model), START).decided
    state.forgets = True
    later = START + timedelta(hours=1)
    (mine,) = scorer(state).decide([Arrival(transaction(1), 0, 7)], Serving(model), later).decided
    assert mine.decision == theirs.decision
    assert mine.duplicate


def test_latency_is_measured_from_the_arrival(state: MemoryState, model: FakeModel) -> None:
    arrival = Arrival(transaction(1), received=99.75)
    (decided,) = scorer(state).decide([arrival], Serving(model), START).decided
    assert decided.decision.latency_ms == 250.0
    assert decided.decision.outcome is Outcome.APPROVE


def test_only_what_is_not_approved_is_explained(state: MemoryState, model: FakeModel) -> None:
    batch = [Arrival(transaction(n, amount)) for n, amount in enumerate((1_000, 95_000, 2_000, 60_000))]
    decided = scorer(state).decide(batch, Serving(model), START).decided
    assert model.explained == [2]
    assert [d.decision.outcome.value for d in decided] == ["approve", "block", "approve", "step_up"]
    assert decided[0].decision.contributions == ()
    assert decided[0].decision.reasons == ()
    assert decided[1].decision.contributions[0] == ("amount", 9.5)
    assert decided[1].decision.reasons == ("amount_unusual",)
    assert decided[1].decision.members == (("trees", 0.95), ("forest", 0.475))


def test_shadows_score_the_same_features_and_decide_nothing(state: MemoryState, model: FakeModel) -> None:
    stricter = FakeModel("2", factor=10.0, thresholds=Thresholds(0.4, 0.5, 0.6))
    serving = Serving(model, [("shadow", stricter), ("shadow-b", FakeModel("3", factor=0.0))])
    (one,) = scorer(state).decide([Arrival(transaction(1, 5_500))], serving, START).decided
    assert (one.decision.outcome, one.decision.score) == (Outcome.APPROVE, 0.055)
    logs = list(prediction_logs(one.decision, one.transaction, FEATURES.names))
    assert [(log.variant, log.model_version, log.score, log.decision) for log in logs] == [
        ("champion", "1", 0.055, "approve"),
        ("shadow", "2", 0.55, "step_up"),
        ("shadow-b", "3", 0.0, "approve"),
    ]
    assert len({log.prediction_id for log in logs}) == 3
    assert logs[0].prediction_id == one.decision.decision_id
    assert logs[0].features == logs[1].features
    assert logs[0].features["amount"] == 55.0


def test_without_a_model_rules_decide_on_all_features(state: MemoryState) -> None:
    batch = [Arrival(transaction(n, 2_000_000)) for n in range(6)]
    decided = scorer(state).decide(batch, Serving(None), START).decided
    last = decided[-1].decision
    assert (last.score, last.model, last.degraded) == (0.0, None, ("model",))
    assert last.rules == ("high_amount", "velocity_check")
    assert last.outcome is Outcome.STEP_UP
    assert list(prediction_logs(last, decided[-1].transaction, FEATURES.names)) == []


def test_while_the_state_is_away_rules_decide_on_the_request_and_the_decision_stands_later(
    state: MemoryState, model: FakeModel
) -> None:
    service = scorer(state)
    state.away = True
    batch = [Arrival(transaction(n, 2_000_000)) for n in range(8)]
    (first, *_, last) = service.decide(batch, Serving(model), START).decided
    assert model.seen == []
    assert (last.decision.degraded, last.decision.features) == (("features",), b"")
    assert (last.decision.rules, last.decision.rule_score) == (("high_amount",), 0.3)
    (again,) = service.decide(batch[:1], Serving(model), START + timedelta(seconds=1)).decided
    assert (again.decision, again.duplicate) == (first.decision, True)
    state.away = False
    (other,) = service.decide([Arrival(transaction(99))], Serving(model), START).decided
    assert other.decision.degraded == ()
    assert state.decisions["tx-0"] == first.decision
    (asked,) = scorer(state).decide(batch[:1], Serving(model), START).decided
    assert (asked.decision, asked.duplicate) == (first.decision, True)


def test_a_claim_that_fails_leaves_the_decision_that_was_made(state: MemoryState, model: FakeModel) -> None:
    state.claims_fail = True
    service = scorer(state)
    (one,) = service.decide([Arrival(transaction(1))], Serving(model), START).decided
    assert (one.decision.degraded, one.decision.score) == ((), 0.05)
    state.claims_fail = False
    (again,) = service.decide([Arrival(transaction(1))], Serving(model), START).decided
    assert (again.decision, again.duplicate) == (one.decision, True)
    assert state.decisions["tx-1"] == one.decision


def test_a_shadow_that_fails_is_left_out(state: MemoryState, model: FakeModel) -> None:
    class Broken(FakeModel):
        def score(self, features: object) -> Scores:
            raise RuntimeError("no such input")

    serving = Serving(model, [("shadow", Broken("2")), ("shadow-b", FakeModel("3"))])
    (one,) = scorer(state).decide([Arrival(transaction(1))], serving, START).decided
    assert [shadow.variant for shadow in one.decision.shadows] == ["shadow-b"]


def test_what_is_owed_to_the_state_is_bounded(
    state: MemoryState, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_DEBTS >= 10_000
    monkeypatch.setattr("fraud_scorer.service.MAX_DEBTS", 3)
    state.away = True
    service = scorer(state)
    service.decide([Arrival(transaction(n)) for n in range(5)], Serving(model), START)
    state.away = False
    service.decide([Arrival(transaction(9))], Serving(model), START)
    assert sorted(state.decisions) == ["tx-2", "tx-3", "tx-4", "tx-9"]


def test_chance_lets_some_of_what_is_to_be_blocked_pass_and_says_so(
    state: MemoryState, model: FakeModel
) -> None:
    chance = policy(let_through=LetThrough(share=0.25, at_most_minor=95_000))
    batch = [Arrival(transaction(n, 95_000, customer=f"c-{n}")) for n in range(400)]
    batch.append(Arrival(transaction(1000, 95_001)))
    *small, large = [d.decision for d in scorer(state, chance).decide(batch, Serving(model), START).decided]
    passed = [d for d in small if d.let_through]
    assert 65 < len(passed) < 135  # 100 expected, standard deviation 9
    assert {(d.outcome, d.propensity) for d in passed} == {(Outcome.APPROVE, 0.25)}
    assert {(d.outcome, d.propensity) for d in small if not d.let_through} == {(Outcome.BLOCK, 0.75)}
    assert all(d.reasons for d in passed)
    assert (large.outcome, large.propensity) == (Outcome.BLOCK, 1.0)


def test_a_remembered_decision_survives_its_encoding(state: MemoryState, model: FakeModel) -> None:
    serving = Serving(model, [("shadow", FakeModel("2"))])
    (decided,) = scorer(state).decide([Arrival(transaction(1, 95_000))], serving, START).decided
    assert decode(encode(decided.decision)) == decided.decision
    assert decided.decision.values()[0] == 950.0


@pytest.mark.parametrize("moment", [START, datetime(1969, 1, 1), datetime(9999, 1, 1)])
def test_a_decision_id_is_a_uuid7_of_its_transaction(moment: datetime) -> None:
    ms = round(moment.timestamp() * 1000)
    ids = {decision_id(f"tx-{n}", ms) for n in range(1000)}
    assert len(ids) == 1000
    assert {uuid.UUID(i).version for i in ids} == {7}
    assert {uuid.UUID(i).variant for i in ids} == {uuid.RFC_4122}
    assert decision_id("tx-1", ms) in ids
    if ms > 0:
        assert {uuid.UUID(i).int >> 80 for i in ids} == {ms}
        assert decision_id("tx-1", ms) < decision_id("tx-1", ms + 1)


@pytest.mark.parametrize("first", [True, False])
def test_what_somebody_else_decided_counts_in_its_place_of_the_log(
    state: MemoryState, model: FakeModel, first: bool
) -> None:
    theirs = Arrival(transaction(1, 1000), 0, 10 if first else 12, decided=True)
    mine = Arrival(transaction(2, 3000), 0, 11)
    batch = [theirs, mine] if first else [mine, theirs]
    decided = scorer(state).decide(batch, Serving(model), START).decided
    assert [d.transaction.transaction_id for d in decided] == ["tx-2"]
    assert model.seen[0][:, [COUNT, MEAN]].tolist() == [[2, 20.0] if first else [1, 30.0]]
    assert list(state.decisions) == ["tx-2"]


@pytest.mark.parametrize("seed", range(20))
def test_features_are_the_same_whoever_decides_the_others(seed: int) -> None:
    """Decided elsewhere or here, in whatever batches: what comes after sees the same."""
    chance = Random(seed)
    log = [
        Arrival(transaction(n, 100 * n, customer=f"c-{chance.randrange(6)}", minutes=n), 0, n)
        for n in range(40)
    ]
    theirs = [chance.random() < 0.5 for _ in log]

    def features_of(stream: Sequence[Arrival]) -> dict[str, bytes]:
        state, model = MemoryState(), FakeModel()
        one, left = scorer(state), list(stream)
        while left:
            size = chance.randint(1, 12)
            one.decide(left[:size], Serving(model), START)
            del left[:size]
        return {name: decision.features for name, decision in state.decisions.items()}

    all_mine = features_of(log)
    some = features_of([one._replace(decided=yes) for one, yes in zip(log, theirs, strict=True)])
    assert len(some) == theirs.count(False)
    assert some == {name: all_mine[name] for name in some}


def test_rows_that_are_ahead_of_a_transaction_are_counted(state: MemoryState, model: FakeModel) -> None:
    state.engine(transaction(2), 0, 11)
    reads = scorer(state).decide([Arrival(transaction(1), 0, 10)], Serving(model), START).reads
    assert (reads["customer_transactions"].ahead, reads["terminal_labels"].ahead) == (1, 0)
