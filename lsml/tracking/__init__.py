"""Tracking: the only part of lsml that knows MLflow."""

import os
from types import MappingProxyType

_SETTINGS = MappingProxyType(
    {
        # Where nobody asked for reports to its makers, none are sent.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A request that is repeated below lsml would be done twice where only its answer was lost: lsml repeats it
        # itself, and looks first whether it was done (`lsml.tracking.client`).
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        # A server that accepts and never answers would block for MLflow's own 120 seconds.
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        # Where a run is that ends, MLflow would print among what a command says,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # and a bar for every file that is fetched.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
)


def configure() -> None:
    """Gives MLflow lsml's settings, but for those that the user has set."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


# MLflow reads some of them while it is imported.
configure()
