"""A served model: an ONNX graph run by ONNX Runtime, and the trees in it, by which it explains itself."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import yaml
from numpy.typing import NDArray

from fraud_scorer.core.decision import Version
from fraud_scorer.service import Scores
from plinth_algorithms import onnx_trees, tree_shap
from plinth_contracts.model import MEMBERS, PROBABILITIES, Thresholds
from plinth_features.spec import FeatureService


class ModelRefused(Exception):
    """A version that must not be served here; the message says why."""


class OnnxModel:
    """See service.Model. Takes `features` float32 [n, features].

    Gives `probabilities` [n, 2] and, where it is an ensemble, `members` [n, members]. Their names stand in
    the metadata as `members`, the name of the node with the trees that explain a score as `explained`.
    Raises ModelRefused for another fingerprint, ValueError or KeyError for bad metadata, and what ONNX
    Runtime raises for a file that is no model.
    """

    def __init__(
        self, name: str, version: str, manifest: bytes, weights: bytes, features: FeatureService
    ) -> None:
        metadata = _metadata(manifest)
        found = metadata.get("feature_fingerprint")
        if found != features.fingerprint:
            raise ModelRefused(
                f"version {version} was trained on features {found}, served are {features.fingerprint}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        outputs = {output.name for output in self._session.get_outputs()}
        self._outputs = [PROBABILITIES, *({MEMBERS} & outputs)]
        self.members: tuple[str, ...] = tuple(metadata.get("members", ())) if MEMBERS in outputs else ()
        digest = "sha256:" + hashlib.sha256(weights).hexdigest()
        self.version = Version(name, version, digest, features.fingerprint)
        self.thresholds = Thresholds(**metadata["thresholds"])
        self._explained = _explained(weights, metadata.get("explained"))
        blank = np.zeros((1, len(features.names)), dtype=np.float32)
        self.score(blank)
        self.explain(blank)

    def score(self, features: NDArray[np.float32]) -> Scores:
        """See service.Model.score."""
        probabilities, *members = self._session.run(self._outputs, {self._input: features})
        fraud = np.asarray(probabilities, dtype=np.float64)[:, 1]
        behind = np.asarray(members[0], dtype=np.float64) if members else np.empty((len(fraud), 0))
        return Scores(fraud, behind)

    def explain(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See service.Model.explain; zeros for a model that holds no trees."""
        if self._explained is None:
            return np.zeros(features.shape)
        return tree_shap.contributions(self._explained, features)


def _explained(weights: bytes, node: str | None) -> tree_shap.Paths | None:
    """What explaining needs of the trees in the node of that name; None where no node is named."""
    if node is None:
        return None
    return tree_shap.paths(onnx_trees.read(onnx.load_model_from_string(weights).graph, node))


def _metadata(manifest: bytes) -> dict[str, Any]:
    """What training wrote about the model in its MLmodel file."""
    metadata: dict[str, Any] = yaml.safe_load(manifest).get("metadata") or {}
    return metadata
