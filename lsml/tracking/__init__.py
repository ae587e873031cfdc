"""Tracking: the only part of lsml that knows MLflow."""

import os

# MLflow reads it while it is imported. Where nobody asked for reports to its makers, none are sent.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
