"""What the caller of the HTTP API is told of a decision."""

from __future__ import annotations

from msgspec import Struct

from fraud_scorer.core.decision import Decision, Version
from fraud_scorer.core.policy import Judge
from plinth_contracts.events import Outcome

FIRED, PASSED, NOT_EVALUATED = "fired", "passed", "not_evaluated"


class RuleAnswer(Struct, frozen=True):
    """A rule and what came of it: fired, passed, or not_evaluated where its feature could not be read."""

    name: str
    outcome: str


class Reason(Struct, frozen=True):
    """Why, as a code and as a sentence that a customer may be told."""

    code: str
    text: str


class Contribution(Struct, frozen=True):
    """What a feature added to the score of a model, in log-odds."""

    feature: str
    log_odds: float


class ModelAnswer(Struct, frozen=True, kw_only=True):
    """A model and its score; `members` are the scores behind it, by name."""

    name: str
    version: str
    score: float
    members: dict[str, float]
    contributions: tuple[Contribution, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """A decision. `models` is empty where rules decided alone; `reasons` where nothing spoke against it."""

    decision_id: str
    transaction_id: str
    outcome: Outcome
    score: float
    rule_score: float
    reasons: tuple[Reason, ...]
    rules: tuple[RuleAnswer, ...]
    models: tuple[ModelAnswer, ...]
    let_through: bool
    policy: str
    features_fingerprint: str | None
    latency_ms: float
    duplicate: bool
    degraded: tuple[str, ...]


class Answers:
    """Makes answers under a policy. `known`: how many features are the request's own and never lack."""

    def __init__(self, judge: Judge, known: int) -> None:
        self._policy = judge.policy
        self._always = {
            rule.name for rule, sure in zip(judge.rules, judge.evaluable(known), strict=True) if sure
        }

    def of(self, decision: Decision, *, duplicate: bool) -> Answer:
        """The answer for a decision; `duplicate` when the transaction had been decided before."""
        model = decision.model
        return Answer(
            decision_id=decision.decision_id,
            transaction_id=decision.transaction_id,
            outcome=decision.outcome,
            score=decision.score,
            rule_score=decision.rule_score,
            reasons=tuple([Reason(code, self._policy.reasons.get(code, code)) for code in decision.reasons]),
            rules=self._rules(decision),
            models=() if model is None else (_model(decision, model),),
            let_through=decision.let_through,
            policy=decision.policy,
            features_fingerprint=None if model is None else model.fingerprint,
            latency_ms=decision.latency_ms,
            duplicate=duplicate,
            degraded=decision.degraded,
        )

    def _rules(self, decision: Decision) -> tuple[RuleAnswer, ...]:
        """Of a decision under another policy only what fired is known."""
        if decision.policy != self._policy.version:
            return tuple([RuleAnswer(name, FIRED) for name in decision.rules])
        evaluated = {rule.name for rule in self._policy.rules} if decision.features else self._always
        came_of = dict.fromkeys(evaluated, PASSED) | dict.fromkeys(decision.rules, FIRED)
        return tuple(
            [RuleAnswer(rule.name, came_of.get(rule.name, NOT_EVALUATED)) for rule in self._policy.rules]
        )


def _model(decision: Decision, model: Version) -> ModelAnswer:
    return ModelAnswer(
        name=model.name,
        version=model.version,
        score=decision.score,
        members=dict(decision.members),
        contributions=tuple([Contribution(*pair) for pair in decision.contributions]),
    )
