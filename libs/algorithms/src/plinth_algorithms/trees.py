"""An additive ensemble of regression trees as flat arrays.

    f(x) = base + sum_t value(leaf of x in tree t)

At an inner node x goes left when x[feature] < threshold, else right, compared in float32: what XGBoost does,
and what ONNX calls BRANCH_LT. NaN goes right.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAF = -1


@dataclass(frozen=True)
class Trees:
    """All nodes of an ensemble, one entry a node; children and roots are positions in these arrays.

    roots: [trees]; feature: column tested, `LEAF` at leaves; threshold: float32; left, right: children,
    0 at leaves; value: of leaves, 0 elsewhere; cover: training weight that reached the node; base: constant.
    """

    roots: Ints
    feature: Ints
    threshold: NDArray[np.float32]
    left: Ints
    right: Ints
    value: Floats
    cover: Floats
    base: float = 0.0

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        for name in ("threshold", "left", "right", "value", "cover"):
            if len(getattr(self, name)) != nodes:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {nodes} nodes")
        inner = self.feature != LEAF
        children = np.concatenate([self.left[inner], self.right[inner]])
        reached = np.bincount(np.concatenate([self.roots, children]), minlength=nodes)
        if not len(self.roots) or len(reached) > nodes or (reached != 1).any():
            raise ValueError("every node must be the root of a tree or the child of one node")


def predict(trees: Trees, X: NDArray[np.floating]) -> Floats:
    """Sum of base and leaf values (n,) for rows X [n, features]; ValueError if X has too few columns."""
    rows = as_rows(X, int(trees.feature.max()) + 1)
    return trees.base + _sum_of_leaves(
        trees.roots, trees.feature, trees.threshold, trees.left, trees.right, trees.value, rows
    )


def as_rows(X: NDArray[np.floating], columns: int) -> NDArray[np.float32]:
    """X as contiguous float32 [n, features]; ValueError unless it has at least that many columns."""
    rows = np.ascontiguousarray(X, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] < columns:
        raise ValueError(f"X must be 2-D with at least {columns} columns, got shape {rows.shape}")
    return rows


def tree_of_node(trees: Trees) -> Ints:
    """Number of the tree that each node belongs to."""
    owner = np.full(len(trees.feature), -1, dtype=np.int64)
    level, tree = trees.roots, np.arange(len(trees.roots))
    while len(level):
        owner[level] = tree
        inner = trees.feature[level] != LEAF
        level, tree = level[inner], tree[inner]
        level, tree = np.concatenate([trees.left[level], trees.right[level]]), np.concatenate([tree, tree])
    return owner


@numba.njit(cache=True)
def _sum_of_leaves(
    roots: Ints,
    feature: Ints,
    threshold: NDArray[np.float32],
    left: Ints,
    right: Ints,
    value: Floats,
    rows: NDArray[np.float32],
) -> Floats:
    total = np.zeros(len(rows))
    for i in range(len(rows)):
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = left[node] if rows[i, feature[node]] < threshold[node] else right[node]
            total[i] += value[node]
    return total
