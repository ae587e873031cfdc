"""Training a run's configuration once more, for good: written down as a run of its own, once, however often killed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsml import backend
from lsml.config import TrainConfig, flatten
from lsml.data.training import Steps, StudyData
from lsml.errors import ModelError
from lsml.jobs.locks import alone
from lsml.jobs.sources import STATE_FOLDER
from lsml.jobs.train import TrainWatcher, closing
from lsml.models.weights import identity, provenance
from lsml.trial import TrialFunction, TrialTask


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
