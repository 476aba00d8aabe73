"""Fraud on card transactions: simulated data, training sets, models and their evaluation."""

from __future__ import annotations

import os
from pathlib import Path

# Libraries that would report what is done here, or write into the home folder, look when they are imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_state = Path(os.environ.get("PLINTH_STATE_DIR", ".plinth"))
if _state.is_dir():
    os.environ.setdefault("MPLCONFIGDIR", str(_state.absolute() / "cache" / "matplotlib"))
