"""A run's model: which run is meant, its model fetched from MLflow and loaded."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lsml import backend
from lsml.errors import ConfigError

if TYPE_CHECKING:
    import keras


class LoadedModel(NamedTuple):
    """A network that gives probabilities, the threshold that goes with it, and its file's SHA-256."""

    network: "keras.Model"
    threshold: float
    sha256: str


def check_one_of(run_id: str | None, model: str | None) -> None:
    """A model is named by its run or by its name in the registry.

    Raises:
        ConfigError: neither or both are given.
    """
    if (run_id is None) == (model is None):
        raise ConfigError("model", "give either --run-id or --model", "for instance --model demo@candidate")


def named_run(client: Any, run_id: str | None, model: str | None) -> Any:
    """The run of that id, or the one that the registered `NAME@ALIAS` or `NAME/VERSION` came from.

    Raises:
        StorageError: there is no such run, model, alias or version.
    """
    from lsml.tracking.models import registered_run
    from lsml.tracking.runs import find_run

    return find_run(client, run_id or registered_run(client, str(model)))


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
