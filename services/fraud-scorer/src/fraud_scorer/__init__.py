"""Fraud scorer: decides card transactions over HTTP and Kafka."""

from __future__ import annotations

import os

# ONNX Runtime would report its use to its makers and keep an id in the home folder; it looks when imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
