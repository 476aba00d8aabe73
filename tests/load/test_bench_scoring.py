"""Scoring: the platform's model as ONNX in batches, beside the wrappers that trained it, row at a time."""

from __future__ import annotations

import numpy as np
import onnxruntime
from bench_report import Report
from bench_timing import median_ms
from sklearn.ensemble import RandomForestClassifier

from plinth_algorithms import tree_shap
from plinth_contracts import model as contract
from plinth_pipelines.fraud import onnx_model
from plinth_pipelines.fraud.ensemble import Ensemble, calibrate
from plinth_pipelines.fraud.members import BoostedParams, fit_boosted

ROWS, FEATURES, BATCH = 20_000, 15, 500


def test_scoring(report: Report) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=ROWS) > 2.5).astype(np.int64)
    boosted = fit_boosted(BoostedParams(), X, y, np.ones(ROWS))
    served = Ensemble((boosted,), calibrate({boosted.name: boosted.raw(X)}, (boosted.name,), y))
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=1).fit(X, y)
    converted = onnx_model.convert(served, FEATURES)
    assert onnx_model.check(converted, served, X) <= onnx_model.TOLERANCE

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        converted.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    paths = tree_shap.paths(boosted.trees)
    batch, row = X[:BATCH], X[:1]
    tree_shap.contributions(paths, row)

    batched = median_ms(lambda: session.run(None, {contract.FEATURES: batch}), repeat=200) * 1000 / BATCH
    single = median_ms(lambda: session.run(None, {contract.FEATURES: row}), repeat=1_000) * 1000
    wrapper = median_ms(lambda: boosted.model.predict_proba(X[:1]), repeat=200) * 1000
    explained = median_ms(lambda: tree_shap.contributions(paths, row), repeat=200) * 1000
    trees = median_ms(lambda: forest.predict_proba(X[:1]), repeat=50) * 1000
    report.cost(f"a row, ONNX Runtime, batches of {BATCH}", batched, "µs")
    report.cost("a row, ONNX Runtime, one at a time", single, "µs")
    report.cost("a row, XGBoost's wrapper, one at a time", wrapper, "µs")
    report.cost("a row, scikit-learn's forest of 100, one at a time", trees, "µs")
    report.cost("a row, its contributions by TreeSHAP", explained, "µs")
    report.rate("the wrapper's time over ONNX in batches", wrapper / batched, "x")
