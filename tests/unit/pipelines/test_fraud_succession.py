"""Who may take the alias from whom."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from plinth_pipelines.fraud import members, onnx_model, succession
from plinth_pipelines.fraud.ensemble import Ensemble, calibrate
from plinth_pipelines.fraud.members import BoostedParams, Floats
from plinth_pipelines.fraud.succession import MAX_LOSS, Present

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3)).astype(np.float32)
Y = (X[:, 0] > 0.5).astype(np.int64)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    lead = members.fit_boosted(BoostedParams(n_estimators=3), X, Y, np.ones(len(Y)))
    return Ensemble((lead,), calibrate({lead.name: lead.raw(X)}, (lead.name,), Y))


def never() -> ModelProto:
    raise AssertionError("nothing is to be compared")


@pytest.mark.parametrize(
    ("precision", "takes"),
    [(0.8, True), (0.7, True), (0.7 - 0.9 * MAX_LOSS, True), (0.7 - 1.1 * MAX_LOSS, False)],
)
def test_the_present_version_is_judged_on_the_same_rows(
    ensemble: Ensemble, precision: float, takes: bool
) -> None:
    seen: list[Floats] = []

    def judge(scores: Floats) -> float:
        seen.append(scores)
        return 0.7

    present = Present(7, "f", lambda: onnx_model.convert(ensemble, X.shape[1]))
    found = succession.decide(present, "f", precision, X, judge)
    assert (found.takes, found.present_precision) == (takes, 0.7)
    assert f"{precision:.4f}, version 7 has 0.7000" in found.why
    np.testing.assert_allclose(seen[0], ensemble.scores(X), atol=onnx_model.TOLERANCE)


def test_nobody_and_who_cannot_be_served_give_way() -> None:
    judge = pytest.fail
    assert succession.decide(None, "f", 0.0, X, judge).takes
    found = succession.decide(Present(7, "other", never), "f", 0.0, X, judge)
    assert (found.takes, found.why) == (True, "version 7 was trained on other features")
