"""One training outside a study, written down as one MLflow run."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lsml import backend
from lsml.config import flatten
from lsml.data.training import Steps, StudyData
from lsml.errors import Interrupted, in_one_line
from lsml.experiment import Experiment
from lsml.jobs.sources import data_root, pack_cache, prepare_data
from lsml.trial import Earned, TrialOutcome, TrialTask, refit_trial, train_trial

if TYPE_CHECKING:
    from lsml.tracking.runs import TrainingRun


class TrainWatcher(Protocol):
    """Who looks on."""

    def step(self, what: str, done: int, total: int) -> None: ...

    def show_step(self, key: str, step: int, steps: Steps, metrics: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class TrainResult:
    """The run of a training, and what came out."""

    run_id: str
    outcome: TrialOutcome


def train(
    experiment: Experiment, *, seed: int | None, data: Path | None, watcher: TrainWatcher, require_gpu: bool = False
) -> TrainResult:
    """Trains the experiment's base configuration once and logs it; nothing is registered.

    Raises:
        ConfigError: there is no GPU where one is required.
        DataError: the patches cannot be used.
        StorageError: MLflow cannot be used.
        OutOfMemory: the configuration does not fit.
    """
    if require_gpu:
        _check_gpu()
    config = experiment.base if seed is None else experiment.base.model_copy(update={"seed": seed})
    root = data_root(experiment.data, data, watcher.step)
    patches = prepare_data(experiment.data, root, pack_cache(), watcher.step)
    from lsml.tracking.runs import EXPERIMENT, TrainingRun
    from lsml.tracking.store import open_client

    run = TrainingRun(
        open_client(),
        name=experiment.name,
        params=flatten(config),
        data=patches,
        root=str(root),
        tags={EXPERIMENT: experiment.name},
    )
    with closing(run):
        backend.load_keras()
        outcome = _train(TrialTask(config, patches, checkpoint=None), patches, run, watcher)
        run.outcome(outcome)
    return TrainResult(run.id, outcome)


@contextlib.contextmanager
def closing(run: "TrainingRun") -> Iterator[None]:
    """Closes the run of a training as what it came to, with the reason where it failed or was interrupted."""
    try:
        yield
    except Interrupted as signal:
        run.closed("superseded", f"interrupted by {signal.name}")
        raise
    except Exception as error:
        run.closed("failed", in_one_line(error))
        raise
    run.closed("complete", "")


def _check_gpu() -> None:
    backend.load_keras()
    from lsml.device import describe_device

    device = describe_device()
    backend.check_gpu(device.kind, device.name)


def _train(task: TrialTask, data: StudyData, run: "TrainingRun", watcher: TrainWatcher) -> TrialOutcome:
    """One training; where the patches are judged in folds, with the model of a second one on all of them."""

    def report(step: int, metrics: Mapping[str, float], replayed: bool) -> bool:
        run.step(step, metrics)
        watcher.show_step("training", step, data.steps(task.config), metrics)
        return True

    outcome = train_trial(task, report)
    if outcome.model is not None:
        return outcome
    earned = Earned(outcome.value, outcome.threshold, outcome.best_epoch, outcome.temperature)

    def show(step: int, metrics: Mapping[str, float], replayed: bool) -> bool:
        watcher.show_step("training on all patches", step, Steps("epoch", earned.epochs), metrics)
        return True

    refitted = refit_trial(task, show, earned=earned)
    return replace(outcome, model=refitted.model, threshold=refitted.threshold)
