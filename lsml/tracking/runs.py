"""MLflow runs: a study as parent, each attempt at a trial as child, single trainings, evaluations."""

import contextlib
import getpass
import json
import os
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

from lsml.config.fields import Scalar, format_value
from lsml.config.schema import TrainConfig
from lsml.data.splits import ScoredPatches, StudyData
from lsml.errors import Interrupted, in_one_line
from lsml.names import (
    OBJECTIVE,
    POOLED,
    UNKNOWN,
    VERSION,
    Artifact,
    EndState,
    Role,
    ScoredSplit,
    StageRole,
    State,
    Tag,
)
from lsml.scoring.comparison import ScoreKind
from lsml.scoring.metrics import to_csv
from lsml.scoring.regions import patch_rows
from lsml.tracking.spool import SUFFIX, Outbox, spools
from lsml.tracking.store import DEFAULT_EXPERIMENT, Client, Run, experiment_id, git_commit, project_run, storage_errors
from lsml.tracking.writes import Write, send
from lsml.training.outcome import Attempt, Panel, TrialOutcome

if TYPE_CHECKING:
    from lsml.evaluation.evaluate import EvaluationReport

_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "KILLED",
    State.FAILED: "FAILED",
    State.SUPERSEDED: "KILLED",
}
# Tableau's twenty colours, the strong ones first: MLflow draws its own from a few by chance, and gives one twice.
_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
)
# Greys, so that a glance tells the baselines from the trials.
_BASELINE_COLOURS = ("#000000", "#555555", "#8a8a8a", "#b8b8b8")
SAME_PATCHES, OTHER_PATCHES = "best F1 on these patches", "best F1 on other patches"


def run_tags(role: str, name: str, data: StudyData, root: str) -> dict[str, str]:
    """The tags of a run of lsml that says where its patches come from and how they were split."""
    tags = {
        Tag.RUN_NAME: name,
        Tag.USER: getpass.getuser(),
        Tag.SOURCE_NAME: "lsml",
        Tag.SOURCE_TYPE: "LOCAL",
        Tag.ROLE: role,
        Tag.VERSION: VERSION,
        Tag.PYTHON: platform.python_version(),
        Tag.DATA_ROOT: root,
        Tag.DATA_SOURCE: data.source,
    }
    commit = git_commit()
    fingerprints = {f"{Tag.DATA}{name}": str(value) for name, value in data.identity.items()}
    return (
        tags | ({Tag.COMMIT: commit} if commit else {}) | score_tags("validation", data.scored_patches) | fingerprints
    )


def score_tags(name: ScoredSplit, scored: ScoredPatches) -> dict[str, str]:
    """The tags of a run whose scores of that split are lsml's own: pooled, at a threshold chosen on validation."""
    threshold = SAME_PATCHES if name == "validation" else OTHER_PATCHES
    kind = ScoreKind(scored.split, scored.fingerprint, POOLED, threshold)
    return {f"{Tag.SCORE}{name}.{fact}": value for fact, value in kind._asdict().items()}


def score_kind(tags: Mapping[str, str], name: ScoredSplit) -> ScoreKind:
    """What the tags of a run say of its scores of that split; `UNKNOWN` where they say nothing."""
    return ScoreKind(*(tags.get(f"{Tag.SCORE}{name}.{fact}", UNKNOWN) for fact in ScoreKind._fields))


class _Sender(Protocol):
    """Where what is written goes: to MLflow at once, or to `lsml.tracking.spool.Outbox`."""

    def put(self, write: Write) -> str: ...


class _Direct(NamedTuple):
    """Sends at once."""

    client: Client

    def put(self, write: Write) -> str:
        return send(self.client, write.run, write)


class RunWriter:
    """Writes into a run of MLflow.

    Args:
        sender: where to write instead of straight to MLflow.

    Attributes:
        id: of the run; its identity, while MLflow has not made it.
    """

    def __init__(self, client: Client, run_id: str, sender: _Sender | None = None) -> None:
        self._client, self.id = client, run_id
        self._put = (sender or _Direct(client)).put

    def describe(
        self, params: Mapping[str, Scalar], data: StudyData, root: str, config: TrainConfig | None = None
    ) -> None:
        """Logs what a training starts from: parameters, datasets, and the whole configuration as a file."""
        self._put(Write.of_values(self.id, params=params))
        if config:
            self._put(Write.of_config(self.id, config))
        self._put(Write.of_inputs(self.id, data.splits, root))

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one epoch or fold in one call."""
        # The objective first: MLflow's comparison of chosen runs draws the metric that was written first.
        ordered = dict(sorted(metrics.items(), key=lambda item: item[0] != OBJECTIVE))
        self._put(Write.of_values(self.id, metrics=ordered, step=step))

    def outcome(self, outcome: TrialOutcome) -> None:
        """Writes the metrics, tables, panels and model of a training that has ended.

        Raises:
            StorageError: MLflow cannot store them.
        """
        best = {**outcome.final_scores(), **outcome.costs}
        tags = {f"{Tag.PREFIX}{name}": value for name, value in outcome.environment.items()} | {
            Tag.STOPPED: outcome.stopped
        }
        # At step 0 a value is one of the whole run: MLflow draws it as a bar, at any other as a curve of one point.
        self.log_scores(best, tags)
        self.log_files({path: text.encode() for path, text in outcome.tables.items()} | dict(outcome.files))
        self.log_panels(outcome.panels)
        if outcome.model is not None:
            backend = outcome.environment["backend"]
            self._put(Write.of_model(self.id, outcome.model, threshold=outcome.threshold, backend=backend))

    def evaluation(self, report: "EvaluationReport") -> None:
        """Writes the scores, pictures and tables of an evaluation.

        Raises:
            StorageError: MLflow cannot store them.
        """
        split, evaluation = report.split, report.evaluation
        metrics = evaluation.named_metrics(split)
        if report.augmented:
            metrics |= report.augmented.named_metrics(f"{split}_tta")
        if report.baseline:
            metrics |= {f"{split}_pixel_baseline_{name}": value for name, value in report.baseline.metrics.items()}
        for region in report.regions:
            metrics |= region.metrics(split)
        tags = {f"{Tag.DATA}{split}": report.fingerprint}
        if split == "test":
            tags |= score_tags("test", ScoredPatches(report.split_protocol, report.fingerprint))
        run = self._client.get_run(self.id)
        # The model of a run stays what it is: of the same patches it draws the same.
        if run.data.tags.get(f"{Tag.DATA}{split}") != report.fingerprint:
            self.log_panels(report.panels)
        self.log_scores(metrics, tags)
        rows = patch_rows(evaluation.worst_first)
        self.log_texts({f"{split}{Artifact.PATCHES}": to_csv(rows)})
        self.log_table(f"{split}{Artifact.SHOWN_PATCHES}", rows)
        if report.regions:
            self.log_table(f"{split}{Artifact.REGIONS}", [region.record() for region in report.regions])
        self.log_files(report.figures)
        if project := project_run(self._client):
            name = str(run.info.run_name)
            self._client.update_run(project, name=f"evaluate {name} on {split}")
            note = f"Scores of run `{name}` ({self.id}) on its {split} split; its tables and pictures are in that run."
            RunWriter(self._client, project).log_scores(metrics, {Tag.EVALUATED_RUN: self.id, Tag.NOTE: note})

    def log_scores(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Adds final scores and tags to a run that has ended."""
        self._put(Write.of_values(self.id, metrics=metrics, tags=tags))

    def log_texts(self, texts: Mapping[str, str]) -> None:
        """Writes text files by artifact path; one that is there already is replaced."""
        self.log_files({path: text.encode() for path, text in texts.items()})

    def log_files(self, files: Mapping[str, bytes]) -> None:
        """Writes files by artifact path; one that is there already is replaced."""
        if files:
            self._put(Write("files", self.id, files=files))

    def log_table(self, path: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Writes rows that have the columns of the first where MLflow's UI shows a table; replaces one of that path.

        As `Client.log_table` does, which would append to the table of an evaluation before.

        Args:
            path: of the artifact, ending in `.json`.
        """
        columns = list(rows[0]) if rows else []
        record = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
        with storage_errors(f"table of run {self.id}"):
            self._client.log_text(self.id, json.dumps(record), path)
            known = json.loads(self._client.get_run(self.id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
            entry = {"path": path, "type": "table"}
            if entry not in known:
                self._client.set_tag(self.id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, entry]))

    def log_panels(self, panels: Sequence[Panel]) -> None:
        """Logs pictures where MLflow's image grid lays the same patch of several runs side by side."""
        if panels:
            self._put(Write.of_panels(self.id, panels))

    def closed(self, state: EndState, reason: str) -> None:
        """Ends a run with MLflow's status for `state`; the reason becomes a tag."""
        self.log_scores({}, {Tag.STATE: state} | ({Tag.REASON: reason} if reason else {}))
        self.end(_STATUS[state])

    def end(self, status: str) -> None:
        """Closes a run as FINISHED, FAILED or KILLED."""
        self._put(Write.of_end(self.id, status))


class TrialRecorder:
    """Writes the attempts of one stage down as child runs of a study's run; what a study's coordinator writes to."""

    def __init__(self, outbox: Outbox, parent: Run, *, role: StageRole, study: str, data: StudyData, root: str) -> None:
        self._outbox, self._client = outbox, outbox.client
        self._parent, self._role, self._study, self._data, self._root = parent, role, study, data, root
        self._tags = run_tags(role, "", data, root)

    def started(self, attempt: Attempt, worker: str) -> str:
        """Opens the run of an attempt on that worker; gives its id, or its identity while MLflow has not made it."""
        title = f"{attempt.slot:03d}" if self._role == Role.TRIAL else attempt.title.replace(" ", "-")
        name = f"{self._study}-{title}"
        colours = _BASELINE_COLOURS if self._role == Role.BASELINE else _COLOURS
        tags = self._tags | {
            Tag.RUN_NAME: name if attempt.ordinal == 1 else f"{name}.{attempt.ordinal}",
            Tag.RUN_COLOR: colours[attempt.slot % len(colours)],
            Tag.NOTE: ", ".join(f"{field}={format_value(value)}" for field, value in attempt.searched.items()),
            Tag.PARENT: self._parent.info.run_id,
            Tag.STUDY: self._study,
            Tag.SLOT: str(attempt.slot),
            Tag.ATTEMPT: str(attempt.ordinal),
            Tag.TRIAL: str(attempt.number),
            Tag.WORKER: worker,
            Tag.STATE: State.RUNNING,
        }
        identity = f"{self._parent.info.run_id}/{self._role}/{attempt.slot}/{attempt.ordinal}"
        run_id = self._outbox.put(Write.of_run(identity, self._parent.info.experiment_id, tags))
        config = None if self._role == Role.BASELINE else attempt.config
        self._writer(run_id).describe(attempt.params, self._data, self._root, config)
        return run_id

    def _writer(self, run_id: str) -> RunWriter:
        return RunWriter(self._client, run_id, self._outbox)

    def located(self, identities: Iterable[str]) -> dict[str, str]:
        """The ids of the runs with these identities, once MLflow has all that was written.

        Raises:
            StorageError: MLflow does not answer.
        """
        return {identity: self._outbox.run_id(identity) for identity in identities}

    def step(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one epoch or fold in one call."""
        self._writer(run_id).step(step, metrics)

    def outcome(self, run_id: str, outcome: TrialOutcome) -> None:
        """Writes the metrics of the whole, the panels and the model."""
        self._writer(run_id).outcome(outcome)

    def closed(self, run_id: str, state: EndState, reason: str) -> None:
        """Closes the run."""
        self._writer(run_id).closed(state, reason)

    def settle(self, states: Mapping[int, EndState], reason: str) -> None:
        """Closes every child run that is still open with the state that the database has for its trial number."""
        self._outbox.flush()
        close_children(self._client, self._parent, self._role, states, reason)


def close_children(
    client: Client, parent: Run, role: StageRole, states: Mapping[int, EndState], reason: str
) -> list[tuple[str, EndState]]:
    """Closes every attempt's run of a stage that is still open; gives which, and as what.

    Args:
        states: how attempts ended, by trial number; the others are superseded for `reason`.

    Raises:
        StorageError: MLflow does not answer.
    """
    query = f"{_children(parent.info.run_id, role)} and attributes.status = 'RUNNING'"
    with storage_errors("open runs of the study"):
        open_runs = client.search_runs([parent.info.experiment_id], query, max_results=5000)
    closed = []
    for run in open_runs:
        # A later training of the study's configuration, by `lsml refit`, is no attempt.
        if Tag.TRIAL in run.data.tags:
            state = states.get(int(run.data.tags[Tag.TRIAL]), State.SUPERSEDED)
            RunWriter(client, run.info.run_id).closed(state, reason if state == State.SUPERSEDED else "")
            closed.append((str(run.info.run_id), state))
    return closed


def trials_query(parent_run_id: str) -> str:
    """MLflow's search expression for the trials of a study's search, without those that a later one replaced."""
    return f"{_children(parent_run_id, Role.TRIAL)} and tags.`{Tag.STATE}` != '{State.SUPERSEDED}'"


def competitors_query(parent_run_id: str) -> str:
    """MLflow's search expression for those trials and for the baselines, which its language has no OR for."""
    others = " and ".join(f"tags.`{Tag.ROLE}` != '{role}'" for role in (Role.CONFIRM, Role.REFIT))
    return f"tags.`{Tag.PARENT}` = '{parent_run_id}' and {others} and tags.`{Tag.STATE}` != '{State.SUPERSEDED}'"


def _children(parent_run_id: str, role: StageRole) -> str:
    return f"tags.`{Tag.PARENT}` = '{parent_run_id}' and tags.`{Tag.ROLE}` = '{role}'"


def retrainings_of(client: Client, run: Run, tags: Mapping[str, str]) -> list[Run]:
    """The later trainings of the configuration of a run that have these tags, the oldest first.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in {Tag.OF_RUN: run.info.run_id, **tags}.items())
    with storage_errors(f"retrainings of run {run.info.run_id}"):
        runs = client.search_runs([run.info.experiment_id], query, max_results=1000)
    return sorted(runs, key=lambda later: later.info.start_time)


class TrainingRun(RunWriter):
    """The MLflow run of one training that is no trial: a run of its own, or one below another.

    Args:
        below: the run of the study that it belongs to.
        tags: more of them, in the place of those that such a run has by itself.
    """

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        config: TrainConfig,
        data: StudyData,
        root: str,
        below: Run | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        project = project_run(client)
        tags = {**run_tags(Role.TRAIN, name, data, root), **tags}
        role = tags[Tag.ROLE]
        with storage_errors("MLflow run"):
            if below:
                experiment = below.info.experiment_id
                tags |= {Tag.PARENT: below.info.run_id}
            elif project:
                # Below it, not in it: `mlflow run` has logged the entry point's own parameters there.
                experiment = client.get_run(project).info.experiment_id
                tags |= {Tag.PARENT: project}
            else:
                experiment = experiment_id(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT)
        number = uuid.uuid4().hex
        self._outbox = Outbox(client, spools() / f"{number}{SUFFIX}")
        super().__init__(client, self._outbox.put(Write.of_run(f"{role}/{number}", experiment, tags)), self._outbox)
        self.describe(config.unlike_default(), data, root, config)

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Closes the run as its training ended, with the reason where it failed or was interrupted.

        Raises:
            StorageError: MLflow does not answer; what it has to be told is kept, and `lsml sync` sends it.
        """
        with self._outbox:
            try:
                yield
            except Interrupted as signal:
                self.closed(State.SUPERSEDED, f"interrupted by {signal.name}")
                raise
            except Exception as error:
                self.closed(State.FAILED, in_one_line(error))
                raise
            self.closed(State.COMPLETE, "")
            self.id = self._outbox.run_id(self.id)
