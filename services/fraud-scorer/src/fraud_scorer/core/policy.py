"""The policy: which rules fire, how suspicious is too suspicious, and what a customer may be told.

A rule, and the condition of a context, is a comparison of one feature with a number, so that rules see what
models see, and a new one needs no code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from plinth_contracts.events import Outcome
from plinth_contracts.model import Thresholds

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Levels = NDArray[np.int64]

ORDER = (Outcome.APPROVE, Outcome.MONITOR, Outcome.STEP_UP, Outcome.BLOCK)
"""Outcomes from mildest to strictest; a level is a position in it."""
BLOCK = ORDER.index(Outcome.BLOCK)
UNEXPLAINED = "pattern"
"""Reason of a decision that neither a rule nor a named feature explains."""

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Weight = Annotated[float, Meta(gt=0.0, le=1.0)]


class PolicyError(ValueError):
    """A policy that cannot be followed; the text says what to change."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fires where `feature` is above `above` and adds `weight` to the rule score. `reason`: its code."""

    name: Name
    weight: Weight
    feature: str
    above: float
    reason: Name


class Context(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where `feature` is above `above` and at most `at_most`, the model's thresholds are multiplied by
    `factor`: below 1 is stricter."""

    name: Name
    feature: str
    above: float | None = None
    at_most: float | None = None
    factor: Annotated[float, Meta(gt=0.0, le=100.0)]


class LetThrough(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Share of the transactions to be blocked, up to an amount in minor units, that chance lets pass.

    Only they show what blocking costs: a blocked transaction never gets a label.
    """

    share: Annotated[float, Meta(ge=0.0, lt=1.0)]
    at_most_minor: Annotated[int, Meta(ge=0)]


class Explains(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features, as shell patterns, whose contribution to a score is told as this reason."""

    features: tuple[str, ...]
    reason: Name


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy file.

    `rule_thresholds` cut the rule score, the model's own thresholds its score; the stricter outcome counts.
    `reasons` are texts by code, fit to be told to a customer.
    """

    version: Annotated[str, Meta(min_length=1, max_length=64)]
    rules: tuple[Rule, ...]
    rule_thresholds: Thresholds
    contexts: tuple[Context, ...] = ()
    let_through: LetThrough = LetThrough(share=0.0, at_most_minor=0)
    explains: tuple[Explains, ...] = ()
    reasons: Mapping[str, str]

    def __post_init__(self) -> None:
        names = [*[rule.name for rule in self.rules], *[context.name for context in self.contexts]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names are used twice: {', '.join(twice)}")
        said = {UNEXPLAINED, *[rule.reason for rule in self.rules], *[part.reason for part in self.explains]}
        if said - self.reasons.keys():
            raise ValueError(f"reasons without a text: {', '.join(sorted(said - self.reasons.keys()))}")


class Verdicts(NamedTuple):
    """What the policy makes of n transactions.

    level: [n] position in ORDER; rule_score: [n] in [0, 1]; fired: [n, rules].
    """

    level: Levels
    rule_score: Floats
    fired: Bools


class Judge:
    """A policy over features of these names, in this order. Raises PolicyError when it names another one.

    `rules`: in the order of `fired`. `key`: a secret without which nobody can tell whom chance lets through.
    """

    def __init__(self, policy: Policy, names: Sequence[str], key: bytes = b"") -> None:
        self.policy = policy
        self._key = key
        self.rules = policy.rules
        self._names = names
        position = {name: at for at, name in enumerate(names)}
        named = {*[rule.feature for rule in policy.rules], *[context.feature for context in policy.contexts]}
        unknown = sorted(named - position.keys())
        if unknown:
            raise PolicyError(f"policy {policy.version}: no feature is called {', '.join(unknown)}")
        self._rule_at = np.array([position[rule.feature] for rule in policy.rules], dtype=np.int64)
        self._above = np.array([rule.above for rule in policy.rules])
        self._weights = np.array([rule.weight for rule in policy.rules])
        self._by_weight = sorted(range(len(policy.rules)), key=lambda rule: -policy.rules[rule].weight)
        self._contexts = [(position[context.feature], context) for context in policy.contexts]
        self._reason_of = [_reason_of(policy, name) for name in names]

    def evaluable(self, known: int) -> Bools:
        """[rules]: which rules need no more than the first `known` features."""
        return self._rule_at < known

    def judge(
        self, features: Floats, known: int, scores: Floats | None, thresholds: Thresholds | None
    ) -> Verdicts:
        """Verdicts on [n, names] features, of which the first `known` can be relied on.

        scores: [n] in [0, 1] with the model's thresholds, or None without a model.
        """
        fired = (features[:, self._rule_at] > self._above) & self.evaluable(known)
        rule_score = np.minimum(fired @ self._weights, 1.0).round(6)
        level = _level(rule_score[:, None], _steps(self.policy.rule_thresholds))
        if scores is not None and thresholds is not None:
            factor = self._factor(features, known)
            level = np.maximum(level, _level(scores[:, None], _steps(thresholds) * factor[:, None]))
        return Verdicts(level, rule_score, fired)

    def reasons(self, fired: Sequence[bool], contributions: Sequence[tuple[int, float]]) -> tuple[str, ...]:
        """Codes, the weightiest first: of the rules that fired, then of what raised the score most.

        contributions: (position of the feature, contribution), the largest first.
        """
        codes = [self.rules[rule].reason for rule in self._by_weight if fired[rule]]
        codes += [self._reason_of[at] for at, value in contributions if value > 0]
        return tuple(dict.fromkeys(codes)) or (UNEXPLAINED,)

    def lets_through(self, transaction_id: str, amount_minor: int) -> bool:
        """Whether chance lets a transaction pass that is to be blocked; the same whenever it is asked."""
        rule = self.policy.let_through
        return amount_minor <= rule.at_most_minor and draw(transaction_id, self._key) < rule.share

    def block_propensity(self, amount_minor: int) -> float:
        """Probability that a transaction of this amount that is to be blocked is blocked."""
        rule = self.policy.let_through
        return 1.0 - rule.share if amount_minor <= rule.at_most_minor else 1.0

    def _factor(self, features: Floats, known: int) -> Floats:
        factor = np.ones(len(features))
        for at, context in self._contexts:
            if at >= known:
                continue
            value = features[:, at]
            applies = np.ones(len(features), dtype=bool)
            if context.above is not None:
                applies &= value > context.above
            if context.at_most is not None:
                applies &= value <= context.at_most
            factor[applies] *= context.factor
        return factor


def draw(transaction_id: str, key: bytes = b"") -> float:
    """A number in [0, 1) that looks random and is the same for the same transaction and key everywhere."""
    digest = hashlib.blake2b(
        transaction_id.encode(), digest_size=8, key=key[: hashlib.blake2b.MAX_KEY_SIZE], person=b"let-through"
    ).digest()
    return int.from_bytes(digest, "little") / 2**64


def _steps(thresholds: Thresholds) -> Floats:
    return np.array([thresholds.monitor, thresholds.step_up, thresholds.block])


def _level(scores: Floats, steps: Floats) -> Levels:
    """[n] how many of the steps ([3] or [n, 3], rising) each of [n, 1] scores reaches."""
    level: Levels = (scores >= steps).sum(axis=1)
    return level


def _reason_of(policy: Policy, name: str) -> str:
    for part in policy.explains:
        if any(fnmatchcase(name, pattern) for pattern in part.features):
            return part.reason
    return UNEXPLAINED
