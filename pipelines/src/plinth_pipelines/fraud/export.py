"""A fitted tree ensemble as ONNX, checked against the original before anybody serves it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

TOLERANCE = 1e-6


def to_onnx(model: Any, features: int) -> Any:
    """The ONNX form: input `features` float32 [n, features], last output `probabilities` [n, 2]."""
    return convert_xgboost(model, initial_types=[("features", FloatTensorType([None, features]))])


def disagreement(onnx_model: Any, model: Any, X: NDArray[np.float64]) -> float:
    """Largest difference between the scores of both forms on the rows of X."""
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = X.astype(np.float32)
    (exported,) = session.run([session.get_outputs()[-1].name], {"features": inputs})
    return float(np.abs(exported[:, 1] - model.predict_proba(inputs)[:, 1]).max())
