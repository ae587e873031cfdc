"""One training outside a study, written down as one MLflow run; a run's model in the registry."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lsml.config.experiment import Experiment
from lsml.config.fields import flatten
from lsml.data.splits import Steps, StudyData
from lsml.errors import ConfigError, Interrupted, in_one_line
from lsml.study.trial import refit_trial, train_trial
from lsml.training import backend
from lsml.training.outcome import Earned, TrialOutcome, TrialTask
from lsml.workflows.sources import data_root, prepare_data
from lsml.workspace import pack_cache

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
    from lsml.training.device import describe_device

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


class Registered(NamedTuple):
    """A version of a registered model."""

    name: str
    version: str


def register_run(client: Any, run: Any) -> Registered:
    """The version that holds the model of a run, made where there is none: of its study's or experiment's model.

    Raises:
        ConfigError: the run does not say of which study or experiment it is.
        ModelError: the run has no model.
        StorageError: MLflow cannot be used.
    """
    from lsml.tracking.models import register, version_of
    from lsml.tracking.runs import BEST_METRIC, OF_RUN, STUDY, TRAINED_ON, study_of

    if known := version_of(client, run.info.run_id):
        return Registered(*known)
    study = study_of(client, run)
    name = _model_name(run, study)
    tags = {key: run.data.tags[key] for key in (STUDY, OF_RUN, TRAINED_ON) if key in run.data.tags}
    if study:
        tags |= {"lsml.study_run_id": study.info.run_id}
    tags |= {
        label: f"{run.data.metrics[label]:.6f}" for label in (BEST_METRIC, "earned_val_f1") if label in run.data.metrics
    }
    return Registered(name, register(client, run.info.run_id, name, aliases=[], tags=tags))


def _model_name(run: Any, study: Any | None) -> str:
    from lsml.tracking.runs import EXPERIMENT

    name = study.data.params.get("study.experiment") if study else run.data.tags.get(EXPERIMENT)
    if not name:
        raise ConfigError(
            f"run {run.info.run_id}",
            "it says neither study nor experiment, so under which name to register its model is unknown",
            "give a run of lsml tune, or of lsml train by this version",
        )
    return str(name)
