"""The MLflow run of a study and those of its ensembles: created or resumed, filled, closed."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from mlflow.exceptions import MlflowException

from lsml.config.fields import Scalar
from lsml.data.splits import StudyData
from lsml.errors import ConfigError, DataError, Interrupted, ModelError, StorageError, StudyError
from lsml.models.export import ModelFile
from lsml.names import Artifact, Metric, Role, State, Tag
from lsml.scoring.promotion_policy import decide
from lsml.tracking import unknown
from lsml.tracking.models import RunModel
from lsml.tracking.reading import RunReader
from lsml.tracking.registry import RegisteredModel, registered
from lsml.tracking.runs import RunWriter, run_tags, trials_query
from lsml.tracking.spool import Outbox
from lsml.tracking.store import (
    DEFAULT_EXPERIMENT,
    Client,
    Run,
    describe_experiment,
    experiment_id,
    find_run,
    project_run,
    storage_errors,
    study_of,
)
from lsml.training.outcome import Panel


class StudyRun:
    """The run of a study.

    Attributes:
        run: as it was when it was opened or read.
    """

    def __init__(self, client: Client, run: Run) -> None:
        self._client, self.run = client, run

    @classmethod
    def open(
        cls,
        client: Client,
        known: str | None,
        *,
        identity: str,
        study: str,
        params: Mapping[str, Scalar],
        data: StudyData,
        root: str,
        note: str,
        model: str | None = None,
        unusual: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """The study's run, marked as running, with what is unusual about its patches as tags.

        A study keeps the run that it had before: `known`, or where that was not recorded the one with its `identity`.
        A new study takes the run that `mlflow run` made for this process, where there is one, else a run of its own in
        MLflow's experiment `lsml` (or `MLFLOW_EXPERIMENT_NAME`).

        Args:
            model: what its registered model is to be called; None for the study's name. A study that was called
                otherwise before keeps that.

        Raises:
            ConfigError: the study's model has another name than `model`.
            StorageError: MLflow cannot store it.
        """
        with storage_errors("MLflow run of the study"):
            existing = _existing(client, known) or client.run_of(identity)
            if existing is not None:
                _check_model(client, existing, study, model)
                RunWriter(client, existing.info.run_id).log_scores({}, unusual)
                return cls(client, _resume(client, existing.info.run_id, study))
            tags = run_tags(Role.STUDY, study, data, root) | {**unusual}
            names = {Tag.STUDY: study, Tag.MODEL_NAME: model or study}
            run_id = _create(client, tags | names | {Tag.IDENTITY: identity, Tag.NOTE: note})
            RunWriter(client, run_id).describe(params, data, root)
            return cls(client, client.get_run(run_id))

    def log(
        self,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        note: str,
        texts: Mapping[str, str],
        records: Mapping[str, Any],
    ) -> None:
        """Writes the figures: scores, tags, the note in Markdown, text files and JSON files by artifact path."""
        writer = RunWriter(self._client, self.run.info.run_id)
        writer.log_scores(metrics, {**tags, Tag.NOTE: note})
        writer.log_texts(texts)
        with storage_errors("figures of the study"):
            for path, record in records.items():
                self._client.log_dict(writer.id, record, path)

    @contextlib.contextmanager
    def closing(self, outbox: Outbox) -> Iterator[None]:
        """Closes the run as the study ended, after all that the outbox holds.

        Raises:
            StorageError: MLflow does not answer.
        """
        try:
            yield
        except (Exception, Interrupted) as error:
            self._close(error, outbox)
            raise
        self.end("FINISHED", outbox)
        outbox.flush()

    def _close(self, error: BaseException, outbox: Outbox) -> None:
        # What has ended the study is said, also where its run cannot be closed: that is then done by the next command.
        with contextlib.suppress(StorageError):
            self.end("FAILED" if isinstance(error, StudyError) else "KILLED", outbox)

    def end(self, status: str, outbox: Outbox) -> None:
        """Closes the study's run as FINISHED, FAILED or KILLED, after all that the outbox holds."""
        RunWriter(self._client, self.run.info.run_id, outbox).end(status)

    def scored_run_id(self) -> str:
        """The run that cross-validated the configuration that a study in folds registered.

        Raises:
            StorageError: the study has not ended, or MLflow cannot be asked.
        """
        run_id = self.run.info.run_id
        with storage_errors(f"standings of study {run_id}"), tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(run_id, Artifact.STANDINGS, folder)
            return str(json.loads(Path(path).read_text(encoding="utf-8"))[0]["run_id"])


def _check_model(client: Client, parent: Run, study: str, asked: str | None) -> None:
    recorded = RegisteredModel.of_run(client, parent).name
    if asked not in (None, recorded):
        raise ConfigError(
            f"study '{study}'",
            f"its registered model is called {recorded}, not {asked}",
            "leave out --model-name, or start a new one with --study NAME",
        )


def _resume(client: Client, run_id: str, study: str) -> Run:
    client.update_run(run_id, status="RUNNING")
    project = project_run(client)
    if project and project != run_id:
        client.update_run(project, name=f"resume {study}")
        client.set_tag(project, Tag.RESUMES, run_id)
        client.set_tag(project, Tag.NOTE, f"Resumed study `{study}`, whose run is `{run_id}`.")
    return client.get_run(run_id)


def _create(client: Client, tags: dict[str, str]) -> str:
    """The id of a run with the tags: the one that `mlflow run` made, which keeps its source, or a new one."""
    project = project_run(client)
    if not project:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
        return str(client.create_run(experiment_id(client, name), tags=tags).info.run_id)
    describe_experiment(client, client.get_run(project).info.experiment_id)
    for key, value in tags.items():
        if not key.startswith(Tag.SOURCE):
            client.set_tag(project, key, value)
    return project


def _existing(client: Client, run_id: str | None) -> Run | None:
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" and run.data.tags.get(Tag.ROLE) == Role.STUDY else None


def named_run(client: Client, name: str) -> Run:
    """The run that a person names, one rule for every command.

    A run goes by its id or the first digits of it, by its name (`demo-000`), or as the one that a registered model came
    from: `NAME@ALIAS` or `NAME/VERSION`, with or without MLflow's `models:/` in front. A study goes by its name too, of
    several the one that was started last.

    Raises:
        ModelError: a version's files are not those of its run, or the run is not one of lsml's.
        StorageError: nothing has that name, or more than one run.
    """
    if _RUN_ID.fullmatch(name):
        return _own(find_run(client, name))
    if version := registered(client, name):
        return find_run(client, str(version.run_id))
    with storage_errors(f"run {name}"):
        found = _runs_like(client, name)
    if len(found) == 1:
        return _own(found[0])
    if found:
        ids = ", ".join(sorted(run.info.run_id for run in found)[:_SHOWN])
        raise StorageError(f"run {name}", f"{len(found)} runs go by that: {ids}", "give the id of one")
    raise unknown(name)


def named_study(client: Client, name: str) -> Run:
    """The run of the study that a person names, as of `named_run`: itself, or by a run or a model of it.

    Raises:
        ModelError, StorageError: as of `named_run`; or what is named is of no study.
    """
    run = named_run(client, name)
    study = run if run.data.tags.get(Tag.ROLE) == Role.STUDY else study_of(client, run)
    if study is None:
        raise StorageError(f"run {run.info.run_id}", "is of no study", "lsml study list names the studies")
    return study


def _own(run: Run) -> Run:
    """The run, where lsml made it or its model; raises ModelError of any other."""
    if not any(key.startswith(Tag.PREFIX) for key in run.data.tags):
        fix = "lsml study list names the studies, lsml study show NAME their runs"
        raise ModelError(f"run {run.info.run_id}", "is of another project, and has no model of lsml's", fix)
    return run


def _runs_like(client: Client, name: str) -> Sequence[Run]:
    """The runs of that name, of a study it alone; else those whose id begins so."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    if not experiments or not _NAME.fullmatch(name):
        return ()
    named = _of_name(client, experiments, name)
    # The newest first.
    studies = [run for run in named if run.data.tags.get(Tag.ROLE) == Role.STUDY][:1]
    if named or not _START_OF_ID.fullmatch(name):
        return studies or named
    return client.search_runs(experiments, f"attributes.run_id LIKE '{name}%'")


def _of_name(client: Client, experiments: list[str], name: str) -> list[Run]:
    """The runs of that name; of an attempt that was lost the later one, which has a number behind the name."""
    like = client.search_runs(experiments, f"attributes.run_name LIKE '{name}%'")
    tries = [run for run in like if re.fullmatch(rf"{re.escape(name)}(\.\d+)?", str(run.info.run_name))]
    lasting = [run for run in tries if run.data.tags.get(Tag.STATE) != State.SUPERSEDED]
    return [run for run in lasting if run.info.run_name == name] or lasting or tries


_RUN_ID, _START_OF_ID = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{4,31}")
_NAME, _SHOWN = re.compile(r"[\w. -]+"), 5  # nothing of a name has a meaning of its own in a filter


def model_run(client: Client, run: Run) -> Run:
    """The run whose model speaks for `run`: a study's best trial, or the run itself.

    Raises:
        StorageError: the best trial's run is gone.
    """
    return find_run(client, run.data.tags[Tag.BEST_RUN]) if Tag.BEST_RUN in run.data.tags else run


def scored_run(client: Client, run: Run) -> Run:
    """The run whose scores speak for `run`: itself, or that of its configuration where it was trained on all patches.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    if run.data.tags.get(Tag.ROLE) != Role.REFIT:
        return run
    if Tag.OF_RUN in run.data.tags:
        return find_run(client, run.data.tags[Tag.OF_RUN])
    study = study_of(client, run)
    return run if study is None else find_run(client, StudyRun(client, study).scored_run_id())


def best_trials(client: Client, study: str, count: int) -> list[Run]:
    """The complete trials of a study, the one with the highest F1 first; raises as `named_study`."""
    parent = named_study(client, study)
    with storage_errors(f"runs of study '{study}'"):
        return list(
            client.search_runs(
                [parent.info.experiment_id],
                f"{trials_query(parent.info.run_id)} and tags.`{Tag.STATE}` = '{State.COMPLETE}'",
                max_results=count,
                order_by=[f"metrics.`{Metric.BEST_F1}` DESC"],
            )
        )


class EnsembleRun:
    """The run of an ensemble, below its study's.

    Attributes:
        run: as it was when it was opened.
    """

    def __init__(self, client: Client, run: Run) -> None:
        self._client, self.run = client, run

    @classmethod
    def open(
        cls, client: Client, parent: Run, *, identity: str, study: str, data: StudyData, root: str, note: str
    ) -> Self:
        """The run of the ensemble with that identity, below the study's run; created where there is none.

        Raises:
            StorageError: MLflow cannot store it.
        """
        experiment_id, parent_id = parent.info.experiment_id, parent.info.run_id
        query = (
            f"tags.`{Tag.PARENT}` = '{parent_id}' and tags.`{Tag.ROLE}` = '{Role.ENSEMBLE}' "
            f"and tags.`{Tag.ENSEMBLE}` = '{identity}'"
        )
        with storage_errors("MLflow run of the ensemble"):
            known = client.search_runs([experiment_id], query, max_results=1)
            if known:
                return cls(client, known[0])
            tags = run_tags(Role.ENSEMBLE, f"{study}-ensemble", data, root)
            tags |= {
                Tag.PARENT: parent_id,
                Tag.STUDY: study,
                Tag.STATE: State.RUNNING,
                Tag.ENSEMBLE: identity,
                Tag.NOTE: note,
            }
            return cls(client, client.create_run(experiment_id, tags=tags))

    @property
    def complete(self) -> bool:
        """Whether it was filled to its end."""
        return self.run.data.tags.get(Tag.STATE) == State.COMPLETE

    def fill(
        self,
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
        """Writes all of the ensemble, its model last, and closes the run; resumed after a kill, it writes the rest.

        Raises:
            StorageError: MLflow cannot store it.
        """
        writer, model = RunWriter(self._client, self.run.info.run_id), RunModel(self._client, self.run.info.run_id)
        with storage_errors(f"MLflow run {writer.id} of the ensemble"):
            writer.describe(params, data, root)
            self._client.log_dict(writer.id, dict(record), Artifact.ENSEMBLE)
        writer.log_scores(metrics, {Tag.BACKEND: backend})
        writer.log_texts(texts)
        writer.log_panels(panels)
        if not model.exists():
            model.log(file, threshold=threshold, backend=backend)
        writer.closed(State.COMPLETE, "")


def offer_alias(client: Client, model: RegisteredModel, alias: str, version: str) -> str:
    """Gives a version an alias, unless the promotion policy finds it worse than the version that has it.

    Returns:
        Which version has the alias now, which had it, and why, in one line.

    Raises:
        ModelError: the version has other files than lsml reads for its run.
        StorageError: MLflow cannot be used.
    """
    name, before = f"{model.name}@{alias}", model.holder(alias)
    if before in (None, version):
        model.give_alias(alias, version, tags={})
        return f"{name} is version {version}"
    record = f"{Tag.ALIAS}{alias}"
    holder, contender = model.version(before), model.version(version)
    try:
        runs = [scored_run(client, find_run(client, str(each.run_id))) for each in (contender, holder)]
        scores, present = (RunReader(client, run).scored_model("validation") for run in runs)
        given_away = float(json.loads(holder.tags.get(record, "{}")).get("shortfall", 0.0))
        decision = decide(scores, present, shortfall=given_away, called=alias)
    except (DataError, StorageError) as error:
        # What cannot be compared, as its patches or its run are gone, is no reason to move the alias.
        return f"{name} stays at version {before}: {error}"
    if not decision.not_worse:
        return f"{name} stays at version {before}: version {version} is {decision.why}"
    facts = {"from": before, "why": decision.why, "shortfall": decision.shortfall}
    model.give_alias(alias, version, tags={record: json.dumps(facts)})
    return f"{name} moved from version {before} to version {version}: {decision.why}"
