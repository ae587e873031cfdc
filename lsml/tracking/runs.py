"""MLflow runs: a study as parent, each attempt at a trial as child, single trainings, evaluations."""

import getpass
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

from lsml import __version__
from lsml.config.fields import Scalar, in_words
from lsml.config.schema import OBJECTIVE
from lsml.data.pack import PackedSplit
from lsml.data.splits import StudyData
from lsml.errors import StorageError
from lsml.tracking.models import log_model
from lsml.tracking.scores import score_tags
from lsml.tracking.store import DEFAULT_EXPERIMENT, experiment_id, git_commit, storage_errors
from lsml.training.outcome import Attempt, Panel, Role, State, TrialOutcome

STUDY, ROLE, STATE, SLOT, ATTEMPT, TRIAL = (
    "lsml.study",
    "lsml.role",
    "lsml.state",
    "lsml.slot",
    "lsml.attempt",
    "lsml.trial",
)
BEST_RUN, DATA_ROOT, DATA_SOURCE = "lsml.best_run_id", "lsml.data.root", "lsml.data.source"
REGISTERED, EXPERIMENT = "lsml.registered", "lsml.experiment"
OF_RUN, TRAINED_ON = "lsml.of_run_id", "lsml.trained_on"
_DATA = "lsml.data."
TRAIN, FOLDS, REPEATS = f"{_DATA}train", f"{_DATA}folds", f"{_DATA}repeats"
BEST_METRIC = f"best_{OBJECTIVE}"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "superseded": "KILLED"}
# Tableau's twenty colours, the strong ones first: MLflow draws its own from a few by chance, and gives one twice.
_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
)
# Greys, so that a glance tells what a network has to beat from the networks.
_BASELINE_COLOURS = ("#000000", "#555555", "#8a8a8a", "#b8b8b8")
_SHOWN_DIGEST = 32
_MAX_TAG = 4900


def common_tags(role: str, name: str) -> dict[str, str]:
    """What every run of lsml says of itself."""
    tags = {
        "mlflow.runName": name,
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "lsml",
        "mlflow.source.type": "LOCAL",
        ROLE: role,
        "lsml.version": __version__,
        "lsml.python": platform.python_version(),
    }
    commit = git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def data_tags(data: StudyData, root: str) -> dict[str, str]:
    """Where the patches come from, the fingerprints of the splits and how they are judged."""
    tags = {DATA_ROOT: root, DATA_SOURCE: data.source, **score_tags("validation", data.judged)}
    return tags | {f"{_DATA}{name}": str(value) for name, value in data.identity.items()}


def _run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value[:_MAX_TAG]) for key, value in tags.items()]


def _params(values: Mapping[str, Scalar]) -> list[Param]:
    return [Param(key, str(value)) for key, value in values.items()]


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, step) for key, value in values.items()]


def dataset_input(split: PackedSplit, root: str) -> DatasetInput:
    """The split as MLflow's dataset; the digest is the start of its fingerprint, which MLflow limits."""
    dataset = Dataset(
        name=f"landslide4sense-{split.name}",
        digest=split.fingerprint[:_SHOWN_DIGEST],
        source_type="local",
        source=f'{{"uri": "{root}"}}',
        profile=json.dumps(
            {
                "patches": len(split),
                "patches_without_landslide": int((split.landslide_fractions == 0).sum()),
                "landslide_share": float(split.landslide_fractions.mean()),
            }
        ),
    )
    context = {"train": "training"}.get(split.name, split.name)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


class TrialRecorder:
    """Writes the attempts of one stage down as child runs of a study's run; `lsml.study.coordinator.Recorder`."""

    def __init__(
        self, client: MlflowClient, parent: Run, *, role: Role, study: str, data: StudyData, root: str
    ) -> None:
        self._client, self._parent, self._role, self._study = client, parent, role, study
        self._data, self._root = data, root
        self._tags = common_tags(role, "") | data_tags(data, root)

    def started(self, attempt: Attempt) -> str:
        """Opens the attempt's run and gives its id."""
        title = f"{attempt.slot:03d}" if self._role == "trial" else attempt.title.replace(" ", "-")
        name = f"{self._study}-{title}"
        colours = _BASELINE_COLOURS if self._role == "baseline" else _COLOURS
        tags = self._tags | {
            "mlflow.runName": name if attempt.ordinal == 1 else f"{name}.{attempt.ordinal}",
            "mlflow.runColor": colours[attempt.slot % len(colours)],
            NOTE: ", ".join(f"{field}={in_words(value)}" for field, value in attempt.searched.items()),
            PARENT: self._parent.info.run_id,
            STUDY: self._study,
            SLOT: str(attempt.slot),
            ATTEMPT: str(attempt.ordinal),
            TRIAL: str(attempt.number),
            STATE: "running",
        }
        with storage_errors("MLflow run of a trial"):
            run = self._client.create_run(self._parent.info.experiment_id, tags=tags)
            describe_run(self._client, run.info.run_id, attempt.params, self._data, self._root)
        return run.info.run_id

    def step(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one epoch or fold in one call."""
        log_step(self._client, run_id, step, metrics)

    def outcome(self, run_id: str, outcome: TrialOutcome) -> None:
        """Writes the metrics of the whole, the panels and the model."""
        log_outcome(self._client, run_id, outcome)

    def closed(self, run_id: str, state: State, reason: str) -> None:
        """Closes the run."""
        close_run(self._client, run_id, state, reason)

    def settle(self, states: Mapping[int, State], reason: str) -> None:
        """Closes every child that is still open as the study's database has it, by trial number."""
        query = f"{_children(self._parent.info.run_id, self._role)} and attributes.status = 'RUNNING'"
        with storage_errors("open runs of the study"):
            open_runs = self._client.search_runs([self._parent.info.experiment_id], query, max_results=5000)
        for run in open_runs:
            state = states.get(int(run.data.tags[TRIAL]), "superseded")
            self.closed(run.info.run_id, state, reason if state == "superseded" else "")


def trials_query(parent_run_id: str) -> str:
    """MLflow's search expression for the trials of a study's search, without those that a later one replaced."""
    return f"{_children(parent_run_id, 'trial')} and tags.`{STATE}` != 'superseded'"


def competitors_query(parent_run_id: str) -> str:
    """MLflow's search expression for those trials and for the baselines, which its language has no OR for."""
    others = " and ".join(f"tags.`{ROLE}` != '{role}'" for role in ("confirm", "refit"))
    return f"tags.`{PARENT}` = '{parent_run_id}' and {others} and tags.`{STATE}` != 'superseded'"


def _children(parent_run_id: str, role: Role) -> str:
    return f"tags.`{PARENT}` = '{parent_run_id}' and tags.`{ROLE}` = '{role}'"


def describe_run(client: MlflowClient, run_id: str, params: Mapping[str, Scalar], data: StudyData, root: str) -> None:
    """Writes what a training run starts from: parameters and datasets."""
    client.log_batch(run_id, params=_params(params))
    client.log_inputs(run_id, [dataset_input(split, root) for split in data.splits])


def log_step(client: MlflowClient, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
    """Writes the metrics of one epoch or fold in one call."""
    # The objective first: MLflow's comparison of chosen runs draws the metric that was written first.
    ordered = dict(sorted(metrics.items(), key=lambda item: item[0] != OBJECTIVE))
    with storage_errors(f"metrics of run {run_id}"):
        client.log_batch(run_id, metrics=_metrics(ordered, step))


def log_outcome(client: MlflowClient, run_id: str, outcome: TrialOutcome) -> None:
    """Writes the metrics, tables, panels and model of a training that came to its end.

    Raises:
        StorageError: MLflow cannot store them.
    """
    best = {**final_scores(outcome), **outcome.costs}
    tags = {f"lsml.{name}": value for name, value in outcome.environment.items()} | {"lsml.stopped": outcome.stopped}
    with storage_errors(f"outcome of run {run_id}"):
        # At step 0 a value is one of the whole run: MLflow draws it as a bar, at any other as a curve of one point.
        client.log_batch(run_id, metrics=_metrics(best, 0), tags=_run_tags(tags))
    log_texts(client, run_id, outcome.tables)
    if outcome.files:
        log_files(client, run_id, outcome.files)
    log_panels(client, run_id, outcome.panels)
    if outcome.model is not None:
        log_model(client, run_id, outcome.model, threshold=outcome.threshold, backend=outcome.environment["backend"])


def final_scores(outcome: TrialOutcome) -> dict[str, float]:
    """What the same training again would give again: scores of the best epoch, and how many epochs or folds."""
    scores = {f"best_{name}": value for name, value in outcome.metrics.items() if name.startswith("val_")}
    return scores | {"best_epoch": outcome.best_epoch, f"{outcome.steps.noun}s": outcome.steps.total}


def log_texts(client: MlflowClient, run_id: str, texts: Mapping[str, str]) -> None:
    """Writes text files by artifact path; one that is there already is replaced."""
    with storage_errors(f"files of run {run_id}"):
        for path, text in texts.items():
            client.log_text(run_id, text, path)


def log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    """Writes files by artifact path; one that is there already is replaced."""
    with storage_errors(f"files of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        client.log_artifacts(run_id, folder)


def log_table(client: MlflowClient, run_id: str, path: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows that all have the columns of the first where MLflow's UI shows a table; replaces one of that path.

    As `MlflowClient.log_table` does, which would append to the table of an evaluation before.

    Args:
        path: of the artifact, ending in `.json`.
    """
    columns = list(rows[0]) if rows else []
    record = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
    with storage_errors(f"table of run {run_id}"):
        client.log_text(run_id, json.dumps(record), path)
        known = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        entry = {"path": path, "type": "table"}
        if entry not in known:
            client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, entry]))


def log_panels(client: MlflowClient, run_id: str, panels: Sequence[Panel]) -> None:
    """Logs pictures where MLflow's image grid lays the same patch of several runs side by side."""
    with storage_errors(f"panels of run {run_id}"):
        for panel in panels:
            client.log_image(run_id, panel.image, key=panel.key, step=0)


def close_run(client: MlflowClient, run_id: str, state: State, reason: str) -> None:
    """Ends a run with MLflow's status for `state`; the reason becomes a tag."""
    tags = {STATE: state} | ({"lsml.reason": reason} if reason else {})
    with storage_errors(f"run {run_id}"):
        client.log_batch(run_id, tags=_run_tags(tags))
        client.set_terminated(run_id, _STATUS[state])


def find_run(client: MlflowClient, run_id: str) -> Run:
    """The run of that id.

    Raises:
        StorageError: there is none.
    """
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise StorageError(
            f"run {run_id}", error.message.splitlines()[0], "lsml study show NAME lists the run ids of a study"
        ) from None


def study_of(client: MlflowClient, run: Run) -> Run | None:
    """The run of the study that a run belongs to; None where it belongs to none.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    if PARENT not in run.data.tags:
        return None
    parent = find_run(client, run.data.tags[PARENT])
    return parent if parent.data.tags.get(ROLE) == "study" else None


def log_scores(client: MlflowClient, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Adds final scores and tags to a run that has ended."""
    with storage_errors(f"scores of run {run_id}"):
        client.log_batch(run_id, metrics=_metrics(metrics, 0), tags=_run_tags(tags))


def trained_again(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> list[Run]:
    """The trainings of a run's configuration after it that have these tags, the oldest first.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in {OF_RUN: run.info.run_id, **tags}.items())
    with storage_errors(f"trainings of run {run.info.run_id} again"):
        found = client.search_runs([run.info.experiment_id], query, max_results=1000)
    return sorted(found, key=lambda again: again.info.start_time)


class TrainingRun:
    """The MLflow run of one training that is no trial: a run of its own, or one below another.

    Args:
        below: the run of the study that it belongs to.
        tags: more of them, in the place of those that such a run has by itself.
    """

    def __init__(
        self,
        client: MlflowClient,
        *,
        name: str,
        params: Mapping[str, Scalar],
        data: StudyData,
        root: str,
        below: Run | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._client = client
        project_run = os.environ.get("MLFLOW_RUN_ID")
        tags = {**common_tags("train", name), **data_tags(data, root), **tags}
        with storage_errors("MLflow run"):
            if below:
                experiment = below.info.experiment_id
                tags |= {PARENT: below.info.run_id}
            elif project_run:
                # Below it, not in it: `mlflow run` has logged the entry point's own parameters there.
                experiment = client.get_run(project_run).info.experiment_id
                tags |= {PARENT: project_run}
            else:
                experiment = experiment_id(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT)
            self.id = client.create_run(experiment, tags=tags).info.run_id
            describe_run(client, self.id, params, data, root)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one epoch or fold in one call."""
        log_step(self._client, self.id, step, metrics)

    def outcome(self, outcome: TrialOutcome) -> None:
        """Writes the metrics of the whole, the panels and the model."""
        log_outcome(self._client, self.id, outcome)

    def closed(self, state: State, reason: str) -> None:
        """Closes the run."""
        close_run(self._client, self.id, state, reason)
