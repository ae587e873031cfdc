"""A study's slots in an Optuna database: what to try next, what became of it, and what is still owed.

A slot is one of the study's N trials; an attempt at it is one Optuna trial. A slot whose attempt was lost or
interrupted is queued again with the same parameters. Such superseded attempts stay in the database as FAIL, but
neither the sampler nor the pruner nor a plot ever sees them, so a study that was killed and resumed makes the
same choices as one that was not.
"""

import json
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lsml.config import Scalar, TrainConfig, with_values
from lsml.errors import ConfigError, StorageError
from lsml.experiment import PrunerSettings, StudySettings
from lsml.space import Space, base_values, configure
from lsml.trial import Attempt, State

_SLOT, _ORDINAL, _SUPERSEDED, _SEARCHED, _RUN_ID = "slot", "attempt", "superseded", "searched", "run_id"
_SPEC, _PARENT, _IDENTITY = "lsml.spec", "lsml.run_id", "lsml.identity"
_SQLITE_TIMEOUT_SECONDS = 120


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether a later attempt has taken the place of this one."""
    return _SUPERSEDED in trial.user_attrs


def state_of(trial: FrozenTrial) -> str:
    """The state in lsml's words: waiting, running, complete, pruned, failed or superseded."""
    if trial.state.is_finished() and is_superseded(trial):
        return "superseded"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


class CountedStudy(optuna.Study):
    """A study that shows its samplers, pruners and plots only the attempts that count."""

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [t for t in self.all_trials(deepcopy=deepcopy, states=states) if not is_superseded(t)]

    def all_trials(self, *, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Every attempt, superseded ones included."""
        return super().get_trials(deepcopy=deepcopy, states=states)


class _OptunaSuggester:
    """`lsml.space.Suggester` on an Optuna trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._trial.suggest_categorical(name, choices)  # type: ignore[return-value]

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)


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


def derive_seed(seed: int, slot: int, purpose: int) -> int:
    """A seed in 0..2**31-1 that depends on the study's seed, the slot and the purpose alone."""
    return int(np.random.SeedSequence([seed, slot, purpose]).generate_state(1)[0] & 0x7FFFFFFF)


_TRAINING, _SAMPLING = 0, 1


class OptunaSlots:
    """The slots of one study; only the process that holds the study's lock may use it.

    Args:
        storage: the database's URL.
        name: the study's name.
        spec: what the study is, as plain data; a study that exists must have been started with the same.

    Raises:
        ConfigError: the study exists and was started with another `spec`.
        StorageError: the database cannot be used.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        *,
        space: Space,
        base: TrainConfig,
        settings: StudySettings,
        spec: Mapping[str, Any],
    ) -> None:
        self._space, self._base, self._settings = space, base, settings
        opened = open_storage(storage)
        optuna.create_study(storage=opened, study_name=name, direction="maximize", load_if_exists=True)
        self.study = CountedStudy(name, opened, pruner=_pruner(settings.pruner))
        self._trials: dict[int, Trial] = {}
        known = self.study.user_attrs.get(_SPEC)
        if known is None:
            self.study.set_user_attr(_IDENTITY, uuid.uuid4().hex)
            self.study.set_user_attr(_SPEC, dict(spec))
        else:
            _check_same(name, known, json.loads(json.dumps(dict(spec))))

    @property
    def identity(self) -> str:
        """Names this study among all others, also in other databases: 32 hex digits."""
        return str(self.study.user_attrs[_IDENTITY])

    @property
    def parent_run_id(self) -> str | None:
        """The MLflow run of the study, once there is one."""
        return self.study.user_attrs.get(_PARENT)

    @parent_run_id.setter
    def parent_run_id(self, run_id: str) -> None:
        self.study.set_user_attr(_PARENT, run_id)

    def close_open(self, reason: str) -> None:
        """Closes every attempt under way as superseded; its slot is queued again by the next `ask`."""
        for orphan in self.study.all_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._supersede(Trial(self.study, orphan._trial_id), reason)
        self._trials.clear()

    def states(self) -> dict[int, State]:
        """How every attempt that has ended did so, by trial number."""
        trials = self.study.all_trials(deepcopy=False)
        return {t.number: state_of(t) for t in trials if t.state.is_finished()}  # type: ignore[misc]

    def ended(self) -> int:
        """How many slots have ended for good."""
        return sum(t.state.is_finished() for t in self.study.get_trials(deepcopy=False))

    def ask(self) -> Attempt | None:
        """The next attempt, or None when every slot has ended or is being worked on."""
        waiting = self._next_waiting()
        if waiting is None:
            return None
        slot = waiting.user_attrs[_SLOT]
        self.study.sampler = optuna.samplers.TPESampler(
            seed=derive_seed(self._settings.seed, slot, _SAMPLING),
            n_startup_trials=self._settings.tpe.startup_trials,
        )
        trial = self.study.ask()
        config = configure(self._space, self._base, _OptunaSuggester(trial))
        config = with_values(config, {"seed": derive_seed(self._settings.seed, slot, _TRAINING)})
        trial.set_user_attr(_SEARCHED, list(trial.params))
        self._trials[trial.number] = trial
        return Attempt(trial.number, slot, waiting.user_attrs[_ORDINAL], config, trial.params)

    def _next_waiting(self) -> FrozenTrial | None:
        waiting = self.study.all_trials(deepcopy=False, states=(TrialState.WAITING,))
        if waiting:
            return waiting[0]
        if not self._enqueue_owed():
            return None
        return self.study.all_trials(deepcopy=False, states=(TrialState.WAITING,))[0]

    def _enqueue_owed(self) -> bool:
        """Queues the first slot that has neither ended nor an attempt under way."""
        by_slot: dict[int, list[FrozenTrial]] = {}
        for trial in self.study.all_trials(deepcopy=False):
            by_slot.setdefault(trial.user_attrs[_SLOT], []).append(trial)
        for slot in range(self._settings.trials):
            attempts = by_slot.get(slot, [])
            if all(is_superseded(t) for t in attempts):
                self.study.enqueue_trial(
                    self._parameters(slot, attempts),
                    user_attrs={_SLOT: slot, _ORDINAL: len(attempts) + 1},
                )
                return True
        return False

    def _parameters(self, slot: int, attempts: list[FrozenTrial]) -> dict[str, Any]:
        """What an earlier attempt was given in full, else the base for the first slot, else the sampler's choice."""
        for trial in reversed(attempts):
            if _SEARCHED in trial.user_attrs:
                return trial.params
        return base_values(self._space, self._base) if slot == 0 else {}

    def remember_run(self, attempt: Attempt, run_id: str) -> None:
        """Notes the attempt's MLflow run."""
        self._trials[attempt.number].set_user_attr(_RUN_ID, run_id)

    def report(self, attempt: Attempt, epoch: int, value: float) -> bool:
        """Notes the objective after an epoch; False means that the pruner stops the trial."""
        trial = self._trials[attempt.number]
        trial.report(value, epoch)
        return not trial.should_prune()

    def complete(self, attempt: Attempt, value: float) -> None:
        """Ends the slot with its value."""
        self.study.tell(self._trials.pop(attempt.number), value)

    def prune(self, attempt: Attempt) -> None:
        """Ends the slot as pruned; its value is that of the last epoch reported."""
        self.study.tell(self._trials.pop(attempt.number), state=TrialState.PRUNED)

    def fail(self, attempt: Attempt, reason: str) -> None:
        """Ends the slot as failed."""
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def lose(self, attempt: Attempt, reason: str) -> bool:
        """Closes an attempt whose worker was lost; True when the slot has retries left and is queued again."""
        losses = sum(
            t.user_attrs[_SLOT] == attempt.slot and t.user_attrs.get("lost", False)
            for t in self.study.all_trials(deepcopy=False)
        )
        if losses >= self._settings.max_retries:
            self.fail(attempt, f"{reason}, {losses} retries used up")
            return False
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr("lost", True)
        self._supersede(trial, reason)
        return True

    def _supersede(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(_SUPERSEDED, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def best(self) -> FrozenTrial | None:
        """The complete trial of the highest value, the earlier one of two equals; None when there is none."""
        return best_of(self.study)


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest finite value, the earlier one of two equals; None when there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    finite = [t for t in complete if t.value is not None and math.isfinite(t.value)]
    return max(finite, key=lambda t: (t.value, -t.number), default=None)


def run_id_of(trial: FrozenTrial) -> str | None:
    """The MLflow run of an attempt, once there is one."""
    return trial.user_attrs.get(_RUN_ID)


def slot_of(trial: FrozenTrial) -> int:
    """The slot that an attempt is for."""
    return int(trial.user_attrs[_SLOT])


def attempt_of(trial: FrozenTrial) -> int:
    """Which try at its slot an attempt is, from 1."""
    return int(trial.user_attrs[_ORDINAL])


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
        names = ", ".join(sorted(optuna.get_all_study_names(opened))) or "none yet"
        raise ConfigError(f"study '{name}'", "no such study in the database", f"there is: {names}") from None


def load_studies(storage: str) -> list[CountedStudy]:
    """All studies in the database, by name."""
    opened = open_storage(storage)
    return [CountedStudy(name, opened) for name in sorted(optuna.get_all_study_names(opened))]


def spec_of(study: optuna.Study) -> dict[str, Any]:
    """What the study was started with."""
    return dict(study.user_attrs.get(_SPEC, {}))


def parent_run_of(study: optuna.Study) -> str | None:
    """The MLflow run of the study, once there is one."""
    return study.user_attrs.get(_PARENT)


def _pruner(settings: PrunerSettings) -> optuna.pruners.BasePruner:
    if settings.name == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=settings.min_epochs, reduction_factor=settings.reduction)


def _check_same(name: str, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key in sorted(known.keys() | asked.keys()):
        if known.get(key) != asked.get(key):
            raise ConfigError(
                f"study '{name}'",
                f"was started with another {key} ({_difference(known.get(key), asked.get(key))})",
                "give the new study its own name with --study NAME",
            )


def _difference(known: Any, asked: Any) -> str:
    """The first entry that differs, as `depth: 3, now 4`."""
    if isinstance(known, Mapping) and isinstance(asked, Mapping):
        key = next(k for k in sorted(known.keys() | asked.keys()) if known.get(k) != asked.get(k))
        return f"{key}: {_difference(known.get(key), asked.get(key))}"
    return f"{known}, now {asked}"
