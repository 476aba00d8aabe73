"""Rules, thresholds, contexts and chance: from features and scores to a verdict."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_scorer import policy_file
from fraud_scorer.core.policy import (
    BLOCK,
    ORDER,
    Context,
    Explains,
    Judge,
    LetThrough,
    Policy,
    PolicyError,
    Rule,
    Thresholds,
    draw,
)
from plinth_features import spec
from plinth_kit.settings import SettingsError

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "services/fraud-scorer/src/fraud_scorer/policy.yaml"
NAMES = ("amount", "night", "count_60s", "km", "new")
LIMITS = Thresholds(0.1, 0.5, 0.9)


def policy(**changes: object) -> Policy:
    rules = (
        Rule(name="high_amount", weight=0.3, feature="amount", above=10_000, reason="much"),
        Rule(name="velocity_check", weight=0.4, feature="count_60s", above=5, reason="fast"),
        Rule(name="location_anomaly", weight=0.2, feature="km", above=200, reason="far"),
        Rule(name="new_merchant", weight=0.1, feature="new", above=0, reason="new"),
    )
    values: dict[str, object] = {
        "version": "7",
        "rules": rules,
        "rule_thresholds": Thresholds(0.3, 0.6, 0.9),
        "explains": (Explains(features=("amount", "co*"), reason="habit"),),
        "reasons": dict.fromkeys(("much", "fast", "far", "new", "habit", "pattern"), "Text."),
    }
    return Policy(**{**values, **changes})  # type: ignore[arg-type]


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def outcomes(judge: Judge, features: np.ndarray, scores: list[float], known: int = 5) -> list[str]:
    verdicts = judge.judge(features, known, np.array(scores), LIMITS)
    return [ORDER[level].value for level in verdicts.level]


def test_the_rule_score_is_the_sum_of_the_weights_of_the_rules_that_fire() -> None:
    features = rows(
        (10_000, 0, 5, 200, 0),
        (10_000.01, 0, 5, 200, 0),
        (10_000, 0, 6, 200, 1),
        (10_001, 0, 6, 200.5, 0),
        (10_001, 0, 6, 201, 1),
    )
    verdicts = Judge(policy(), NAMES).judge(features, 5, None, None)
    assert verdicts.rule_score.tolist() == [0.0, 0.3, 0.5, 0.9, 1.0]
    assert verdicts.level.tolist() == [0, 1, 1, 3, 3]
    assert verdicts.fired[2].tolist() == [False, True, False, True]


def test_an_outcome_is_the_strictest_whose_threshold_the_score_reaches() -> None:
    scores = [0.0, 0.1, 0.49, 0.5, 0.9, 1.0]
    found = outcomes(Judge(policy(), NAMES), np.zeros((6, 5)), scores)
    assert found == ["approve", "monitor", "monitor", "step_up", "block", "block"]


def test_the_stricter_of_rules_and_model_decides() -> None:
    features = rows((0, 0, 0, 0, 0), (20_000, 0, 9, 0, 0), (20_000, 0, 9, 0, 0))
    assert outcomes(Judge(policy(), NAMES), features, [0.95, 0.0, 0.95]) == ["block", "step_up", "block"]


def test_contexts_that_apply_multiply_the_models_thresholds_and_not_those_of_the_rules() -> None:
    judge = Judge(
        policy(
            contexts=(
                Context(name="large", feature="amount", above=1000, factor=0.5),
                Context(name="night", feature="night", above=0, at_most=1, factor=0.5),
                Context(name="trifle", feature="amount", at_most=1, factor=4.0),
            )
        ),
        NAMES,
    )
    features = rows((500, 0, 0, 0, 0), (1001, 0, 0, 0, 0), (1001, 1, 0, 0, 0), (1, 0, 0, 0, 0))
    assert outcomes(judge, features, [0.3] * 4) == ["monitor", "step_up", "block", "approve"]
    rules = judge.judge(rows((20_000, 1, 0, 0, 0)), 5, None, None)
    assert rules.level.tolist() == [1]


def test_rules_on_what_could_not_be_read_do_not_fire() -> None:
    judge = Judge(policy(), NAMES)
    verdicts = judge.judge(rows((20_000, 0, 9, 999, 1)), 2, None, None)
    assert judge.evaluable(2).tolist() == [True, False, False, False]
    assert verdicts.fired.tolist() == [[True, False, False, False]]
    assert verdicts.rule_score.tolist() == [0.3]


def test_reasons_name_rules_by_weight_then_what_raised_the_score() -> None:
    judge = Judge(policy(), NAMES)
    assert judge.reasons([True, True, False, True], [(0, 2.0)]) == ("fast", "much", "new", "habit")
    assert judge.reasons([False] * 4, [(0, 2.0), (2, 1.0), (3, 0.5)]) == ("habit", "pattern")
    assert judge.reasons([False] * 4, [(0, -2.0)]) == ("pattern",)


def test_chance_lets_the_declared_share_through_and_always_the_same_ones() -> None:
    judge = Judge(policy(let_through=LetThrough(share=0.05, at_most_minor=500)), NAMES)
    ids = [f"tx-{n}" for n in range(20_000)]
    passed = [judge.lets_through(i, 500) for i in ids]
    # 0.05 of 20,000 is 1,000 with a standard deviation of 31
    assert 850 < sum(passed) < 1150
    assert passed == [judge.lets_through(i, 500) for i in ids]
    assert not any(judge.lets_through(i, 501) for i in ids)
    assert (judge.block_propensity(500), judge.block_propensity(501)) == (0.95, 1.0)
    assert 0.49 < np.mean([draw(i) for i in ids]) < 0.51
    keyed = Judge(judge.policy, NAMES, b"secret")
    assert passed != [keyed.lets_through(i, 500) for i in ids]


def test_a_policy_that_names_an_unknown_feature_is_refused() -> None:
    with pytest.raises(PolicyError, match="no feature is called km"):
        Judge(policy(), ("amount", "night", "count_60s", "new"))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("block: 0.9", "block: 0.1", "thresholds must rise"),
        ("above: 5,", "abov: 5,", "unknown field `abov`"),
        ("weight: 0.4", "weight: 4", "<= 1.0"),
        ("weight: 0.4", "weight: a lot", r"\$.rules\[1\].weight"),
        ("reason: many_payments", "reason: nobody_knows", "reasons without a text: nobody_knows"),
        ("name: new_merchant", "name: high_amount", "names are used twice: high_amount"),
        ("version", "\tversion", "cannot start any token"),
    ],
)
def test_a_policy_file_that_does_not_fit_says_where(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = SHIPPED.read_text()
    assert old in text
    file = tmp_path / "policy.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=complaint):
        policy_file.judge(file, NAMES)


def test_the_shipped_policy_fits_the_served_features_and_has_the_required_rules() -> None:
    names = spec.load(ROOT / "feature_repo/compiled/fraud.json").names
    judge = policy_file.judge(SHIPPED, names)
    assert {(r.name, r.weight, r.above) for r in judge.rules if r.name != "location_anomaly"} == {
        ("high_amount", 0.3, 10_000),
        ("velocity_check", 0.4, 5),
        ("new_merchant", 0.1, 0),
    }
    assert {r.name: r.weight for r in judge.rules}["location_anomaly"] == 0.2
    assert BLOCK == 3


def test_the_committed_schema_is_that_of_the_types() -> None:
    assert policy_file.SCHEMA.read_bytes() == policy_file.schema()
    schema = msgspec.json.decode(policy_file.SCHEMA.read_bytes())
    assert schema["$defs"]["Rule"]["additionalProperties"] is False


def test_checking_a_file_by_hand_says_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy_file.main([str(SHIPPED)]) == 0
    assert capsys.readouterr().out == f"{SHIPPED}: policy '1' is valid, 4 rules\n"
    broken = tmp_path / "policy.yaml"
    broken.write_text("version: 1")
    assert policy_file.main([str(broken)]) == 1
    assert capsys.readouterr().err.startswith(f"{broken}: ")
