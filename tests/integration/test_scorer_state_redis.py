"""What the scorer finds in Redis and cannot use: it decides with less, and never fails."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from fraud_scorer import policy_file
from fraud_scorer.service import Arrival, FraudScorer, Serving
from fraud_scorer.store import RedisState
from plinth_contracts.events import TransactionReceived
from plinth_features import spec
from plinth_features.rows import Layout
from plinth_features.store import keys

FEATURES = spec.load(Path(__file__).parents[2] / "feature_repo/compiled/fraud.json")
POLICY = Path(policy_file.__file__).with_name("policy.yaml")
NOW = datetime(2018, 8, 4, 12, tzinfo=UTC)
PAYMENT = TransactionReceived(
    transaction_id="t-1", customer_id="c-1", terminal_id="t-1", amount_minor=5000, event_ts=NOW
)


@pytest.fixture
def scorer(redis_client: redis.Redis) -> FraudScorer:
    state = RedisState(redis_client, FEATURES, ttl_s=60)
    return FraudScorer(FEATURES, policy_file.judge(POLICY, FEATURES.names), state, lambda: 0.0)


def test_a_damaged_row_leaves_the_decision_to_the_rules(
    redis_client: redis.Redis, scorer: FraudScorer
) -> None:
    (view,) = [view for view in FEATURES.views if view.entity == "customer"]
    redis_client.set(keys(Layout(view), [PAYMENT.customer_id])[0], b"no row at all")
    (decided,) = scorer.decide([Arrival(PAYMENT)], Serving(None), NOW).decided
    assert decided.decision.degraded == ("features",)


@pytest.mark.parametrize("damaged", [b"\xc1 no decision", b"", None])
def test_a_damaged_decision_is_made_again(
    redis_client: redis.Redis, scorer: FraudScorer, damaged: bytes | None
) -> None:
    (first,) = scorer.decide([Arrival(PAYMENT)], Serving(None), NOW).decided
    (key,) = redis_client.keys("decision:*")
    redis_client.delete(key)
    if damaged is None:
        redis_client.rpush(key, "a list")
    else:
        redis_client.set(key, damaged)
    (again,) = scorer.decide([Arrival(PAYMENT)], Serving(None), NOW).decided
    assert again.decision.decision_id == first.decision.decision_id
