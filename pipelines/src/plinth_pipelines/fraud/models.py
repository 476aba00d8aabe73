"""The scorers: the published baselines, and the platform's candidate.

Fraud Detection Handbook (2022), chapters 3 and 7; features are scaled for all of them there, which only the
logistic regression notices. XGBoost's "defaults" are those of the time, before version 2: exact splits and a
base score of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

Floats = NDArray[np.float64]
Model = Any


@dataclass(frozen=True)
class CandidateParams:
    """Hyperparameters of the platform's own model, a gradient-boosted tree ensemble."""

    n_estimators: int = 200
    learning_rate: float = 0.1
    max_depth: int = 4
    max_bin: int = 1024
    base_score: float = 0.5
    random_state: int = 0


PUBLISHED: Mapping[str, Callable[[], Model]] = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(random_state=0)),
    "random forest": lambda: RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=-1),
    "xgboost": lambda: XGBClassifier(tree_method="exact", base_score=0.5, random_state=0, n_jobs=1),
    "isolation forest": lambda: IsolationForest(n_estimators=10, random_state=42),
}
"""Unfitted published models by name."""


def candidate(params: CandidateParams) -> Model:
    """The platform's model, unfitted.

    One thread: a second would save a second on an idle machine, and on a busy one XGBoost's threads wait for
    one another ten times as long.
    """
    return XGBClassifier(**asdict(params), n_jobs=1)


def fit(model: Model, X: Floats, y: NDArray[np.int64]) -> Model:
    """The fitted model; unsupervised ones ignore `y`."""
    return model.fit(X, y)


def scores(model: Model, X: Floats) -> Floats:
    """Suspicion of each row, higher meaning more: a probability, or an anomaly score of a forest."""
    if isinstance(model, IsolationForest):
        return np.asarray(-model.score_samples(X), dtype=np.float64)
    return np.asarray(model.predict_proba(X)[:, 1], dtype=np.float64)
