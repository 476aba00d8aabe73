"""Walk-forward selection: which boosted trees, which resampling, and which members earn their place.

Every comparison is made on the last weeks of the training days, each with the label delay of the real test
before it, so that the test days decide nothing. Resampling touches the training part of a fold alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plinth_algorithms import resampling
from plinth_pipelines.fraud import members, protocol
from plinth_pipelines.fraud.ensemble import Calibration, calibrate
from plinth_pipelines.fraud.members import BoostedParams, Floats, Labels, Member, Rows
from plinth_pipelines.fraud.protocol import Evaluation, Split

Resampling = Literal["none", "oversample", "smote", "noise"]
Progress = Callable[[float], None]

RARE_SHARE = 0.3
"""Frauds for each genuine row after oversampling or SMOTE."""

NOISE = 0.02
"""Standard deviations of noise on the copies that `noise` adds."""

LEAD = "xgboost"
MIN_GAIN = 0.002
"""Average precision that a combination must add to earn its place: as much as another seed may move it."""


@dataclass(frozen=True)
class Table:
    """Rows of all days that training looks at. weight: 0 for rows that are only tested on."""

    X: Rows
    y: Labels
    weight: Floats
    cards: NDArray[np.int64]
    day: NDArray[np.int64]

    def evaluate(self, scores: Floats, rows: NDArray[np.bool_]) -> Evaluation:
        """The protocol's figures of scores for the rows of a mask."""
        return protocol.evaluate(scores, self.y[rows], self.cards[rows], self.day[rows])


@dataclass(frozen=True)
class Candidate:
    """Boosted trees and what is done to their training rows."""

    name: str
    params: BoostedParams = field(default_factory=BoostedParams)
    resample: Resampling = "none"


@dataclass(frozen=True)
class Search:
    """What is tried: folds, the weeks walked through; candidates; whether other members are compared."""

    folds: int
    candidates: tuple[Candidate, ...]
    compare_members: bool


CHOSEN = Candidate("200 trees, depth 5")
"""What the full search chose on the simulated payments; the quick one takes it as given."""

_FLAT = BoostedParams(max_depth=4)

GRID = (
    CHOSEN,
    Candidate("200 trees, depth 4", _FLAT),
    Candidate("300 trees, depth 3", BoostedParams(n_estimators=300, learning_rate=0.1, max_depth=3)),
    Candidate("depth 4, oversampled", _FLAT, "oversample"),
    Candidate("depth 4, SMOTE", _FLAT, "smote"),
    Candidate("depth 4, noisy copies", _FLAT, "noise"),
)

FULL = Search(folds=4, candidates=GRID, compare_members=True)
QUICK = Search(folds=1, candidates=(CHOSEN,), compare_members=False)


@dataclass(frozen=True)
class Comparison:
    """One scorer on one test week of the walk, whose first day is test_start (days since 1970)."""

    name: str
    test_start: int
    evaluation: Evaluation


@dataclass(frozen=True)
class Selection:
    """What was found. scores, y: out-of-fold probabilities of the served ensemble, and their labels."""

    candidate: Candidate
    served: tuple[str, ...]
    calibration: Calibration
    comparisons: tuple[Comparison, ...]
    scores: Floats
    y: Labels


def select(table: Table, folds: Sequence[Split], search: Search, seed: int, report: Progress) -> Selection:
    """Walk through the folds with every candidate and member; `report` takes the share of the work done.

    Raises ValueError if a fold lacks frauds.
    """
    work = len(folds) * (len(search.candidates) + search.compare_members)
    raw: dict[str, list[Floats]] = {}
    comparisons: list[Comparison] = []

    def judge(name: str, fold: Split, scores: Floats) -> None:
        raw.setdefault(name, []).append(scores)
        first = int(table.day[fold.test].min())
        comparisons.append(Comparison(name, first, table.evaluate(scores, fold.test)))
        report(min(1.0, sum(len(weeks) for weeks in raw.values()) / work))

    for fold in folds:
        for candidate in search.candidates:
            judge(candidate.name, fold, fit_lead(table, fold.train, candidate, seed).raw(table.X[fold.test]))
    best = max(search.candidates, key=lambda c: mean_precision(comparisons, c.name))
    others: tuple[str, ...] = ()
    if search.compare_members:
        for fold in folds:
            for member in fit_others(table, fold.train, seed):
                judge(member.name, fold, member.raw(table.X[fold.test]))
        others = tuple(name for name in raw if name not in {c.name for c in search.candidates})
    labels = [table.y[fold.test] for fold in folds]
    weeks = {LEAD: raw[best.name], **{name: raw[name] for name in others}}
    served: tuple[str, ...] = (LEAD,)
    if others and len(folds) > 1:
        stacks = _stacks(table, folds, weeks, labels)
        comparisons += stacks
        served = earned(stacks)
    whole = {name: np.concatenate(parts) for name, parts in weeks.items()}
    y = np.concatenate(labels)
    calibration = calibrate(whole, served, y)
    scores = calibration.combined(np.column_stack([whole[name] for name in served]))
    return Selection(best, served, calibration, tuple(comparisons), scores, y)


def fit_lead(table: Table, rows: NDArray[np.bool_], candidate: Candidate, seed: int) -> members.Boosted:
    """The candidate fitted on the resampled rows of a mask."""
    X, y, weight = resample(table, rows, candidate.resample, np.random.default_rng(seed))
    return members.fit_boosted(candidate.params, X, y, weight, seed)


def fit_others(table: Table, rows: NDArray[np.bool_], seed: int) -> tuple[Member, ...]:
    """The floor and the member that needs no labels, fitted on the rows of a mask."""
    X, y, weight = table.X[rows], table.y[rows], table.weight[rows]
    return members.fit_linear(X, y, weight), members.fit_isolation(X, np.random.default_rng(seed))


def resample(
    table: Table, rows: NDArray[np.bool_], kind: Resampling, rng: np.random.Generator
) -> tuple[Rows, Labels, Floats]:
    """Training rows of a mask with more frauds, each new one of weight 1; ValueError without any fraud."""
    X, y, weight = table.X[rows], table.y[rows], table.weight[rows]
    if not 0 < y.sum() < len(y):
        raise ValueError(f"the training days need genuine and fraudulent transactions, of {len(y)} rows")
    ratio = max(RARE_SHARE, y.sum() / (len(y) - y.sum()))
    match kind:
        case "none":
            return X, y, weight
        case "smote":
            mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
            scale[scale == 0] = 1.0
            new = resampling.smote((X - mean) / scale, y, ratio=ratio, rng=rng).X[len(X) :] * scale + mean
        case "oversample":
            new = resampling.oversample(X, y, ratio=ratio, rng=rng).X[len(X) :]
        case "noise":
            new = resampling.add_noise(X[y == 1], scale=NOISE, rng=rng)
    ones = np.ones(len(new))
    return (
        np.concatenate([X, new.astype(np.float32)]),
        np.concatenate([y, ones.astype(np.int64)]),
        np.concatenate([weight, ones]),
    )


def mean_precision(comparisons: Sequence[Comparison], name: str) -> float:
    """Mean average precision of a scorer over its weeks."""
    return float(np.mean([c.evaluation.average_precision for c in comparisons if c.name == name]))


def earned(stacks: Sequence[Comparison]) -> tuple[str, ...]:
    """Members of the best combination if it beats the lead alone by `MIN_GAIN`, else the lead."""
    names = sorted({stack.name for stack in stacks}, key=lambda name: -mean_precision(stacks, name))
    alone = mean_precision(stacks, _stack_name((LEAD,)))
    best = names[0]
    if mean_precision(stacks, best) < alone + MIN_GAIN:
        return (LEAD,)
    return tuple(best.removeprefix(_STACK).split(" + "))


_STACK = "stack: "


def _stack_name(names: Sequence[str]) -> str:
    return _STACK + " + ".join(names)


def _stacks(
    table: Table, folds: Sequence[Split], weeks: Mapping[str, Sequence[Floats]], labels: Sequence[Labels]
) -> list[Comparison]:
    """Every combination with the lead, its weights learnt from the weeks before the one it is tested on."""
    others = [name for name in weeks if name != LEAD]
    found = []
    for size in range(len(others) + 1):
        for names in combinations(others, size):
            chosen = (LEAD, *names)
            for week in range(1, len(folds)):
                past = {name: np.concatenate(weeks[name][:week]) for name in chosen}
                combined = calibrate(past, chosen, np.concatenate(labels[:week])).combined
                scores = combined(np.column_stack([weeks[name][week] for name in chosen]))
                test = folds[week].test
                first = int(table.day[test].min())
                found.append(Comparison(_stack_name(chosen), first, table.evaluate(scores, test)))
    return found
