"""Trains the configuration of a run once more: to keep the result, or to check that it is reproducible."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps, StudyData
from lsml.errors import ConfigError, ModelError
from lsml.errors.signals import opened
from lsml.models.pretrained import identity, provenance
from lsml.names import Metric, Role, State, Tag
from lsml.study.trial import confirm_trial, train_trial
from lsml.tracking.reading import RunReader, raw_threshold
from lsml.tracking.runs import RunWriter, TrainingRun, retrainings_of
from lsml.tracking.store import Client, Run, open_store
from lsml.tracking.study import named_run
from lsml.training.device import load_keras
from lsml.training.outcome import StepEvent, TrialFunction, TrialTask
from lsml.workflows.sources import Listener, RecordedData
from lsml.workspace import STATE_FOLDER, exclusively, make_folder


@dataclass(frozen=True)
class Retraining:
    """A training of the configuration of a run.

    Attributes:
        of: the run whose configuration it is.
        below: the run of its study; None where it has none.
        role: what it is for.
        number: tells trainings of one role apart.
        title: names it for people.
        config: what to train.
        data: on which patches.
        root: their folder.
        tags: more tags of the run.
        scores: metrics of the run besides those that the training gives.
    """

    of: Run
    below: Run | None
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
        return {Tag.ROLE: self.role, Tag.NUMBER: str(self.number)}

    def run(self, client: Client, function: TrialFunction, *, steps: Steps, listener: Listener) -> str:
        """Trains, unless there is a complete run of the same training; gives the id of its run.

        A training that was killed resumes from its last epoch or fold, in a new run; the run that it left open is
        closed as superseded.

        Raises:
            ModelError: pretrained weights cannot be had, or their file is another than the run started from.
            StorageError: MLflow cannot be used, or it is locked by another process.
            OutOfMemory: the configuration does not fit.
            StudyError: the training diverged.
        """
        _check_weights(self)
        run_id = self.of.info.run_id
        folder = (STATE_FOLDER / "again" / f"{run_id}-{self.role}-{self.number}").resolve()
        make_folder(folder)
        # The lock beside the folder, which goes when the work is done.
        with exclusively(folder.with_name(f"{folder.name}.lock"), self.title):
            for earlier in retrainings_of(client, self.of, self.identity):
                if earlier.data.tags[Tag.STATE] == State.COMPLETE:
                    return str(earlier.info.run_id)
                if earlier.info.status == "RUNNING":
                    RunWriter(client, earlier.info.run_id).closed(State.SUPERSEDED, "its process ended before it did")

            def open_run() -> TrainingRun:
                return TrainingRun(
                    client,
                    name=self.title.replace(" ", "-"),
                    config=self.config,
                    data=self.data,
                    root=str(self.root),
                    below=self.below,
                    tags=_tags(self),
                )

            def report(event: StepEvent) -> bool:
                run.step(event.step, event.metrics)
                listener.show_step(self.title, event.step, steps, event.metrics)
                return True

            with opened(open_run, TrainingRun.closing) as run:
                load_keras()
                outcome = function(TrialTask(self.config, self.data, checkpoint=folder / "checkpoint"), report)
                run.outcome(outcome)
                run.log_scores(self.scores, {})
            shutil.rmtree(folder)
        return run.id


def _check_weights(training: Retraining) -> None:
    was = training.of.data.tags.get(Tag.WEIGHTS, "")
    if provenance(identity(training.config.model)).get("weights_sha256", "") != was:
        raise ModelError(
            f"model.weights {training.config.model.weights}",
            f"its content is not what run {training.of.info.run_id} started from",
            "restore that file",
        )


def _tags(training: Retraining) -> dict[str, str]:
    inherited: dict[str, str] = {
        key: training.of.data.tags[key]
        for key in (Tag.EXPERIMENT, Tag.MODEL_NAME, Tag.STUDY)
        if key in training.of.data.tags
    }
    own = {Tag.OF_RUN: training.of.info.run_id, Tag.STATE: State.RUNNING}
    return {**inherited, **own, **training.identity, **training.tags}


_REPRODUCIBLE = (Role.TRIAL, Role.CONFIRM, Role.TRAIN, Role.REPEAT)
_ENVIRONMENT = ("device_name", "devices", "backend", "precision", "xla", "keras", "machine")


@dataclass(frozen=True)
class Reproduction:
    """The scores of a run beside those of the same training now.

    Attributes:
        recorded: the scores of the run, by name.
        reproduced: the same scores of the training now.
        changed: what of device, arithmetic and versions is different now: then and now, by name.
    """

    run_id: str
    recorded: Mapping[str, float]
    reproduced: Mapping[str, float]
    changed: Mapping[str, tuple[str, str]]

    @property
    def differing(self) -> dict[str, float]:
        """The score now less the one recorded, for scores that are not equal to the last digit."""
        return {
            name: self.reproduced[name] - value
            for name, value in self.recorded.items()
            if self.reproduced[name] != value
        }


def trained_by(run: Run) -> TrialFunction:
    """What trained the network or networks of a run: with the mean of its folds' networks as model, or without."""
    return confirm_trial if f"{Metric.BEST}{Metric.VAL_REPEATS_F1}" in run.data.metrics else train_trial


def reproduce(run_id: str, *, data: Path | None, listener: Listener) -> Reproduction:
    """Trains the configuration of a run with its seed on the patches that it had; nothing is written into MLflow.

    A trial that was pruned is stopped after as many epochs or folds.

    Args:
        data: the folder of the patches, where they have moved.

    Raises:
        ConfigError: the run is not a complete or pruned training.
        DataError: the patches do not exist, or are not those of the run.
        StorageError: no such run.
    """

    client = open_store()
    run = named_run(client, run_id)
    _check_trained(run)
    config = RunReader(client, run).config() or TrainConfig()
    patches, _ = RecordedData(run.data.tags, data).prepare(listener.step)
    pruned_after = _reported_steps(run) if run.data.tags.get(Tag.STOPPED) == State.PRUNED else None
    load_keras()

    def report(event: StepEvent) -> bool:
        listener.show_step("reproducing", event.step, patches.steps(config), event.metrics)
        return event.step != pruned_after

    outcome = trained_by(run)(TrialTask(config, patches, checkpoint=None), report)
    scores, metrics = (_before_scaling(each) for each in (outcome.final_scores(), run.data.metrics))
    recorded = {name: metrics[name] for name in scores if name in metrics}
    then = {name: run.data.tags.get(f"{Tag.PREFIX}{name}", "") for name in _ENVIRONMENT}
    changed = {name: (then[name], outcome.environment.get(name, "")) for name in _ENVIRONMENT}
    return Reproduction(
        run.info.run_id,
        recorded,
        {name: scores[name] for name in recorded},
        {name: (was, now) for name, (was, now) in changed.items() if was != now},
    )


def _before_scaling(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores with one threshold, that of before temperature scaling: runs of older versions have no other."""
    thresholds = Metric.BEST_THRESHOLD, Metric.BEST_RAW_THRESHOLD
    others = {name: value for name, value in scores.items() if name not in thresholds}
    return others | ({Metric.BEST_RAW_THRESHOLD: raw_threshold(scores)} if thresholds[0] in scores else {})


def _check_trained(run: Run) -> None:
    role, state = run.data.tags.get(Tag.ROLE, "unknown"), run.data.tags.get(Tag.STATE, "unknown")
    if role not in _REPRODUCIBLE or state not in (State.COMPLETE, State.PRUNED):
        what = f"its role is {role} and its state {state}"
        raise ConfigError(
            f"run {run.info.run_id}",
            f"not a complete or pruned training: {what}",
            "give the run of a trial or of lsml train; lsml study show NAME lists them",
        )


def _reported_steps(run: Run) -> int:
    """Epochs or folds that the run reported."""
    metrics = run.data.metrics
    return int(metrics["folds"] if "folds" in metrics else metrics["epochs"])
