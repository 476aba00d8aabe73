"""A fitted tree ensemble as ONNX: `features` float32 [N, F] in, `probabilities` float32 [N, 2] out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

INPUT, OUTPUT = "features", "probabilities"
TOLERANCE = 1e-6


def convert(model: Any, n_features: int) -> Any:
    """ONNX model of a fitted XGBoost classifier, its class labels left out: thresholds decide, not 0.5."""
    converted = convert_xgboost(model, initial_types=[(INPUT, FloatTensorType([None, n_features]))])
    outputs = converted.graph.output
    for output in [o for o in outputs if o.name != OUTPUT]:
        outputs.remove(output)
    return converted


def probabilities(model: Any, X: NDArray[np.float64]) -> NDArray[np.float32]:
    """What ONNX Runtime answers for rows of features, [rows, 2]."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: X.astype(np.float32)})[0], dtype=np.float32)


def check(model: Any, X: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Largest difference from the original's probabilities of fraud (n,); ValueError above `TOLERANCE`."""
    difference = float(np.abs(probabilities(model, X)[:, 1] - expected).max())
    if not difference <= TOLERANCE:
        raise ValueError(f"ONNX differs from the original by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference
