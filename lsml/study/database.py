"""Optuna's database as lsml uses it: opening it, its studies, and how an attempt at a slot is read."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lsml.config.schema import OBJECTIVE
from lsml.errors import ConfigError, StorageError

SLOT, ORDINAL, SUPERSEDED, RUN_ID = "slot", "attempt", "superseded", "run_id"
STEPS, COSTS = "steps", "costs"
SPEC, PARENT, IDENTITY, RESULT = "lsml.spec", "lsml.run_id", "lsml.identity", "lsml.result"
_STAGE = "/"
"""Stands in the names of a study's later stages, such as `demo/confirm`; no name that people give holds it."""

_SQLITE_TIMEOUT_SECONDS = 120


class CountedStudy(optuna.Study):
    """A study that shows its samplers, pruners and plots only the attempts that count."""

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [t for t in self.all_trials(deepcopy=deepcopy, states=states) if not is_superseded(t)]

    def all_trials(self, *, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Every attempt, superseded ones included."""
        return super().get_trials(deepcopy=deepcopy, states=states)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The Optuna storage at `url`, its tables made once however many processes ask at the same time.

    Raises:
        StorageError: the database cannot be opened; the message never holds its password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = {"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    locks = Path(".lsml") / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(locks / "optuna-storage.lock"):
            return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        raise StorageError(
            f"study database {without_password(url)}",
            without_password(str(error).splitlines()[0], url),
            "check --storage and that the database runs",
        ) from None


def without_password(text: str, url: str | None = None) -> str:
    """`text` with the password of the database URL in it (or of `url`) starred out."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url or text)
    except ArgumentError:
        return "(not a database URL)" if url is None else text
    if url is None:
        return parsed.render_as_string(hide_password=True)
    return text.replace(str(parsed.password), "***") if parsed.password else text


def make_study(
    storage: str, name: str, *, stage: str = "", pruner: optuna.pruners.BasePruner, with_cost: bool = False
) -> CountedStudy:
    """The study of that name, made where there is none; with `stage`, what a later stage of it keeps.

    Args:
        with_cost: F1 is to be high and a second objective low; else it is F1 alone.

    Raises:
        StorageError: the database cannot be used.
    """
    opened = open_storage(storage)
    full = f"{name}{_STAGE}{stage}" if stage else name
    directions = [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] if with_cost else [])]
    optuna.create_study(storage=opened, study_name=full, directions=directions, load_if_exists=True)
    return CountedStudy(full, opened, pruner=pruner)


def load_study(storage: str, name: str) -> CountedStudy:
    """An existing study, to look at.

    Raises:
        ConfigError: there is none of that name.
        StorageError: the database cannot be used.
    """
    opened = open_storage(storage)
    try:
        return CountedStudy(name, opened)
    except KeyError:
        names = ", ".join(_names(opened)) or "none yet"
        raise ConfigError(f"study '{name}'", "no such study in the database", f"there is: {names}") from None


def load_studies(storage: str) -> list[CountedStudy]:
    """All studies in the database, by name."""
    opened = open_storage(storage)
    return [CountedStudy(name, opened) for name in _names(opened)]


def _names(storage: optuna.storages.BaseStorage) -> list[str]:
    return sorted(name for name in optuna.get_all_study_names(storage) if _STAGE not in name)


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether a later attempt has taken the place of this one."""
    return SUPERSEDED in trial.user_attrs


def state_of(trial: FrozenTrial) -> str:
    """The state in lsml's words: waiting, running, complete, pruned, failed or superseded."""
    if trial.state.is_finished() and is_superseded(trial):
        return "superseded"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def f1_of(trial: FrozenTrial) -> float | None:
    """F1 of an attempt that ended complete or pruned, whatever other objectives there are."""
    return trial.values[0] if trial.values else None


def cost_of(trial: FrozenTrial) -> float | None:
    """The second objective of a complete attempt, where there are two."""
    return trial.values[1] if trial.values and len(trial.values) > 1 else None


def cost_in(trial: FrozenTrial, metric: str) -> float | None:
    """What a complete attempt of any stage came to in a metric of its costs; None where it was not measured."""
    return trial.user_attrs.get(COSTS, {}).get(metric)


def name_objectives(study: optuna.Study, cost: str) -> None:
    """Names the objectives of a study with two, F1 and the metric that is the second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([OBJECTIVE, cost])


def cost_metric(study: optuna.Study) -> str | None:
    """The metric that is the second objective of a study; None where it has one."""
    names = study.metric_names or ()
    return names[1] if len(names) > 1 else None


def within(limit: float | None, cost: float | None) -> bool:
    """Whether a second objective is at most `limit`; without a limit, or without a cost, it is."""
    return limit is None or cost is None or cost <= limit


def complete_trials(study: optuna.Study, *, limit: float | None = None) -> list[FrozenTrial]:
    """The complete trials with a finite F1, the best first; of two equals the cheaper, then the earlier one.

    Args:
        limit: leaves out those whose second objective is above it.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return _best_first([trial for trial in complete if within(limit, cost_of(trial))])


def _best_first(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    finite = [trial for trial in trials if trial.values and math.isfinite(trial.values[0])]
    return sorted(finite, key=lambda trial: (-(f1_of(trial) or 0.0), cost_of(trial) or 0.0, trial.number))


def best_of(study: optuna.Study, *, limit: float | None = None) -> FrozenTrial | None:
    """The first of `complete_trials`; None when there is none."""
    return next(iter(complete_trials(study, limit=limit)), None)


def pareto_front(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials than which none is better in one objective and no worse in the other; best F1 first."""
    return _best_first(study.best_trials)


def best_by(study: optuna.Study, field: str, *, limit: float | None = None) -> dict[str, FrozenTrial]:
    """The best trial of each value of a searched field; among pruned ones where none is complete.

    Pruned trials are compared by their last value, and each of them has a model too.

    Args:
        limit: leaves out trials whose second objective is above it.
    """
    found: dict[str, FrozenTrial] = {}
    for trial in [*complete_trials(study, limit=limit), *_pruned_trials(study)]:
        if field in trial.params:
            found.setdefault(str(trial.params[field]), trial)
    return found


def _pruned_trials(study: optuna.Study) -> list[FrozenTrial]:
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    return _best_first([trial for trial in pruned if run_id_of(trial)])


def run_id_of(trial: FrozenTrial) -> str | None:
    """The MLflow run of an attempt, once there is one."""
    return trial.user_attrs.get(RUN_ID)


def slot_of(trial: FrozenTrial) -> int:
    """The slot that an attempt is for."""
    return int(trial.user_attrs[SLOT])


def attempt_of(trial: FrozenTrial) -> int:
    """Which try at its slot an attempt is, from 1."""
    return int(trial.user_attrs[ORDINAL])


def parent_run_of(study: optuna.Study) -> str | None:
    """The MLflow run of the study, once there is one."""
    return study.user_attrs.get(PARENT)


def spec_of(study: optuna.Study) -> dict[str, Any]:
    """What the study is, as plain data: `data`, `base`, `space`, `search`."""
    return dict(study.user_attrs.get(SPEC, {}))


def result_of(study: optuna.Study) -> dict[str, Any] | None:
    """What `note_result` wrote down last; None before."""
    return study.user_attrs.get(RESULT)


def best_so_far(study: optuna.Study) -> FrozenTrial | None:
    """The best trial, within the limit with which the study's result was chosen, where it has one."""
    return best_of(study, limit=(result_of(study) or {}).get("limit"))


def note_result(study: optuna.Study, result: dict[str, Any]) -> None:
    """Writes down what the study came to, as plain data."""
    study.set_user_attr(RESULT, result)
