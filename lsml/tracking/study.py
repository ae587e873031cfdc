"""The MLflow run of a study and those of its ensembles: opened or found again, filled, closed."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from lsml.config.fields import Scalar
from lsml.data.splits import StudyData
from lsml.errors import StorageError
from lsml.models.export import ModelFile
from lsml.scoring.ensemble_selection import PROBABILITIES
from lsml.tracking.models import has_model, log_model
from lsml.tracking.runs import (
    BEST_METRIC,
    BEST_RUN,
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
    trials_query,
)
from lsml.tracking.store import DEFAULT_EXPERIMENT, experiment_id, storage_errors
from lsml.training.outcome import Panel

RESUMES = "lsml.resumes_run_id"
STANDINGS = "study/standings.json"
_IDENTITY = "lsml.identity"


def open_study_run(
    client: MlflowClient,
    known: str | None,
    *,
    identity: str,
    study: str,
    params: Mapping[str, Scalar],
    data: StudyData,
    root: str,
    note: str,
) -> Run:
    """The study's run, marked as running.

    `known` is the run that the study had before, which it keeps; where that was not noted down, `identity` finds
    it. A new study takes the run that `mlflow run` made
    for this process, where there is one, else a run of its own in MLflow's experiment `lsml` (or
    `MLFLOW_EXPERIMENT_NAME`).

    Raises:
        StorageError: MLflow cannot store it.
    """
    project_run = os.environ.get("MLFLOW_RUN_ID")
    with storage_errors("MLflow run of the study"):
        existing = _existing(client, known) or _by_identity(client, identity)
        if existing is not None:
            run_id = existing.info.run_id
            client.update_run(run_id, status="RUNNING")
            if project_run and project_run != run_id:
                client.set_tag(project_run, RESUMES, run_id)
                client.set_tag(project_run, NOTE, f"Went on with study `{study}`, whose run is `{run_id}`.")
            return client.get_run(run_id)
        tags = common_tags("study", study) | data_tags(data, root) | {STUDY: study, _IDENTITY: identity, NOTE: note}
        if project_run:
            tags = {key: value for key, value in tags.items() if not key.startswith("mlflow.source")}
            for key, value in tags.items():
                client.set_tag(project_run, key, value)
            run_id = project_run
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
            run_id = client.create_run(experiment_id(client, name), tags=tags).info.run_id
        describe_run(client, run_id, params, data, root)
        return client.get_run(run_id)


def _existing(client: MlflowClient, run_id: str | None) -> Run | None:
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException:
        return None
    return run if run.info.lifecycle_stage == "active" and run.data.tags.get(ROLE) == "study" else None


def _by_identity(client: MlflowClient, identity: str) -> Run | None:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{_IDENTITY}` = '{identity}'", max_results=1)
    return found[0] if found else None


def log_study(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    note: str,
    texts: Mapping[str, str],
    records: Mapping[str, Any],
) -> None:
    """Writes a study's figures: scores, tags, the note in Markdown, text files and JSON files by artifact path."""
    log_scores(client, run_id, metrics, {**tags, NOTE: note})
    log_texts(client, run_id, texts)
    with storage_errors("figures of the study"):
        for path, record in records.items():
            client.log_dict(run_id, record, path)


def end_study_run(client: MlflowClient, run_id: str, status: str) -> None:
    """Closes the study's run as FINISHED, FAILED or KILLED."""
    with storage_errors("MLflow run of the study"):
        client.set_terminated(run_id, status)


def judged_run_id(client: MlflowClient, run_id: str) -> str:
    """Of a study in folds, by its run: the run that judged in folds the configuration of what it registered.

    Raises:
        StorageError: the study has not ended, or MLflow cannot be asked.
    """
    with storage_errors(f"standings of study {run_id}"), tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run_id, STANDINGS, folder)
        return str(json.loads(Path(path).read_text(encoding="utf-8"))[0]["run_id"])


def model_run_id(run: Run) -> str:
    """The run whose model speaks for `run`: a study's best trial, or the run itself."""
    return run.data.tags.get(BEST_RUN, run.info.run_id)


def best_trials(client: MlflowClient, study: str, count: int) -> list[Run]:
    """The runs of the complete trials of a study's search with the highest F1, the best first.

    Of several studies of that name it is the one that was started last.

    Raises:
        StorageError: no such study, or MLflow cannot be asked.
    """
    with storage_errors(f"runs of study '{study}'"):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        query = f"tags.`{ROLE}` = 'study' and tags.`{STUDY}` = '{study}'"
        parents = client.search_runs(experiments, query, max_results=1, order_by=["attributes.start_time DESC"])
        if not parents:
            raise StorageError(f"study '{study}'", "no such study in MLflow", "lsml study list shows which there are")
        (parent,) = parents
        return list(
            client.search_runs(
                [parent.info.experiment_id],
                f"{trials_query(parent.info.run_id)} and tags.`{STATE}` = 'complete'",
                max_results=count,
                order_by=[f"metrics.`{BEST_METRIC}` DESC"],
            )
        )


ENSEMBLE = "ensemble"
"""The role of the run, and the alias of its registered version."""

_ENSEMBLE_IDENTITY = "lsml.ensemble"


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
    query = (
        f"tags.`{PARENT}` = '{parent_id}' and tags.`{ROLE}` = '{ENSEMBLE}' "
        f"and tags.`{_ENSEMBLE_IDENTITY}` = '{identity}'"
    )
    with storage_errors("MLflow run of the ensemble"):
        known = client.search_runs([experiment_id], query, max_results=1)
        if known:
            return known[0]
        tags = common_tags(ENSEMBLE, f"{study}-ensemble") | data_tags(data, root)
        tags |= {PARENT: parent_id, STUDY: study, STATE: "running", _ENSEMBLE_IDENTITY: identity, NOTE: note}
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
