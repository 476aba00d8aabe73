"""The served model: looked up by alias in MLflow over REST, run by ONNX Runtime, swapped while serving."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import yaml
from msgspec import Struct
from numpy.typing import NDArray

from fraud_scorer.core.policy import Thresholds, thresholds
from plinth_features.spec import FeatureService

logger = logging.getLogger(__name__)

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FILES = ("MLmodel", "model.onnx")


class ModelRefused(Exception):
    """A version that must not be served here; the message says why."""


class Version(Struct, frozen=True):
    """A registered version and where its files are, relative to MLflow's artifact proxy."""

    name: str
    version: str
    path: str


class OnnxModel:
    """See service.Model."""

    def __init__(self, version: str, manifest: bytes, weights: bytes, features: FeatureService) -> None:
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
        self._output = self._session.get_outputs()[-1].name
        self.version = version
        self.digest = "sha256:" + hashlib.sha256(weights).hexdigest()
        self.fingerprint = features.fingerprint
        self.thresholds: Thresholds = thresholds(metadata["thresholds"])
        self.score(np.zeros((1, len(features.names)), dtype=np.float32))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See service.Model.score."""
        (probabilities,) = self._session.run([self._output], {self._input: features})
        return np.asarray(probabilities, dtype=np.float64)[:, 1]


class Registry:
    """The part of MLflow that serving needs."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def find(self, name: str, alias: str) -> Version | None:
        """The version an alias points to; None when there is none. Raises httpx.HTTPError."""
        answer = self._client.get(f"{API}/registered-models/alias", params={"name": name, "alias": alias})
        if answer.status_code in (400, 404):
            return None
        version = answer.raise_for_status().json()["model_version"]["version"]
        where = self._client.get(
            f"{API}/model-versions/get-download-uri", params={"name": name, "version": version}
        )
        uri: str = where.raise_for_status().json()["artifact_uri"]
        scheme, _, path = uri.partition(":")
        if scheme != "mlflow-artifacts":
            raise ModelRefused(f"version {version} lies at {scheme}:, not behind MLflow's artifact proxy")
        return Version(name, version, path.strip("/"))

    def fetch(self, version: Version, file: str) -> bytes:
        """One file of a version. Raises httpx.HTTPError."""
        return self._client.get(f"{ARTIFACTS}/{version.path}/{file}").raise_for_status().content


class ModelSource:
    """Keeps `current` at the version that the alias points to. Files are kept on disk, so that a restart
    while MLflow is away serves the last version."""

    def __init__(
        self, registry: Registry, name: str, alias: str, features: FeatureService, cache: Path
    ) -> None:
        self._registry = registry
        self._name, self._alias = name, alias
        self._features = features
        self._cache = cache / "models" / name
        self._refused = ""
        self._stop = threading.Event()
        self.current: OnnxModel | None = None
        self.problem: str | None = "no version has been looked up yet"

    def missing(self) -> str | None:
        """Why there is no model to serve; None when there is one."""
        return None if self.current else self.problem

    def refresh(self) -> None:
        """Look the alias up once. Failures leave the current model in place and are told in `problem`."""
        try:
            version = self._registry.find(self._name, self._alias)
            if version is None:
                self.problem = f"no version of {self._name!r} has the alias {self._alias!r}"
            elif version.version not in (self._refused, getattr(self.current, "version", None)):
                self._serve(version)
        except (httpx.HTTPError, OSError) as error:
            self.problem = f"MLflow: {error}"
            if self.current is None:
                self._serve_cached()

    def run(self, every_s: float) -> None:
        """Refresh in a thread of its own until `stop`."""

        def loop() -> None:
            while not self._stop.wait(every_s):
                self.refresh()

        threading.Thread(target=loop, name="model-source", daemon=True).start()

    def stop(self) -> None:
        """End the thread of `run`."""
        self._stop.set()

    def _serve(self, version: Version) -> None:
        manifest, weights = (self._registry.fetch(version, file) for file in FILES)
        if self._load(version.version, manifest, weights):
            folder = self._cache / version.version
            folder.mkdir(parents=True, exist_ok=True)
            for file, content in zip(FILES, (manifest, weights), strict=True):
                (folder / file).write_bytes(content)
            (self._cache / "last").write_text(version.version)

    def _serve_cached(self) -> None:
        last = self._cache / "last"
        if last.exists():
            version = last.read_text()
            manifest, weights = ((self._cache / version / file).read_bytes() for file in FILES)
            self._load(version, manifest, weights)

    def _load(self, version: str, manifest: bytes, weights: bytes) -> bool:
        try:
            self.current = OnnxModel(version, manifest, weights, self._features)
        except Exception as error:  # whatever is wrong with a new version, the old one must go on serving
            self._refused, self.problem = version, str(error)
            logger.error("model refused", extra={"version": version, "reason": str(error)})
            return False
        logger.info("model loaded", extra={"version": version, "digest": self.current.digest})
        self.problem = None
        return True


def _metadata(manifest: bytes) -> dict[str, Any]:
    """What training wrote about the model in its MLmodel file."""
    metadata: dict[str, Any] = yaml.safe_load(manifest).get("metadata") or {}
    return metadata
