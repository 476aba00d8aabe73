"""Tree ensembles of an ONNX model: `Trees` to a TreeEnsembleRegressor node and back.

The node sums leaf values; a row goes left when x < threshold (BRANCH_LT). The covers, which ONNX has no
place for, are kept in `nodes_hitrates`, which runtimes ignore: so a model can be explained from its file.

Source: ONNX operators, ai.onnx.ml, TreeEnsembleRegressor version 3. Nothing of the package onnx is imported:
`attributes` goes into `onnx.helper.make_node`, `read` takes a parsed graph.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plinth_algorithms.trees import LEAF, Trees, tree_of_node

OPERATOR = "TreeEnsembleRegressor"


def attributes(trees: Trees) -> dict[str, Any]:
    """Attributes of the node, values and covers in float32, in the order of the nodes of each tree.

    Raises ValueError unless the nodes of each tree lie one after another, its root first.
    """
    owner = tree_of_node(trees)
    first = np.searchsorted(owner, np.arange(len(trees.roots)))
    if (np.diff(owner) < 0).any() or (first != trees.roots).any():
        raise ValueError("the nodes of each tree must lie one after another, its root first")
    number = np.arange(len(owner)) - first[owner]
    inner = trees.feature != LEAF
    leaf = np.flatnonzero(~inner)
    return {
        "n_targets": 1,
        "base_values": [trees.base],
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": owner.tolist(),
        "nodes_nodeids": number.tolist(),
        "nodes_modes": np.where(inner, "BRANCH_LT", "LEAF").tolist(),
        "nodes_featureids": np.where(inner, trees.feature, 0).tolist(),
        "nodes_values": trees.threshold.tolist(),
        "nodes_truenodeids": np.where(inner, number[trees.left], 0).tolist(),
        "nodes_falsenodeids": np.where(inner, number[trees.right], 0).tolist(),
        "nodes_missing_value_tracks_true": [0] * len(owner),
        "nodes_hitrates": trees.cover.astype(np.float32).tolist(),
        "target_treeids": owner[leaf].tolist(),
        "target_nodeids": number[leaf].tolist(),
        "target_ids": [0] * len(leaf),
        "target_weights": trees.value[leaf].astype(np.float32).tolist(),
    }


def read(graph: Any, name: str) -> Trees:
    """The trees of the node of that name in a parsed graph.

    Raises KeyError without such a node, ValueError for one that `attributes` did not describe.
    """
    node = {node.name: node for node in graph.node}[name]
    found = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type != OPERATOR or "nodes_hitrates" not in found:
        raise ValueError(f"{node.op_type} {name!r} is no {OPERATOR} with covers in nodes_hitrates")
    modes = np.array([mode.decode() for mode in found["nodes_modes"].strings])
    if not np.isin(modes, ["BRANCH_LT", "LEAF"]).all():
        raise ValueError(f"{name!r} branches in other ways than BRANCH_LT")
    owner, number = _ints(found, "nodes_treeids"), _ints(found, "nodes_nodeids")
    roots = np.flatnonzero(number == 0)
    start = roots[owner]
    inner = modes != "LEAF"
    value = np.zeros(len(owner))
    leaf = roots[_ints(found, "target_treeids")] + _ints(found, "target_nodeids")
    value[leaf] = np.array(found["target_weights"].floats, dtype=np.float32)
    return Trees(
        roots=roots,
        feature=np.where(inner, _ints(found, "nodes_featureids"), LEAF),
        threshold=np.array(found["nodes_values"].floats, dtype=np.float32),
        left=np.where(inner, start + _ints(found, "nodes_truenodeids"), 0),
        right=np.where(inner, start + _ints(found, "nodes_falsenodeids"), 0),
        value=value,
        cover=np.array(found["nodes_hitrates"].floats, dtype=np.float64),
        base=float(found["base_values"].floats[0]),
    )


def _ints(found: Mapping[str, Any], name: str) -> NDArray[np.int64]:
    return np.array(found[name].ints, dtype=np.int64)
