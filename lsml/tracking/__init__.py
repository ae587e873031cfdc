"""Tracking: the only part of lsml that knows MLflow."""
