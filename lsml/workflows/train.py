"""One training outside a study, written down as one MLflow run; a run's model in the registry."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lsml.config.experiment import Experiment, check_name
from lsml.config.schema import TrainConfig, with_values
from lsml.data.splits import FoldedData, Steps, StudyData, WholeData
from lsml.errors import ConfigError
from lsml.errors.signals import opened
from lsml.names import Metric, Role, State, Tag
from lsml.study.trial import confirm_trial, refit_trial, train_trial
from lsml.study.worker import gpu_ids
from lsml.tracking.reading import RunReader, raw_threshold
from lsml.tracking.registry import register_run
from lsml.tracking.runs import TrainingRun
from lsml.tracking.store import Run, find_run, open_client, open_store, study_of
from lsml.tracking.study import model_run, named_run
from lsml.training.device import Device, check_gpu, load_keras
from lsml.training.outcome import CvSummary, Report, StepEvent, TrialOutcome, TrialTask
from lsml.workflows.retrain import Retraining
from lsml.workflows.sources import SILENT, ExperimentData, Listener, RecordedData
from lsml.workspace import pack_cache


@dataclass(frozen=True)
class TrainResult:
    """The MLflow run of a training, and its outcome.

    Attributes:
        outcome: its metrics, best epoch (of folds: their mean), threshold, and model file; `outcome.value` is F1 pooled
            over the pixels of the validation patches or of all folds, in 0..1.
    """

    run_id: str
    outcome: TrialOutcome


def train(
    experiment: Experiment,
    *,
    seed: int | None = None,
    data: str | Path | None = None,
    listener: Listener = SILENT,
    require_gpu: bool = False,
    force: bool = False,
    model_name: str | None = None,
) -> TrainResult:
    """Trains the experiment's base configuration once and logs it to MLflow; nothing is registered.

    With folds, it is trained once a fold and repeat; the model is the mean of all these networks.

    Args:
        experiment: of `lsml.load_experiment`.
        seed: of the weights, the order of patches and the augmentation; None for the experiment's.
        data: the folder of the patches, instead of what the experiment names.
        listener: told of each epoch or fold.
        require_gpu: refuse to train on a CPU.
        force: only warn of values that look wrong.
        model_name: what its model is called once it is registered; None for the run's name, `NAME-train`.

    Raises:
        ConfigError: there is no GPU where one is required, the seed is not one, or the model's name has a slash.
        DataError: the patches cannot be used.
        StorageError: MLflow cannot be used.
        OutOfMemory: the configuration does not fit.
        StudyError: the training diverged.

    Examples:
        >>> result = lsml.train(lsml.load_experiment("experiments/demo.yaml"), seed=1)
        >>> result.outcome.metrics["best_val_f1"], result.run_id
    """
    if require_gpu:
        _check_gpu()
    name = f"{experiment.name}-train"
    model = check_name("model", model_name or name)
    config = experiment.base if seed is None else with_values(experiment.base, {"seed": seed})
    source = ExperimentData(experiment.data, data, listener.step, force)
    patches, unusual = source.prepare(pack_cache())

    def open_run() -> TrainingRun:
        return TrainingRun(
            open_client(),
            name=name,
            config=config,
            data=patches,
            root=str(source.root),
            tags={Tag.EXPERIMENT: experiment.name, Tag.MODEL_NAME: model, **unusual},
        )

    with opened(open_run, TrainingRun.closing) as run:
        load_keras()
        _tell_of_idle_gpus(listener)
        outcome = _train(TrialTask(config, patches, checkpoint=None), patches, run, listener)
        run.outcome(outcome)
    return TrainResult(run.id, outcome)


def _check_gpu() -> None:
    load_keras()

    device = Device.current()
    check_gpu(device.kind, device.name)


def _tell_of_idle_gpus(listener: Listener) -> None:
    """Says that only one of several GPUs trains, where Keras's backend cannot share out a batch."""
    gpus, backend = len(gpu_ids()), os.environ["KERAS_BACKEND"]
    if gpus > 1 and backend != "jax":
        listener.stage_started(f"training on 1 of {gpus} GPUs, as under {backend}; KERAS_BACKEND=jax trains on all")


def _train(task: TrialTask, data: StudyData, run: TrainingRun, listener: Listener) -> TrialOutcome:
    """One training; in folds, of which the mean of all networks is the model."""

    def report(event: StepEvent) -> bool:
        run.step(event.step, event.metrics)
        listener.show_step("training", event.step, data.steps(task.config), event.metrics)
        return True

    return (confirm_trial if isinstance(data, FoldedData) else train_trial)(task, report)


On = Literal["train+valid"]
"""What a final model can be trained on: of the patches that were seen anyway, all."""

_TRAINED = (Role.TRIAL, Role.CONFIRM, Role.TRAIN)


@dataclass(frozen=True)
class _RefitResult:
    """A final model.

    Attributes:
        run_id: of its training.
        of_run_id: the run whose configuration, length and threshold it has.
        model, version: under which it is registered.
        patches: how many it was trained on, for so many `epochs`.
        threshold: the probability from which a pixel counts as landslide, carried over.
        earned_f1: validation F1 of the run `of_run_id`, whose model had not seen those patches; the final model has
            no score of its own.
    """

    run_id: str
    of_run_id: str
    model: str
    version: str
    patches: int
    epochs: int
    threshold: float
    earned_f1: float


def refit(run_id: str, *, on: On, data: Path | None, listener: Listener, force: bool = False) -> _RefitResult:
    """Trains the configuration of a run on all patches that it was trained and validated on, and registers the model.

    A study's run speaks for its best trial. It trains for as many epochs as the run's best one, with the whole
    learning-rate schedule. Called again, it finds what it made before.

    Args:
        data: the folder of the patches, where they have moved.
        force: only warn of values that look wrong.

    Raises:
        ConfigError: the run is not a complete training, or was cross-validated.
        DataError: the patches do not exist, or are not those of the run.
        StorageError: no such run, or MLflow cannot be used.
        StudyError: the training diverged, or does not fit into memory.
    """
    client = open_store()
    run = model_run(client, named_run(client, run_id))
    _check_refittable(run)
    run_id = run.info.run_id
    # Checks that the patches are those of the run.
    recorded = RecordedData(run.data.tags, data, force)
    _, unusual = recorded.prepare(listener.step)
    root = recorded.root
    whole = WholeData.prepare(root, pack_cache(), listener.step)
    summary = _scores_of(run)

    def function(task: TrialTask, report: Report) -> TrialOutcome:
        # Not as `best_val_f1`, by which runs are ranked: this model was scored on nothing.
        return replace(refit_trial(task, report, summary=summary), metrics={})

    patches = len(whole.train)
    training = Retraining(
        of=run,
        below=study_of(client, run),
        role=Role.REFIT,
        number=0,
        title=f"{run.info.run_name} on {on}",
        config=RunReader(client, run).config() or TrainConfig(),
        data=whole,
        root=root,
        tags={Tag.TRAINED_ON: on, Tag.NOTE: _note(run_id, on, patches, summary), **unusual},
        scores={"threshold": summary.exported_threshold, Metric.EARNED_F1: summary.value},
    )
    done = training.run(client, function, steps=Steps("epoch", summary.epochs), listener=listener)
    registered = register_run(client, find_run(client, done))
    threshold = training.scores["threshold"]
    return _RefitResult(
        done, run_id, registered.name, registered.version, patches, summary.epochs, threshold, summary.value
    )


def _scores_of(run: Run) -> CvSummary:
    """The validation scores of a run, from which the length and the threshold of the final model come."""
    metrics = run.data.metrics
    return CvSummary(
        metrics[Metric.BEST_F1],
        raw_threshold(metrics),
        int(metrics[Metric.BEST_EPOCH]),
        metrics.get(Metric.BEST_TEMPERATURE, 1.0),
    )


def _check_refittable(run: Run) -> None:
    tags, name = run.data.tags, f"run {run.info.run_id}"
    if Tag.DATA_FOLDS in tags:
        raise ConfigError(
            name,
            "cross-validated: its registered model has seen all patches already",
            "lsml evaluate or lsml promote takes that model as it is",
        )
    role, state = tags.get(Tag.ROLE, "unknown"), tags.get(Tag.STATE, "unknown")
    if role not in _TRAINED or state != State.COMPLETE:
        raise ConfigError(
            name,
            f"not a complete training: its role is {role} and its state {state}",
            "give the run of a complete trial, of a study or of lsml train; lsml study show NAME lists them",
        )


def _note(run_id: str, on: On, patches: int, summary: CvSummary) -> str:
    return (
        f"Trained on {on}, {patches} patches, for {summary.epochs} epochs, by the configuration of run `{run_id}`. "
        f"It has no score of its own: it has seen the validation patches. That run's model, which had not, has "
        f"validation F1 {summary.value:.4f} (here `earned_val_f1`) at the threshold that this model has too."
    )
