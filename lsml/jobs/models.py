"""A run's model, fetched from MLflow and loaded."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lsml import backend

if TYPE_CHECKING:
    import keras


class LoadedModel(NamedTuple):
    """A network that gives probabilities, the threshold that goes with it, and its file's SHA-256."""

    network: "keras.Model"
    threshold: float
    sha256: str


def load_model(client: Any, run_id: str) -> LoadedModel:
    """The model of a run, by a client of MLflow.

    Raises:
        ModelError: the run has no model, or one that is refused.
        StorageError: it cannot be fetched.
    """
    from lsml.tracking.models import fetch

    # Keras comes last: a store that does not answer is said before the seconds that loading it takes.
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch(client, run_id, Path(folder))
        backend.load_keras()
        from lsml.models.files import load_file

        return LoadedModel(load_file(stored.path), stored.threshold, stored.sha256)
