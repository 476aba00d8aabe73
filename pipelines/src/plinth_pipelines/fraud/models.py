"""The scorers with published figures, as they were: what the platform's own model is measured against.

Fraud Detection Handbook (2022), chapters 3 and 7; features are scaled for all of them there, which only the
logistic regression notices. XGBoost's "defaults" are those of the time, before version 2: exact splits and a
base score of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


PUBLISHED: Mapping[str, Callable[[], Model]] = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(random_state=0)),
    "random forest": lambda: RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=-1),
    "xgboost": lambda: XGBClassifier(tree_method="exact", base_score=0.5, random_state=0, n_jobs=1),
    "xgboost, 28 days": lambda: XGBClassifier(
        n_estimators=200,
        learning_rate=0.1,
        max_depth=4,
        max_bin=1024,
        base_score=0.5,
        random_state=0,
        n_jobs=1,
    ),
    "isolation forest": lambda: IsolationForest(n_estimators=10, random_state=42),
}
"""Unfitted published models by name."""


def fit(model: Model, X: Floats, y: NDArray[np.int64]) -> Model:
    """The fitted model; unsupervised ones ignore `y`."""
    return model.fit(X, y)


def scores(model: Model, X: Floats) -> Floats:
    """Suspicion of each row, higher meaning more: a probability, or an anomaly score of a forest."""
    if isinstance(model, IsolationForest):
        return np.asarray(-model.score_samples(X), dtype=np.float64)
    return np.asarray(model.predict_proba(X)[:, 1], dtype=np.float64)
