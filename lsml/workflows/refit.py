"""The final model: a run's configuration trained on train and validation patches together, and registered."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lsml.config.schema import from_parameters
from lsml.data.splits import Steps, prepare_whole
from lsml.errors import ConfigError
from lsml.scoring.calibration import moved
from lsml.study.trial import refit_trial
from lsml.training.outcome import Earned, Report, TrialOutcome, TrialTask
from lsml.workflows.retrain import Training, train_again
from lsml.workflows.sources import recorded_data, recorded_root
from lsml.workflows.train import TrainWatcher, register_run
from lsml.workspace import pack_cache

On = Literal["train+valid"]
"""What a final model can be trained on: of the patches that were seen anyway, all."""

_TRAINED = ("trial", "confirm", "train")


@dataclass(frozen=True)
class RefitResult:
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


def refit(run_id: str, *, on: On, data: Path | None, watcher: TrainWatcher) -> RefitResult:
    """Trains the configuration of a run on all patches that it was trained and judged on, and registers the model.

    A study's run speaks for its best trial. It trains for as many epochs as the run's best one, down a whole course of
    the learning rate. Called again, it finds what it made before.

    Args:
        data: the folder of the patches, where they have moved.

    Raises:
        ConfigError: the run is no training that came to its end, or was judged in folds.
        DataError: the patches are not there, or are others.
        StorageError: no such run, or MLflow cannot be used.
        StudyError: the training diverged, or does not fit into memory.
    """
    from lsml.tracking.runs import BEST_METRIC, NOTE, TRAINED_ON, find_run, study_of
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    run = find_run(client, model_run_id(find_run(client, run_id)))
    _check(run)
    run_id = run.info.run_id
    # It is the patches of the run that are trained on, or none.
    recorded_data(run.data.tags, data, watcher.step)
    root = recorded_root(run.data.tags, data)
    whole = prepare_whole(root, pack_cache(), watcher.step)
    metrics = run.data.metrics
    temperature = metrics.get("best_val_temperature", 1.0)
    earned = Earned(metrics[BEST_METRIC], metrics["best_val_threshold"], int(metrics["best_epoch"]), temperature)
    threshold = moved(earned.threshold, temperature)

    def function(task: TrialTask, report: Report) -> TrialOutcome:
        # Not as `best_val_f1`, by which runs are ranked: this model was judged on nothing.
        return replace(refit_trial(task, report, earned=earned), metrics={})

    patches = len(whole.train)
    training = Training(
        of=run,
        below=study_of(client, run),
        role="refit",
        number=0,
        title=f"{run.info.run_name} on {on}",
        config=from_parameters(run.data.params),
        data=whole,
        root=root,
        tags={TRAINED_ON: on, NOTE: _note(run_id, on, patches, earned)},
        scores={"threshold": threshold, "earned_val_f1": earned.value},
    )
    done = train_again(client, training, function, steps=Steps("epoch", earned.epochs), watcher=watcher)
    registered = register_run(client, find_run(client, done))
    return RefitResult(
        done, run_id, registered.name, registered.version, patches, earned.epochs, threshold, earned.value
    )


def _check(run: Any) -> None:
    from lsml.tracking.runs import FOLDS, ROLE, STATE

    tags, name = run.data.tags, f"run {run.info.run_id}"
    if FOLDS in tags:
        raise ConfigError(
            name,
            "judged in folds: what is registered of it was trained on all patches already",
            "lsml evaluate or lsml promote takes that model as it is",
        )
    role, state = tags.get(ROLE, "unknown"), tags.get(STATE, "unknown")
    if role not in _TRAINED or state != "complete":
        raise ConfigError(
            name,
            f"no training that came to its end: its role is {role} and its state {state}",
            "give the run of a complete trial, of a study or of lsml train; lsml study show NAME lists them",
        )


def _note(run_id: str, on: On, patches: int, earned: Earned) -> str:
    return (
        f"Trained on {on}, {patches} patches, for {earned.epochs} epochs, by the configuration of run `{run_id}`. "
        f"It has no score of its own: it has seen the validation patches. That run's model, which had not, has "
        f"validation F1 {earned.value:.4f} (here `earned_val_f1`) at the threshold that this model has too."
    )
