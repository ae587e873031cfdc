"""Training a run's configuration once more on the same patches, to see whether the same comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsml import backend
from lsml.config import from_parameters
from lsml.errors import ConfigError
from lsml.jobs.sources import recorded_data
from lsml.trial import TrialTask, train_trial

if TYPE_CHECKING:
    from lsml.jobs.train import TrainWatcher

_TRAINED = ("trial", "confirm", "train", "repeat")
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
    if role not in _TRAINED or state not in ("complete", "pruned"):
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
