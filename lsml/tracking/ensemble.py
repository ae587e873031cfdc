"""The MLflow run of an ensemble: found again by what it is made of, filled, and closed once it has its model."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.config import Scalar
from lsml.data.training import StudyData
from lsml.kept import PROBABILITIES
from lsml.models.files import ModelFile
from lsml.tracking.models import has_model, log_model
from lsml.tracking.runs import (
    NOTE,
    PARENT,
    ROLE,
    STATE,
    STUDY,
    close_run,
    common_tags,
    data_tags,
    describe_run,
    log_panels,
    log_scores,
    log_texts,
)
from lsml.tracking.store import storage_errors
from lsml.trial import Panel

ENSEMBLE = "ensemble"
"""The role of the run, and the alias of its registered version."""

_IDENTITY = "lsml.ensemble"


def kept_probabilities(client: MlflowClient, run_id: str) -> bytes | None:
    """The file of probabilities that a trial kept; None where it was not asked to.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"probabilities of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        if PROBABILITIES not in {entry.path for entry in client.list_artifacts(run_id)}:
            return None
        return Path(client.download_artifacts(run_id, PROBABILITIES, folder)).read_bytes()


def open_ensemble_run(
    client: MlflowClient, parent: Run, *, identity: str, study: str, data: StudyData, root: str, note: str
) -> Run:
    """The run of the ensemble with that identity, below the study's run: one that there is, or a new one.

    Raises:
        StorageError: MLflow cannot store it.
    """
    experiment_id, parent_id = parent.info.experiment_id, parent.info.run_id
    query = f"tags.`{PARENT}` = '{parent_id}' and tags.`{ROLE}` = '{ENSEMBLE}' and tags.`{_IDENTITY}` = '{identity}'"
    with storage_errors("MLflow run of the ensemble"):
        known = client.search_runs([experiment_id], query, max_results=1)
        if known:
            return known[0]
        tags = common_tags(ENSEMBLE, f"{study}-ensemble") | data_tags(data, root)
        tags |= {PARENT: parent_id, STUDY: study, STATE: "running", _IDENTITY: identity, NOTE: note}
        return client.create_run(experiment_id, tags=tags)


def is_complete(run: Run) -> bool:
    """Whether the run has all that an ensemble's run is to have."""
    return run.data.tags.get(STATE) == "complete"


def fill_ensemble_run(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, Scalar],
    data: StudyData,
    root: str,
    metrics: Mapping[str, float],
    texts: Mapping[str, str],
    record: Mapping[str, Any],
    panels: Sequence[Panel],
    file: ModelFile,
    threshold: float,
    backend: str,
) -> None:
    """Writes all of an ensemble into its run, its model last, and closes it; what a kill left undone is done again.

    Raises:
        StorageError: MLflow cannot store it.
    """
    with storage_errors(f"MLflow run {run_id} of the ensemble"):
        describe_run(client, run_id, params, data, root)
        client.log_dict(run_id, dict(record), "ensemble.json")
    log_scores(client, run_id, metrics, {"lsml.backend": backend})
    log_texts(client, run_id, texts)
    log_panels(client, run_id, panels)
    if not has_model(client, run_id):
        log_model(client, run_id, file, threshold=threshold, backend=backend)
    close_run(client, run_id, "complete", "")
