"""Training a small world into a real tracking store, read back as the scoring side reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread
from mlflow.entities.model_registry import ModelVersion

from plinth_algorithms import onnx_trees, tree_shap
from plinth_algorithms import trees as trees_module
from plinth_algorithms.classification import average_precision
from plinth_features import spec
from plinth_pipelines.fraud import dataset, protocol, tracking, train
from plinth_pipelines.fraud.members import BoostedParams
from plinth_pipelines.fraud.protocol import Protocol
from plinth_pipelines.fraud.provenance import digest, environment
from plinth_pipelines.fraud.selection import Candidate, Search
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate
from plinth_pipelines.fraud.train import TrainConfig, TrainedModel

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow warns of its own parts, from its import on

FRAUD = spec.load(Path(__file__).parents[2] / "feature_repo/compiled/fraud.json")
CONFIG = TrainConfig(
    service=FRAUD,
    protocol=Protocol(test_start=date(2018, 5, 22), train_days=28),
    search=Search(
        folds=2,
        candidates=(
            Candidate("plain", BoostedParams(n_estimators=20, learning_rate=0.3)),
            Candidate("SMOTE", BoostedParams(n_estimators=20, learning_rate=0.3), "smote"),
        ),
        compare_members=True,
    ),
    keep=0.5,
    source="simulate",
    source_config={"days": 60},
)


STUMP = Candidate("stump", BoostedParams(n_estimators=1, max_depth=1, colsample_bytree=0.04))
POOR = replace(CONFIG, search=Search(folds=1, candidates=(STUMP,), compare_members=False))


class Trained:
    """Five runs over the same store: two alike, a shadow, and a poor one, which is then forced."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.table = simulate(SimulationConfig(customers=200, terminals=300, days=60, radius=10.0))
        self.steps: list[tuple[str, float]] = []
        self.first = self.run(progress=lambda step, share: self.steps.append((step, share)))
        self.first_champion = self.champion()
        self.second = self.run()
        self.third = train.run(self.uri, self.table, config=replace(CONFIG, alias="shadow"))
        self.second_champion = self.champion()
        self.poor = train.run(self.uri, self.table, config=POOR)
        self.champion_after_poor = self.champion()
        self.forced = train.run(self.uri, self.table, config=replace(POOR, force=True))
        self.champion_after_force = self.champion()

    def run(self, **options: Any) -> TrainedModel:
        return train.run(self.uri, self.table, config=CONFIG, **options)

    def champion(self) -> ModelVersion:
        return mlflow.MlflowClient(self.uri).get_model_version_by_alias("fraud", "champion")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # a local store without a server keeps its artifacts in the working folder
        return Trained(folder)


@pytest.fixture(scope="module")
def files(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return Path(mlflow.artifacts.download_artifacts(trained.first.registered.uri, dst_path=str(folder)))


def run_files(trained: Trained, path: str) -> Path:
    run_id = trained.first.registered.run_id
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))


def test_every_run_makes_a_version_and_takes_the_alias(trained: Trained) -> None:
    assert (trained.first.registered.version, trained.second.registered.version) == (1, 2)
    assert int(trained.first_champion.version) == 1
    assert int(trained.second_champion.version) == 2
    assert trained.second_champion.run_id == trained.second.registered.run_id
    assert trained.first.succession.present_precision is None
    assert trained.second.succession.present_precision == pytest.approx(
        trained.first.evaluation.average_precision, abs=1e-4
    )


def test_a_version_that_is_worse_takes_the_alias_by_force_alone(trained: Trained) -> None:
    poor = trained.poor.succession
    assert not poor.takes
    assert f"{trained.poor.evaluation.average_precision:.4f}, version 2 has" in poor.why
    assert f"{trained.second.evaluation.average_precision:.4f}" in poor.why
    assert (trained.poor.registered.version, int(trained.champion_after_poor.version)) == (4, 2)
    run = mlflow.MlflowClient(trained.uri).get_run(trained.poor.registered.run_id)
    assert run.data.tags["succession"] == f"refused: {poor.why}"
    assert run.data.metrics["test_present_average_precision"] == poor.present_precision
    assert int(trained.champion_after_force.version) == trained.forced.registered.version == 5


def test_another_alias_leaves_the_champion_in_place(trained: Trained) -> None:
    shadow = mlflow.MlflowClient(trained.uri).get_model_version_by_alias("fraud", "shadow")
    assert int(shadow.version) == trained.third.registered.version == 3
    assert int(trained.second_champion.version) == 2


def test_metadata_tells_the_scoring_side_what_it_needs(trained: Trained, files: Path) -> None:
    metadata = yaml.safe_load((files / "MLmodel").read_text())["metadata"]
    cuts = trained.first.thresholds
    assert metadata == {
        "feature_names": list(FRAUD.names),
        "feature_fingerprint": FRAUD.fingerprint,
        "members": metadata["members"],
        "explained": "xgboost",
        "thresholds": {"monitor": cuts.monitor, "step_up": cuts.step_up, "block": cuts.block},
    }
    assert metadata["members"][0] == "xgboost"
    assert set(metadata["members"]) <= {"xgboost", "logistic_regression", "isolation_forest"}
    assert 0 < cuts.monitor < cuts.step_up < cuts.block < 1


def test_the_registered_file_is_the_model_that_was_evaluated(trained: Trained, files: Path) -> None:
    session = onnxruntime.InferenceSession(files / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape[1]) for i in session.get_inputs()] == [
        ("features", "tensor(float)", len(FRAUD.names))
    ]
    assert [(o.name, o.type) for o in session.get_outputs()] == [
        ("members", "tensor(float)"),
        ("probabilities", "tensor(float)"),
    ]
    rows = protocol.split(CONFIG.protocol, trained.table).test
    test = dataset.build(FRAUD, trained.table, label_delay=timedelta(days=7), rows=rows)
    (answers,) = session.run(["probabilities"], {"features": test.X.astype(np.float32)})
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert (len(test), test.y.sum()) == (trained.first.evaluation.rows, trained.first.evaluation.frauds)
    expected = trained.first.evaluation.average_precision
    assert average_precision(test.y, answers[:, 1].astype(np.float64)) == pytest.approx(expected, abs=1e-4)
    assert trained.first.onnx_difference <= 1e-6


def test_the_same_data_give_the_same_model(trained: Trained) -> None:
    assert trained.first.evaluation == trained.second.evaluation
    assert trained.first.thresholds == trained.second.thresholds


def test_the_run_says_what_the_model_was_made_of(trained: Trained) -> None:
    run = mlflow.MlflowClient(trained.uri).get_run(trained.first.registered.run_id)
    assert (run.data.params["n_estimators"], run.data.params["train_days"]) == ("20", "28")
    assert run.data.params["seed"] == "0"
    assert run.data.params["candidate"] in ("plain", "SMOTE")
    assert run.data.tags["feature_fingerprint"] == FRAUD.fingerprint
    assert run.data.tags["code_revision"]
    assert run.data.metrics["test_recall"] == trained.first.evaluation.recall
    assert run.data.metrics["test_block_recall"] <= run.data.metrics["test_monitor_recall"]
    manifest = json.loads(run_files(trained, "data.json").read_text())
    assert manifest["sha256"] == digest(trained.table) == run.data.tags["data_sha256"]
    assert (manifest["rows"], manifest["source"]) == (len(trained.table), "simulate")
    assert manifest["config"] == {"days": 60}
    features = json.loads(run_files(trained, "features.json").read_text())
    assert [view["name"] for view in features["views"]] == [view.name for view in FRAUD.views]
    assert json.loads(run_files(trained, "environment.json").read_text()) == environment()


def test_the_walk_compares_every_scorer_in_every_week(trained: Trained) -> None:
    weeks = json.loads(run_files(trained, "walk_forward.json").read_text())["weeks"]
    found = {(row["scorer"], row["test_start"]) for row in weeks}
    scorers = ("plain", "SMOTE", "logistic_regression", "isolation_forest")
    assert found >= {(scorer, day) for scorer in scorers for day in ("2018-05-01", "2018-05-08")}
    stacks = {row["scorer"] for row in weeks if row["scorer"].startswith("stack: ")}
    assert stacks == {row["scorer"] for row in weeks if row["test_start"] == "2018-05-08"} - set(scorers)
    assert len(stacks) == 4


def test_the_card_states_the_figures_of_this_run(trained: Trained) -> None:
    card = run_files(trained, "model_card.md").read_text()
    evaluation = trained.first.evaluation
    figures = (evaluation.roc_auc, evaluation.average_precision, evaluation.card_precision_100)
    assert "| **this version** | " + " | ".join(f"{figure:.3f}" for figure in figures) in card
    assert digest(trained.table) in card
    assert FRAUD.fingerprint in card
    assert f"| block | {trained.first.thresholds.block:.4f} |" in card
    large = FRAUD.view("terminal_labels").ordinary_minor
    assert large is not None
    assert f"leave out frauds of more than {large / 100:.2f}" in card


def test_the_file_alone_explains_the_scores(trained: Trained, files: Path) -> None:
    graph = onnx.load(files / "model.onnx").graph
    trees = onnx_trees.read(graph, "xgboost")
    rows = np.random.default_rng(0).uniform(0, 500, (20, len(FRAUD.names))).astype(np.float32)
    paths = tree_shap.paths(trees)
    shares = tree_shap.contributions(paths, rows)
    margin = trees_module.predict(trees, rows)
    np.testing.assert_allclose(shares.sum(axis=1) + paths.expected_value, margin)
    session = onnxruntime.InferenceSession(files / "model.onnx", providers=["CPUExecutionProvider"])
    (members,) = session.run(["members"], {"features": rows})
    own = np.log(members[:, 0]) - np.log1p(-members[:, 0])
    slope, offset = np.polyfit(margin, own, 1)
    np.testing.assert_allclose(slope * margin + offset, own, atol=1e-3)


@pytest.mark.parametrize("name", ["calibration", "curves", "importance", "scores", "walk_forward"])
def test_figures_are_pictures(trained: Trained, name: str) -> None:
    picture = imread(run_files(trained, f"figures/{name}.png"))
    assert picture.shape[0] > 200
    assert picture.std() > 0.05


def test_a_run_has_a_name_that_says_what_it_is(trained: Trained) -> None:
    registered = trained.first.registered
    assert mlflow.get_run(registered.run_id).info.run_name == registered.run_name
    assert registered.run_name.startswith("fraud 2018-05-22 xgboost")


def test_progress_names_the_steps_in_order(trained: Trained) -> None:
    assert list(dict.fromkeys(step for step, _ in trained.steps)) == [
        "features",
        "selection",
        "model",
        "onnx",
        "mlflow",
        "done",
    ]
    shares = [share for _, share in trained.steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_served_means_by_these_features(trained: Trained) -> None:
    assert tracking.is_served(trained.uri, "fraud", FRAUD.fingerprint)
    assert not tracking.is_served(trained.uri, "fraud", "0" * 16)
    assert not tracking.is_served(trained.uri, "unheard-of", FRAUD.fingerprint)


def test_days_that_the_transactions_do_not_cover_are_refused(trained: Trained) -> None:
    late = replace(CONFIG, protocol=Protocol(test_start=date(2019, 5, 22), train_days=28))
    with pytest.raises(ValueError, match="training days need"):
        train.run(trained.uri, trained.table, config=late)


def test_command_line_trains_on_a_file(trained: Trained, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "transactions.parquet"
    trained.table[trained.table["event_ts"] < pd.Timestamp("2018-05-29", tz="UTC")].to_parquet(path)
    features = Path(__file__).parents[2] / "feature_repo/compiled/fraud.json"
    arguments = ["--tracking-uri", trained.uri, "--transactions", str(path), "--features", str(features)]
    assert train.main([*arguments, "--test-start", "2018-05-22", "--train-days", "28", "--quick"]) == 0
    assert int(trained.champion().version) == trained.forced.registered.version + 1
    said = capsys.readouterr()
    assert f"fraud version {trained.champion().version} is champion" in said.out
    assert "average precision" in said.out
    assert said.err == ""
