"""Which versions are served: looked up by alias in MLflow over REST, fetched, swapped while serving."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import msgspec
from msgspec import Struct

from fraud_scorer.core.decision import MAX_VARIANT
from fraud_scorer.model import ModelRefused, OnnxModel
from fraud_scorer.service import Serving
from plinth_features.spec import FeatureService
from plinth_kit.files import write_private

logger = logging.getLogger(__name__)

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FILES = ("MLmodel", "model.onnx")
Files: TypeAlias = tuple[bytes, bytes]
"""Contents of FILES."""
LAST = "aliases.json"


class Alias(Struct, frozen=True):
    """An alias of a registered model, and the version that it points to."""

    alias: str
    version: str


class Registry:
    """The part of MLflow that serving needs. Raises httpx.HTTPError."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def aliases(self, name: str) -> dict[str, str]:
        """Versions of a registered model by alias; none where there is no such model."""
        answer = self._client.get(f"{API}/registered-models/get", params={"name": name})
        if answer.status_code in (400, 404):
            return {}
        found = answer.raise_for_status().json()["registered_model"].get("aliases", [])
        return {one.alias: one.version for one in msgspec.convert(found, list[Alias])}

    def fetch(self, name: str, version: str) -> Files:
        """The manifest and the weights of a version."""
        where = self._client.get(
            f"{API}/model-versions/get-download-uri", params={"name": name, "version": version}
        )
        uri: str = where.raise_for_status().json()["artifact_uri"]
        scheme, _, path = uri.partition(":")
        if scheme != "mlflow-artifacts":
            raise ModelRefused(f"version {version} lies at {scheme}:, not behind MLflow's artifact proxy")
        folder = f"{ARTIFACTS}/{path.strip('/')}"
        manifest, weights = (self._client.get(f"{folder}/{file}").raise_for_status() for file in FILES)
        return manifest.content, weights.content


class ModelSource:
    """Keeps `serving` at the versions that the aliases point to: `alias` decides, those that begin with
    `shadow` are only logged. Files are kept on disk, so that a restart while MLflow is away serves the last
    versions."""

    def __init__(
        self, registry: Registry, name: str, alias: str, shadow: str, features: FeatureService, cache: Path
    ) -> None:
        self._registry = registry
        self._name, self._alias, self._shadow = name, alias, shadow
        self._features = features
        self._cache = cache / "models" / name
        self._loaded: dict[str, OnnxModel] = {}
        self._refused: dict[str, str] = {}  # version to reason
        self._kept: dict[str, str] = {}
        self._stop = threading.Event()
        self.serving = Serving(None)
        self.problem: str | None = "no version has been looked up yet"

    def missing(self) -> str | None:
        """Why there is no model to serve; None when there is one."""
        return None if self.serving.champion else self.problem

    def refresh(self) -> None:
        """Look the aliases up once. Failures leave what is served in place and are told in `problem`."""
        try:
            self._serve(self._wanted(self._registry.aliases(self._name)), self._fetched)
        except (httpx.HTTPError, msgspec.MsgspecError, KeyError, ValueError) as error:
            self.problem = f"MLflow: {error}"
            if self.serving.champion is None:
                self._serve_cached()

    def run(self, every_s: float) -> None:
        """Refresh at once, then in a thread of its own until `stop`."""

        def loop() -> None:
            while not self._stop.wait(every_s):
                try:
                    self.refresh()
                except Exception:  # the next turn may do better, and what is served is served
                    logger.exception("models not looked up")

        self.refresh()
        threading.Thread(target=loop, name="model-source", daemon=True).start()

    def stop(self) -> None:
        """End the thread of `run`."""
        self._stop.set()

    def _wanted(self, aliases: Mapping[str, str]) -> dict[str, str]:
        return {
            alias: version
            for alias, version in aliases.items()
            if alias == self._alias or (alias.startswith(self._shadow) and len(alias) <= MAX_VARIANT)
        }

    def _serve(self, wanted: Mapping[str, str], read: Callable[[str], Files]) -> None:
        """Serve what can be had of the wanted versions; without a new champion the old one goes on."""
        self._refused = {v: why for v, why in self._refused.items() if v in wanted.values()}
        missing = f"no version of {self._name!r} has the alias {self._alias!r}"
        models: dict[str, OnnxModel] = {}
        for alias, version in wanted.items():
            model, problem = self._model(version, read)
            if model is not None:
                models[alias] = model
            elif alias == self._alias:
                missing = problem
        champion = models.get(self._alias) or self.serving.champion
        self.problem = None if self._alias in models else missing
        self.serving = Serving(champion, [(a, m) for a, m in sorted(models.items()) if a != self._alias])
        self._loaded = {model.version.version: model for model in models.values()}
        self._keep({alias: model.version.version for alias, model in models.items()})

    def _serve_cached(self) -> None:
        try:
            last = msgspec.json.decode((self._cache / LAST).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):  # none yet
            return
        problem = self.problem
        self._serve(last, self._cached)
        self.problem = self.problem and problem

    def _model(self, version: str, read: Callable[[str], Files]) -> tuple[OnnxModel | None, str]:
        """A version loaded, or None and why. One that could not be read is tried again, a bad one is not."""
        if version in self._loaded:
            return self._loaded[version], ""
        if version in self._refused:
            return None, self._refused[version]
        try:
            manifest, weights = read(version)
        except (httpx.HTTPError, OSError) as error:
            logger.warning("version %s cannot be read: %s", version, error)
            return None, f"version {version} cannot be read: {error}"
        except ModelRefused as error:
            return None, str(error)
        try:
            model = OnnxModel(self._name, version, manifest, weights, self._features)
        except Exception as error:  # whatever is wrong with a new version, the old one must go on serving
            self._refused[version] = str(error)
            logger.error("model refused", extra={"version": version, "reason": str(error)})
            return None, str(error)
        logger.info("model loaded", extra={"version": version, "digest": model.version.digest})
        return model, ""

    def _fetched(self, version: str) -> Files:
        """The files of a version from MLflow; kept for a start without it."""
        files = self._registry.fetch(self._name, version)
        with self._tolerantly():
            for name, content in zip(FILES, files, strict=True):
                write_private(self._cache / version / name, content)
        return files

    def _cached(self, version: str) -> Files:
        manifest, weights = ((self._cache / version / name).read_bytes() for name in FILES)
        return manifest, weights

    def _keep(self, served: Mapping[str, str]) -> None:
        """Remember what is served, for a start without MLflow; versions served no more are deleted."""
        if served == self._kept or self._alias not in served:
            return
        with self._tolerantly():
            write_private(self._cache / LAST, msgspec.json.encode(served))
            for folder in self._cache.iterdir():
                if folder.is_dir() and folder.name not in served.values():
                    shutil.rmtree(folder)
        self._kept = dict(served)

    @contextmanager
    def _tolerantly(self) -> Iterator[None]:
        """A disk that takes nothing must not keep a loaded model from serving."""
        try:
            yield
        except OSError as error:
            logger.warning("models are not kept on disk: %s", error)
