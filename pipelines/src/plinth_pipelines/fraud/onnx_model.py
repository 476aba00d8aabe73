"""The served ensemble as one ONNX graph that any ONNX server can run.

    in    features       float32 [N, F]
    out   members        float32 [N, M]   each member's own calibrated probability of fraud
          probabilities  float32 [N, 2]   of a genuine and of a fraudulent transaction

Trees are TreeEnsembleRegressor nodes named as their members, with covers in `nodes_hitrates`: a reader
(`plinth_algorithms.onnx_trees`) rebuilds them for explanations. What is not a tree is worked out in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from plinth_algorithms import onnx_trees
from plinth_algorithms.calibration import Logistic
from plinth_algorithms.trees import Trees
from plinth_contracts.model import FEATURES, MEMBERS, PROBABILITIES
from plinth_pipelines.fraud.ensemble import Ensemble
from plinth_pipelines.fraud.members import CLIP, Boosted, Floats, Isolated, Linear, Member, Rows

TOLERANCE = 1e-6
OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 9
"""The oldest that these operator sets need: servers are updated later than training."""


class _Graph:
    """Nodes and constants of a graph in the making; each method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def op(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [output], name=output, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def trees(self, trees: Trees, name: str) -> str:
        attributes = onnx_trees.attributes(trees)
        total = self.op(onnx_trees.OPERATOR, FEATURES, name=name, domain="ai.onnx.ml", **attributes)
        return self.op("Cast", total, to=TensorProto.DOUBLE)

    def linear(self, member: Linear) -> str:
        x = self.op("Cast", FEATURES, to=TensorProto.DOUBLE)
        x = self.op("Div", self.op("Sub", x, self.constant(member.mean)), self.constant(member.scale))
        x = self.op("Clip", x, self.constant(np.array(-CLIP)), self.constant(np.array(CLIP)))
        return self.affine(x, Logistic(member.coef, member.intercept))

    def raw(self, member: Member) -> str:
        match member:
            case Boosted():
                return self.trees(member.trees, member.name)
            case Isolated():
                return self.op("Neg", self.trees(member.forest.trees, member.name))
            case Linear():
                return self.linear(member)
        raise TypeError(f"no graph for a {type(member).__name__}")

    def affine(self, x: str, logistic: Logistic) -> str:
        weighted = self.op("MatMul", x, self.constant(logistic.weights[:, None]))
        return self.op("Add", weighted, self.constant(np.array([logistic.bias])))

    def probability(self, x: str, logistic: Logistic) -> str:
        return self.op("Sigmoid", self.affine(x, logistic))


def convert(ensemble: Ensemble, n_features: int) -> ModelProto:
    """The graph of a fitted ensemble over rows of `n_features`."""
    graph = _Graph()
    raw = [graph.raw(member) for member in ensemble.members]
    own = [
        graph.probability(x, ensemble.calibration.members[name])
        for x, name in zip(raw, ensemble.names, strict=True)
    ]
    together = raw[0] if len(raw) == 1 else graph.op("Concat", *raw, axis=1)
    fraud = graph.probability(together, ensemble.calibration.combined)
    genuine = graph.op("Sub", graph.constant(np.array(1.0)), fraud)
    both = graph.op("Concat", genuine, fraud, axis=1)
    each = own[0] if len(own) == 1 else graph.op("Concat", *own, axis=1)
    graph.op("Cast", each, name=MEMBERS, to=TensorProto.FLOAT)
    graph.op("Cast", both, name=PROBABILITIES, to=TensorProto.FLOAT)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "fraud",
            [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", n_features])],
            [
                helper.make_tensor_value_info(MEMBERS, TensorProto.FLOAT, ["N", len(own)]),
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", 2]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="plinth",
    )
    checker.check_model(model)
    return model


def run(model: ModelProto, X: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What ONNX Runtime answers for rows: members [rows, members] and probabilities [rows, 2]."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    members, probabilities = session.run([MEMBERS, PROBABILITIES], {FEATURES: X})
    return members, probabilities


def scores(model: ModelProto, X: Rows) -> Floats:
    """Probability of fraud (rows,) as ONNX Runtime answers it."""
    return np.asarray(run(model, X)[1][:, 1], dtype=np.float64)


def check(model: ModelProto, ensemble: Ensemble, X: Rows) -> float:
    """Largest difference from what the ensemble itself says of these rows; ValueError above `TOLERANCE`."""
    members, probabilities = run(model, X)
    difference = max(
        _largest(probabilities[:, 1], ensemble.scores(X)), _largest(members, ensemble.member_scores(X))
    )
    if not difference <= TOLERANCE:
        raise ValueError(f"ONNX differs from the original by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference


def _largest(found: NDArray[np.float32], expected: Floats) -> float:
    return float(np.abs(found - expected).max())
