"""The scorers that an ensemble is made of, each fitted on weighted rows and known by its raw score.

Raw scores are of any scale, higher meaning more suspicious: log-odds of the boosted trees and of the logistic
regression, minus the mean path length of the isolation forest. Rows are float32, as the served model's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from plinth_algorithms import isolation_forest
from plinth_algorithms.isolation_forest import IsolationForest
from plinth_algorithms.trees import LEAF, Trees

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

CLIP = 5.0
"""Standard deviations beyond which a feature says no more to the logistic regression."""

FOREST_TREES = 50


class Member(Protocol):
    """A fitted scorer."""

    @property
    def name(self) -> str:
        """Name in the model's metadata."""
        ...

    def raw(self, X: Rows) -> Floats:
        """Raw scores (n,) of rows (n, features)."""
        ...


@dataclass(frozen=True)
class BoostedParams:
    """Hyperparameters of the boosted trees, all stated, since defaults differ between versions."""

    n_estimators: int = 200
    learning_rate: float = 0.07
    max_depth: int = 5
    max_bin: int = 512
    min_child_weight: float = 5.0
    subsample: float = 0.7
    colsample_bytree: float = 0.5
    base_score: float = 0.5


@dataclass(frozen=True)
class Boosted:
    """XGBoost and the same trees as arrays."""

    model: Any
    trees: Trees
    name: str = "xgboost"

    def raw(self, X: Rows) -> Floats:
        """XGBoost's own margin."""
        return np.asarray(self.model.predict(X, output_margin=True), dtype=np.float64)


@dataclass(frozen=True)
class Linear:
    """coef . clip((x - mean) / scale, -CLIP, CLIP) + intercept"""

    mean: Floats
    scale: Floats
    coef: Floats
    intercept: float
    name: str = "logistic_regression"

    def raw(self, X: Rows) -> Floats:
        """Log-odds."""
        return standardise(X, self.mean, self.scale) @ self.coef + self.intercept


@dataclass(frozen=True)
class Isolated:
    """Minus the mean path length: short ways are suspicious."""

    forest: IsolationForest
    name: str = "isolation_forest"

    def raw(self, X: Rows) -> Floats:
        """Minus the mean path length over the trees."""
        return -isolation_forest.path_lengths(self.forest, X)


def fit_boosted(params: BoostedParams, X: Rows, y: Labels, weight: Floats, seed: int = 0) -> Boosted:
    """XGBoost on one thread: on a busy machine its threads wait for one another ten times as long.

    seed: of the rows and columns that each tree is given.
    """
    model = XGBClassifier(**asdict(params), random_state=seed, tree_method="hist", n_jobs=1)
    model.fit(X, y, sample_weight=weight)
    return Boosted(model, trees_of(model))


def fit_linear(X: Rows, y: Labels, weight: Floats) -> Linear:
    """Logistic regression with an L2 penalty of 1 on standardised features."""
    mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1.0
    model = LogisticRegression(max_iter=1000).fit(standardise(X, mean, scale), y, sample_weight=weight)
    return Linear(mean, scale, np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0]))


def fit_isolation(X: Rows, rng: np.random.Generator) -> Isolated:
    """Isolation forest over all rows, their labels unseen."""
    return Isolated(isolation_forest.fit(X, trees=FOREST_TREES, rng=rng))


def standardise(X: Rows, mean: Floats, scale: Floats) -> Floats:
    """Columns in standard deviations from the mean, clipped."""
    return np.clip((X.astype(np.float64) - mean) / scale, -CLIP, CLIP)


def trees_of(model: Any) -> Trees:
    """The trees of a fitted XGBoost classifier, with the sum of hessians as cover.

    Raises ValueError for trees with categorical splits.
    """
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    parts: Sequence[dict[str, Any]] = learner["gradient_booster"]["model"]["trees"]
    if any(part["categories"] for part in parts):
        raise ValueError("trees with categorical splits cannot be served")
    sizes = [len(part["left_children"]) for part in parts]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    shift = np.repeat(roots, sizes)
    left, right, feature = (
        np.concatenate([np.asarray(part[name], dtype=np.int64) for part in parts])
        for name in ("left_children", "right_children", "split_indices")
    )
    condition, cover = (
        np.concatenate([np.asarray(part[name], dtype=np.float32) for part in parts])
        for name in ("split_conditions", "sum_hessian")
    )
    leaf = left < 0
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    return Trees(
        roots=roots,
        feature=np.where(leaf, LEAF, feature),
        threshold=np.where(leaf, np.float32(0), condition),
        left=np.where(leaf, 0, left + shift),
        right=np.where(leaf, 0, right + shift),
        value=np.where(leaf, condition, 0).astype(np.float64),
        cover=cover.astype(np.float64),
        base=float(np.log(base) - np.log1p(-base)),
    )
