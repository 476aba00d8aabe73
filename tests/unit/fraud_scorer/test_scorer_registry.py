"""Versions by alias: served, swapped, refused, cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from fraud_scorer import registry
from fraud_scorer.core.decision import Version
from fraud_scorer.model import ModelRefused
from fraud_scorer.registry import ModelSource, Registry
from plinth_features import spec

FEATURES = spec.load(Path(__file__).parents[3] / "feature_repo" / "compiled" / "fraud.json")


class MlflowStub:
    """Aliases and artifacts, and whether the server answers."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.away = False
        self.fetched: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("away")
        path = request.url.path
        if path.endswith("/registered-models/get"):
            if not self.aliases:
                return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"})
            found = [{"alias": alias, "version": version} for alias, version in self.aliases.items()]
            return httpx.Response(200, json={"registered_model": {"name": "fraud", "aliases": found}})
        if path.endswith("/get-download-uri"):
            version = request.url.params["version"]
            return httpx.Response(200, json={"artifact_uri": f"mlflow-artifacts:/1/models/m-{version}/x"})
        if "/m-404/" in path:
            return httpx.Response(404)
        self.fetched.append(path.removeprefix("/api/2.0/mlflow-artifacts/artifacts/"))
        return httpx.Response(200, content=path.encode())


class LoadedModel:
    """Stands for a model that loads, unless its version is 13."""

    def __init__(self, name: str, version: str, manifest: bytes, weights: bytes, _: Any) -> None:
        if version == "13":
            raise ModelRefused("version 13 was trained on other features")
        assert manifest.endswith(b"MLmodel")
        assert weights.endswith(b"model.onnx")
        self.version = Version(name, version, "sha256:0", FEATURES.fingerprint)


@pytest.fixture
def mlflow() -> MlflowStub:
    return MlflowStub()


@pytest.fixture
def source(mlflow: MlflowStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    monkeypatch.setattr(registry, "OnnxModel", LoadedModel)
    return make(mlflow, tmp_path)


def make(mlflow: MlflowStub, cache: Path) -> ModelSource:
    client = httpx.Client(base_url="http://mlflow", transport=httpx.MockTransport(mlflow))
    return ModelSource(Registry(client), "fraud", "champion", "shadow", FEATURES, cache)


def served(source: ModelSource) -> tuple[str | None, dict[str, str]]:
    champion, shadows = source.serving
    return (
        champion.version.version if champion else None,
        {alias: model.version.version for alias, model in shadows},
    )


def test_the_champion_decides_and_every_shadow_is_beside_it(mlflow: MlflowStub, source: ModelSource) -> None:
    source.refresh()
    assert served(source) == (None, {})
    assert source.missing() == "no version of 'fraud' has the alias 'champion'"
    mlflow.aliases = {"champion": "1", "shadow": "2", "shadow-lstm": "3", "old": "4"}
    source.refresh()
    assert served(source) == ("1", {"shadow": "2", "shadow-lstm": "3"})
    assert source.missing() is None
    assert mlflow.fetched[0] == "1/models/m-1/x/MLmodel"


def test_a_moved_alias_swaps_and_fetches_only_what_is_new(mlflow: MlflowStub, source: ModelSource) -> None:
    mlflow.aliases = {"champion": "1", "shadow": "2"}
    source.refresh()
    mlflow.fetched.clear()
    source.refresh()
    assert mlflow.fetched == []
    mlflow.aliases = {"champion": "2", "shadow": "5"}
    source.refresh()
    assert served(source) == ("2", {"shadow": "5"})
    assert {path.split("/")[2] for path in mlflow.fetched} == {"m-5"}


def test_a_refused_version_leaves_the_old_one_in_place(mlflow: MlflowStub, source: ModelSource) -> None:
    mlflow.aliases = {"champion": "1", "shadow": "13"}
    source.refresh()
    assert served(source) == ("1", {})
    mlflow.aliases = {"champion": "13"}
    source.refresh()
    assert served(source) == ("1", {})
    assert source.problem == "version 13 was trained on other features"
    mlflow.aliases = {"champion": "2"}
    source.refresh()
    assert (served(source), source.problem) == (("2", {}), None)


def test_while_mlflow_is_away_the_last_versions_are_served_after_a_restart_too(
    mlflow: MlflowStub, source: ModelSource, tmp_path: Path
) -> None:
    mlflow.aliases = {"champion": "1", "shadow": "2"}
    source.refresh()
    mlflow.away = True
    source.refresh()
    assert served(source) == ("1", {"shadow": "2"})
    restarted = make(mlflow, tmp_path)
    restarted.refresh()
    assert served(restarted) == ("1", {"shadow": "2"})
    assert restarted.problem is None
    nothing_kept = make(mlflow, tmp_path / "elsewhere")
    nothing_kept.refresh()
    assert served(nothing_kept) == (None, {})
    assert nothing_kept.missing() == "MLflow: away"


def test_a_shadow_that_cannot_be_fetched_holds_nothing_up(mlflow: MlflowStub, source: ModelSource) -> None:
    mlflow.aliases = {"champion": "1", "shadow": "404"}
    source.refresh()
    mlflow.aliases = {"champion": "2", "shadow": "404"}
    source.refresh()
    assert (served(source), source.problem) == (("2", {}), None)


def test_a_refused_version_does_not_keep_a_start_without_mlflow_from_its_champion(
    mlflow: MlflowStub, source: ModelSource, tmp_path: Path
) -> None:
    mlflow.aliases = {"champion": "1", "shadow": "13"}
    source.refresh()
    mlflow.away = True
    restarted = make(mlflow, tmp_path)
    restarted.refresh()
    assert served(restarted) == ("1", {})


def test_a_disk_that_takes_nothing_keeps_no_model_from_serving(
    mlflow: MlflowStub, source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(registry, "write_private", full)
    mlflow.aliases = {"champion": "1"}
    source.refresh()
    assert served(source) == ("1", {})
