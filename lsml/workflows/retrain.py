"""Training a run's configuration once more: to keep the result, or to see whether the same comes out."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsml.config.fields import flatten
from lsml.config.schema import TrainConfig, from_parameters
from lsml.data.splits import Steps, StudyData
from lsml.errors import ConfigError, ModelError
from lsml.models.weights import identity, provenance
from lsml.study.trial import train_trial
from lsml.training import backend
from lsml.training.outcome import TrialFunction, TrialTask
from lsml.workflows.sources import recorded_data
from lsml.workflows.train import TrainWatcher, closing
from lsml.workspace import STATE_FOLDER, alone

if TYPE_CHECKING:
    from lsml.workflows.train import TrainWatcher


@dataclass(frozen=True)
class Training:
    """What is to be trained again.

    Attributes:
        of: the run whose configuration it is.
        below: the run of that run's study; None where it has none.
        role: what for.
        number: tells trainings of one role apart.
        title: for people.
        config: what to train.
        data: on which patches.
        root: their folder.
        tags: more tags of the run.
        scores: metrics of the run besides those that the training gives.
    """

    of: Any
    below: Any | None
    role: Literal["refit", "repeat"]
    number: int
    title: str
    config: TrainConfig
    data: StudyData
    root: Path
    tags: Mapping[str, str]
    scores: Mapping[str, float]

    @property
    def identity(self) -> dict[str, str]:
        """Tags by which its run is found again."""
        from lsml.tracking.runs import ROLE

        return {ROLE: self.role, "lsml.number": str(self.number)}


def train_again(
    client: Any, training: Training, function: TrialFunction, *, steps: Steps, watcher: TrainWatcher
) -> str:
    """The id of the run of a training that came to its end: one that there is already, or a new one.

    A training that was killed goes on from its last epoch or fold, in a run of its own; the run that it left open is
    closed as superseded.

    Raises:
        ModelError: pretrained weights cannot be had, or their file is another than the run started from.
        StorageError: MLflow cannot be used, or another process is at it.
        OutOfMemory: the configuration does not fit.
        StudyError: the training diverged.
    """
    from lsml.tracking.runs import STATE, TrainingRun, close_run, log_scores, trained_again

    _check_weights(training)
    run_id = training.of.info.run_id
    folder = (STATE_FOLDER / "again" / f"{run_id}-{training.role}-{training.number}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # The lock beside the folder, which goes when the work is done.
    with alone(folder.with_name(f"{folder.name}.lock"), training.title):
        for earlier in trained_again(client, training.of, training.identity):
            if earlier.data.tags[STATE] == "complete":
                return str(earlier.info.run_id)
            if earlier.info.status == "RUNNING":
                close_run(client, earlier.info.run_id, "superseded", "its process ended before it did")
        run = TrainingRun(
            client,
            name=training.title.replace(" ", "-"),
            params=flatten(training.config),
            data=training.data,
            root=str(training.root),
            below=training.below,
            tags=_tags(training),
        )

        def report(step: int, metrics: Mapping[str, float], replayed: bool) -> bool:
            run.step(step, metrics)
            watcher.show_step(training.title, step, steps, metrics)
            return True

        with closing(run):
            backend.load_keras()
            outcome = function(TrialTask(training.config, training.data, checkpoint=folder / "checkpoint"), report)
            run.outcome(outcome)
            log_scores(client, run.id, training.scores, {})
        shutil.rmtree(folder)
    return run.id


def _check_weights(training: Training) -> None:
    was = training.of.data.tags.get("lsml.weights_sha256", "")
    if provenance(identity(training.config.model)).get("weights_sha256", "") != was:
        raise ModelError(
            f"model.weights {training.config.model.weights}",
            f"its content is not what run {training.of.info.run_id} started from",
            "put that file back",
        )


def _tags(training: Training) -> dict[str, str]:
    from lsml.tracking.runs import EXPERIMENT, OF_RUN, STATE, STUDY

    inherited = {key: training.of.data.tags[key] for key in (EXPERIMENT, STUDY) if key in training.of.data.tags}
    own = {OF_RUN: training.of.info.run_id, STATE: "running"}
    return {**inherited, **own, **training.identity, **training.tags}


_REPRODUCIBLE = ("trial", "confirm", "train", "repeat")
_ENVIRONMENT = ("device_name", "backend", "precision", "xla", "keras", "machine")


@dataclass(frozen=True)
class Reproduction:
    """What a run had, and what its training gave again.

    Attributes:
        recorded: the scores of the run, by name.
        again: the same scores of the training now.
        changed: what of device, arithmetic and versions is different now: then and now, by name.
    """

    run_id: str
    recorded: Mapping[str, float]
    again: Mapping[str, float]
    changed: Mapping[str, tuple[str, str]]

    @property
    def differing(self) -> dict[str, float]:
        """Now less then, of the scores that are not equal to the last digit."""
        return {name: self.again[name] - value for name, value in self.recorded.items() if self.again[name] != value}


def reproduce(run_id: str, *, data: Path | None, watcher: "TrainWatcher") -> Reproduction:
    """Trains a run's configuration, seed included, on the patches that it had; nothing is written into MLflow.

    A trial that was pruned is stopped after as many epochs or folds.

    Args:
        data: the folder of the patches, where they have moved.

    Raises:
        ConfigError: the run is no training that came to an end.
        DataError: the patches are not there, or are others.
        StorageError: no such run.
    """
    from lsml.tracking.runs import final_scores, find_run
    from lsml.tracking.store import open_client

    run = find_run(open_client(), run_id)
    _check_trained(run)
    config = from_parameters(run.data.params)
    patches = recorded_data(run.data.tags, data, watcher.step)
    pruned_after = _steps(run) if run.data.tags.get("lsml.stopped") == "pruned" else None
    backend.load_keras()

    def report(step: int, metrics: Mapping[str, float], replayed: bool) -> bool:
        watcher.show_step("training again", step, patches.steps(config), metrics)
        return step != pruned_after

    outcome = train_trial(TrialTask(config, patches, checkpoint=None), report)
    scores = final_scores(outcome)
    recorded = {name: run.data.metrics[name] for name in scores if name in run.data.metrics}
    then = {name: run.data.tags.get(f"lsml.{name}", "") for name in _ENVIRONMENT}
    changed = {name: (then[name], outcome.environment.get(name, "")) for name in _ENVIRONMENT}
    return Reproduction(
        run_id,
        recorded,
        {name: scores[name] for name in recorded},
        {name: (was, now) for name, (was, now) in changed.items() if was != now},
    )


def _check_trained(run: Any) -> None:
    from lsml.tracking.runs import ROLE, STATE

    role, state = run.data.tags.get(ROLE, "unknown"), run.data.tags.get(STATE, "unknown")
    if role not in _REPRODUCIBLE or state not in ("complete", "pruned"):
        what = f"its role is {role} and its state {state}"
        raise ConfigError(
            f"run {run.info.run_id}",
            f"no training that came to its end: {what}",
            "give the run of a trial or of lsml train; lsml study show NAME lists them",
        )


def _steps(run: Any) -> int:
    """Epochs or folds that the run reported."""
    metrics = run.data.metrics
    return int(metrics["folds"] if "folds" in metrics else metrics["epochs"])
