"""Ensembles through a real ONNX file: read back as they were, and summed alike by ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from plinth_algorithms import isolation_forest, onnx_trees
from plinth_algorithms.trees import Trees, predict

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 4)).astype(np.float32)
TREES = isolation_forest.fit(X, trees=9, subsample=64, rng=RNG).trees


def model(**changes: Any) -> onnx.ModelProto:
    node = helper.make_node(
        onnx_trees.OPERATOR,
        ["features"],
        ["sum"],
        name="forest",
        domain="ai.onnx.ml",
        **{**onnx_trees.attributes(TREES), **changes},
    )
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_a_file_gives_back_its_trees() -> None:
    parsed = onnx.load_from_string(model().SerializeToString())
    found = onnx_trees.read(parsed.graph, "forest")
    for name, expected in vars(TREES).items():
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-7, err_msg=name)


def test_onnx_runtime_sums_the_same_leaves() -> None:
    session = onnxruntime.InferenceSession(model().SerializeToString(), providers=["CPUExecutionProvider"])
    at_thresholds = np.repeat(TREES.threshold[:200, None], 4, axis=1)
    for rows in (X, at_thresholds):
        found = session.run(None, {"features": rows})[0][:, 0]
        np.testing.assert_allclose(found, predict(TREES, rows), rtol=1e-6)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(KeyError):
        onnx_trees.read(model().graph, "another")
    modes = ["BRANCH_LEQ" if m == "BRANCH_LT" else m for m in onnx_trees.attributes(TREES)["nodes_modes"]]
    with pytest.raises(ValueError, match="other ways than BRANCH_LT"):
        onnx_trees.read(model(nodes_modes=modes).graph, "forest")
    bare = model()
    kept = [a for a in bare.graph.node[0].attribute if a.name != "nodes_hitrates"]
    del bare.graph.node[0].attribute[:]
    bare.graph.node[0].attribute.extend(kept)
    with pytest.raises(ValueError, match="no TreeEnsembleRegressor with covers"):
        onnx_trees.read(bare.graph, "forest")


def test_scattered_nodes_are_refused() -> None:
    order = np.arange(len(TREES.feature))[::-1]
    place = np.argsort(order)
    inner = TREES.feature >= 0
    scattered = Trees(
        roots=place[TREES.roots],
        feature=TREES.feature[order],
        threshold=TREES.threshold[order],
        left=np.where(inner, place[TREES.left], 0)[order],
        right=np.where(inner, place[TREES.right], 0)[order],
        value=TREES.value[order],
        cover=TREES.cover[order],
    )
    np.testing.assert_allclose(predict(scattered, X[:5]), predict(TREES, X[:5]))
    with pytest.raises(ValueError, match="one after another"):
        onnx_trees.attributes(scattered)
