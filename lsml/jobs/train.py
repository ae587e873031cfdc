"""One training outside a study, written down as one MLflow run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lsml import backend
from lsml.config import flatten
from lsml.data.training import prepare
from lsml.errors import Interrupted
from lsml.experiment import Experiment
from lsml.jobs.sources import data_root, pack_cache
from lsml.trial import TrialOutcome, TrialTask, train_trial


class TrainWatcher(Protocol):
    """Who looks on."""

    def step(self, what: str, done: int, total: int) -> None: ...

    def epoch(self, epoch: int, total: int, metrics: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class TrainResult:
    """The run of a training, and what came out."""

    run_id: str
    outcome: TrialOutcome


def train(experiment: Experiment, *, seed: int | None, data: Path | None, watcher: TrainWatcher) -> TrainResult:
    """Trains the experiment's base configuration once and logs it; nothing is registered.

    Raises:
        DataError: the patches cannot be used.
        StorageError: MLflow cannot be used.
    """
    config = experiment.base if seed is None else experiment.base.model_copy(update={"seed": seed})
    root = data_root(experiment.data, data, watcher.step)
    patches = prepare(root, pack_cache(), progress=watcher.step)
    from lsml.tracking.runs import TrainingRun
    from lsml.tracking.store import open_client

    run = TrainingRun(open_client(), name=experiment.name, params=flatten(config), data=patches, root=str(root))

    def report(epoch: int, metrics: Mapping[str, float], replayed: bool) -> bool:
        run.epoch(epoch, metrics)
        watcher.epoch(epoch, config.training.epochs, metrics)
        return True

    try:
        backend.load_keras()
        outcome = train_trial(TrialTask(config, patches, checkpoint=None), report)
        run.outcome(outcome)
    except Interrupted as signal:
        run.closed("superseded", f"interrupted by {signal.name}")
        raise
    except Exception as error:
        run.closed("failed", f"{type(error).__name__}: {error}")
        raise
    run.closed("complete", "")
    return TrainResult(run.id, outcome)
