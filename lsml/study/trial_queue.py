"""The slots of a stage of a study: what to try next, what became of it, and what is still owed.

A slot is one of the stage's N trials; an attempt at it is one Optuna trial. A slot whose attempt was lost or
interrupted is queued again with the same parameters. Such superseded attempts stay in the database as FAIL, but
neither the sampler nor the pruner nor a plot ever sees them, so a study that was killed and resumed makes the
same choices as one that was not.
"""

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lsml.config.experiment import check_sampler
from lsml.config.fields import Scalar, flatten
from lsml.config.schema import OBJECTIVE, TrainConfig, with_values
from lsml.config.space import Space, base_values, configure
from lsml.config.study import StudySettings
from lsml.errors import ConfigError
from lsml.study.database import (
    COSTS,
    IDENTITY,
    ORDINAL,
    PARENT,
    RUN_ID,
    SLOT,
    SPEC,
    STEPS,
    SUPERSEDED,
    CountedStudy,
    is_superseded,
    make_study,
    name_objectives,
    slot_of,
    state_of,
)
from lsml.study.search import make_pruner, make_sampler
from lsml.training.backend import quietly
from lsml.training.outcome import Attempt, Role, State, TrialOutcome

_SEARCHED, _REASON, _LOST, _THRESHOLD, _TEMPERATURE, _BEST_EPOCH, _ITEMS = (
    *("searched", "reason", "lost"),
    *("threshold", "temperature", "best_epoch", "lsml.items"),
)
_EXHAUSTED = "lsml.exhausted"
_TRAINING, _SAMPLING, _CONFIRMING, _SEARCHING = 0, 1, 2, 3


class Slots(ABC):
    """The slots of one stage; only the process that holds the study's lock may use them.

    Args:
        study: holds this stage's attempts and no others.
        max_retries: how often a slot whose worker was lost is queued again.
    """

    def __init__(self, study: CountedStudy, *, max_retries: int) -> None:
        self.study, self._max_retries = study, max_retries
        self._trials: dict[int, Trial] = {}

    @abstractmethod
    def wanted(self) -> Sequence[int]:
        """The slots that this stage is to end."""

    @abstractmethod
    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Takes note of a step that ended; False means that the attempt is to stop, as pruned."""

    @abstractmethod
    def _first_parameters(self, slot: int) -> dict[str, Any] | None:
        """Optuna's parameters of a slot that nobody has tried; those left out are the sampler's choice.

        None where the slot cannot begin now.
        """

    @abstractmethod
    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        """What is to be done, from the trial that Optuna gave out."""

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
        """How many of the wanted slots have ended for good."""
        trials = self.study.all_trials(deepcopy=False)
        done = {slot_of(t) for t in trials if t.state.is_finished() and not self._is_void(t)}
        return len(done.intersection(self.wanted()))

    def _is_void(self, trial: FrozenTrial) -> bool:
        """Whether the slot of an attempt that has ended is owed another one."""
        return is_superseded(trial)

    def ask(self) -> Attempt | None:
        """The next attempt, or None when every slot has ended or is being worked on.

        A slot whose values no configuration may have together, such as weights of the loss that are all 0, ends as
        failed here and now.
        """
        while (waiting := self._next_waiting()) is not None:
            slot = slot_of(waiting)
            self.study.sampler = self._sampler(slot)
            trial = self.study.ask()
            self._trials[trial.number] = trial
            if slot not in self.wanted():
                # Queued by a run that was killed, and asked for no more by this one.
                self._supersede(self._trials.pop(trial.number), "no longer wanted")
                continue
            try:
                attempt = self._attempt(trial, slot, waiting.user_attrs[ORDINAL])
            except ConfigError as refused:
                self._fail(trial.number, str(refused))
                continue
            trial.set_user_attr(_SEARCHED, list(trial.params))
            return attempt
        return None

    def _sampler(self, slot: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.RandomSampler(seed=slot)

    def _next_waiting(self) -> FrozenTrial | None:
        return self._waiting() or (self._waiting() if self._enqueue_owed() else None)

    def _waiting(self) -> FrozenTrial | None:
        # Optuna gives out the first that waits, so there is never more than one.
        return next(iter(self.study.all_trials(deepcopy=False, states=(TrialState.WAITING,))), None)

    def _enqueue_owed(self) -> bool:
        """Queues the first slot that has neither ended nor an attempt under way; False where none can begin now."""
        by_slot: dict[int, list[FrozenTrial]] = {}
        for trial in self.study.all_trials(deepcopy=False):
            by_slot.setdefault(slot_of(trial), []).append(trial)
        for slot in self.wanted():
            attempts = by_slot.get(slot, [])
            if all(self._is_void(t) for t in attempts):
                parameters = self._parameters(slot, attempts)
                if parameters is None:
                    return False
                self.study.enqueue_trial(parameters, user_attrs={SLOT: slot, ORDINAL: len(attempts) + 1})
                return True
        return False

    def _parameters(self, slot: int, attempts: list[FrozenTrial]) -> dict[str, Any] | None:
        """What an earlier attempt was given in full, else what the slot begins with."""
        for trial in reversed(attempts):
            if _SEARCHED in trial.user_attrs:
                return trial.params
        return self._first_parameters(slot)

    def remember_run(self, attempt: Attempt, run_id: str) -> None:
        """Notes the attempt's MLflow run."""
        self._trials[attempt.number].set_user_attr(RUN_ID, run_id)

    def complete(self, attempt: Attempt, outcome: TrialOutcome) -> None:
        """Ends the slot with its value, and keeps what later stages need."""
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr(_THRESHOLD, outcome.threshold)
        trial.set_user_attr(_TEMPERATURE, outcome.temperature)
        trial.set_user_attr(_BEST_EPOCH, outcome.best_epoch)
        trial.set_user_attr(STEPS, outcome.steps.total)
        trial.set_user_attr(COSTS, dict(outcome.costs))
        self.study.tell(trial, self._values(outcome))

    def _values(self, outcome: TrialOutcome) -> list[float]:
        return [outcome.value]

    def prune(self, attempt: Attempt) -> None:
        """Ends the slot as pruned; its value is that of the last step reported."""
        self.study.tell(self._trials.pop(attempt.number), state=TrialState.PRUNED)

    def fail(self, attempt: Attempt, reason: str) -> None:
        """Ends the slot as failed."""
        self._fail(attempt.number, reason)

    def _fail(self, number: int, reason: str) -> None:
        trial = self._trials.pop(number)
        trial.set_user_attr(_REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def lose(self, attempt: Attempt, reason: str) -> bool:
        """Closes an attempt whose worker was lost; True when the slot has retries left and is queued again."""
        losses = sum(
            slot_of(t) == attempt.slot and t.user_attrs.get(_LOST, False) for t in self.study.all_trials(deepcopy=False)
        )
        if losses >= self._max_retries:
            self.fail(attempt, f"{reason}, {losses} retries used up")
            return False
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr(_LOST, True)
        self._supersede(trial, reason)
        return True

    def _supersede(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(SUPERSEDED, reason)
        self.study.tell(trial, state=TrialState.FAIL)


class SearchSlots(Slots):
    """The search itself: an engine chooses each slot's configuration.

    With Optuna, a sampler chooses it when the slot's trial is asked for, and a pruner ends weak trials early. With
    KerasTuner an oracle proposes it before that, because it may have nothing to give until a trial has ended, or no
    more at all; then the study has fewer trials than it was allowed.

    Args:
        storage: the database's URL.
        name: the study's name.
        spec: what the study is, as plain data; a study that exists must have been started with the same.

    Raises:
        ConfigError: the study exists and was started with another `spec`, or the sampler cannot search the space.
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
        self._study_seed = derive_seed(settings.seed, 0, _SEARCHING)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if settings.engine == "optuna":
            check_sampler(settings.sampler, space)
            pruner = make_pruner(settings.pruner, study_seed=self._study_seed)
        study = make_study(storage, name, pruner=pruner, with_cost=settings.cost is not None)
        super().__init__(study, max_retries=settings.max_retries)
        known = self.study.user_attrs.get(SPEC)
        if known is None:
            if settings.cost is not None:
                name_objectives(self.study, settings.cost)
            self.study.set_user_attr(IDENTITY, uuid.uuid4().hex)
            self.study.set_user_attr(SPEC, dict(spec))
        else:
            _check_same(name, known, json.loads(json.dumps(dict(spec))))
        self._exhausted: int | None = self.study.user_attrs.get(_EXHAUSTED)
        self._waits_since: int | None = None

    @property
    def identity(self) -> str:
        """Names this study among all others, also in other databases: 32 hex digits."""
        return str(self.study.user_attrs[IDENTITY])

    @property
    def parent_run_id(self) -> str | None:
        """The MLflow run of the study, once there is one."""
        return self.study.user_attrs.get(PARENT)

    @parent_run_id.setter
    def parent_run_id(self, run_id: str) -> None:
        self.study.set_user_attr(PARENT, run_id)

    def wanted(self) -> Sequence[int]:
        """As many slots as the study is to have trials, or as KerasTuner's oracle had values for."""
        trials = self._settings.trials
        return range(trials if self._exhausted is None else min(trials, self._exhausted))

    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Notes the objective after a step, where there is one only; False means that the pruner stops the trial."""
        if self._settings.cost is not None:
            # Optuna neither keeps nor prunes by the course of several objectives.
            return True
        trial = self._trials[attempt.number]
        trial.report(metrics[OBJECTIVE], step)
        return not trial.should_prune()

    def _values(self, outcome: TrialOutcome) -> list[float]:
        cost = self._settings.cost
        return [outcome.value] if cost is None else [outcome.value, outcome.costs[cost]]

    def _first_parameters(self, slot: int) -> dict[str, Any] | None:
        if slot == 0:
            return base_values(self._space, self._base)
        return {} if self._settings.engine == "optuna" else self._proposed(slot)

    def _proposed(self, slot: int) -> dict[str, Any] | None:
        """What KerasTuner's oracle would try; None where it waits for a trial to end, or has no more to give."""
        ended = self.ended()
        if ended == self._waits_since:
            return None
        with quietly():
            from lsml.study.oracles import Verdict, propose
        found = propose(
            self._settings.tuner,
            self._space,
            self.study.get_trials(deepcopy=False),
            slot=slot,
            seed=derive_seed(self._settings.seed, slot, _SAMPLING),
        )
        if not isinstance(found, Verdict):
            return found
        self._waits_since = ended
        if found is Verdict.END:
            self._exhausted = slot
            self.study.set_user_attr(_EXHAUSTED, slot)
        return None

    def _sampler(self, slot: int) -> optuna.samplers.BaseSampler:
        if self._settings.engine != "optuna":
            return super()._sampler(slot)
        return make_sampler(
            self._settings.sampler,
            self._space,
            slot=slot,
            slot_seed=derive_seed(self._settings.seed, slot, _SAMPLING),
            study_seed=self._study_seed,
        )

    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        config = configure(self._space, self._base, _OptunaSuggester(trial))
        config = with_values(config, {"seed": derive_seed(self._settings.seed, slot, _TRAINING)})
        return Attempt(
            number=trial.number,
            slot=slot,
            ordinal=ordinal,
            role="trial",
            label=str(slot),
            config=config,
            searched=trial.params,
            params=flatten(config),
        )


@dataclass(frozen=True)
class Item:
    """One piece of work that a stage after the search consists of.

    Attributes:
        key: two items of one key are the same work.
        label: names it within its stage, such as `trial 3`.
        config: what to train.
        searched: the values in `config` that the search chose, by dotted field name.
        params: what its run shows as parameters.
    """

    key: str
    label: str
    config: TrainConfig
    searched: Mapping[str, Scalar]
    params: Mapping[str, Scalar]


class ListedSlots(Slots):
    """A stage after the search: a list of items, none of which is pruned.

    What was done before is not done again; what failed before is, since the study cannot end well without it.

    Args:
        storage: the database's URL.
        name: the study's name.
        role: what the stage is, such as `confirm`.
        items: what is to be done, with a key each.

    Raises:
        StorageError: the database cannot be used.
    """

    def __init__(self, storage: str, name: str, role: Role, items: Sequence[Item], *, max_retries: int) -> None:
        study = make_study(storage, name, stage=role, pruner=optuna.pruners.NopPruner())
        super().__init__(study, max_retries=max_retries)
        self._role, self._items = role, {item.key: item for item in items}
        # Slots belong to keys in the order in which these first came up, so a list that changes moves nothing.
        known = list(study.user_attrs.get(_ITEMS, []))
        self._keys = known + [key for key in self._items if key not in known]
        study.set_user_attr(_ITEMS, self._keys)
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        self._failed_before = {trial.number for trial in failed}

    def wanted(self) -> Sequence[int]:
        """The slots of the items; others are left of lists before."""
        return [slot for slot, key in enumerate(self._keys) if key in self._items]

    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Always True: nothing here is pruned."""
        return True

    def _is_void(self, trial: FrozenTrial) -> bool:
        return super()._is_void(trial) or trial.number in self._failed_before

    def trial_of(self, key: str) -> FrozenTrial | None:
        """The complete trial of an item; None where it failed or has not ended."""
        slot = self._keys.index(key)
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next((trial for trial in complete if slot_of(trial) == slot), None)

    def reason_of(self, key: str) -> str:
        """Why the item failed."""
        slot = self._keys.index(key)
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return next((str(t.user_attrs.get(_REASON, "")) for t in reversed(failed) if slot_of(t) == slot), "")

    def _first_parameters(self, slot: int) -> dict[str, Any]:
        return {}

    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        item = self._items[self._keys[slot]]
        return Attempt(
            number=trial.number,
            slot=slot,
            ordinal=ordinal,
            role=self._role,
            label=item.label,
            config=item.config,
            searched=item.searched,
            params=item.params,
        )


class _OptunaSuggester:
    """`lsml.config.space.Suggester` on an Optuna trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._trial.suggest_categorical(name, choices)  # type: ignore[return-value]

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)


def derive_seed(seed: int, slot: int, purpose: int) -> int:
    """A seed in 0..2**31-1 that depends on the study's seed, the slot and the purpose alone."""
    return int(np.random.SeedSequence([seed, slot, purpose]).generate_state(1)[0] & 0x7FFFFFFF)


def fresh_seed(seed: int) -> int:
    """A training seed that no trial of the study with that seed has had, the same for all that are compared."""
    return derive_seed(seed, 0, _CONFIRMING)


def threshold_of(trial: FrozenTrial) -> float:
    """The probability from which a pixel counts as landslide, of a complete trial."""
    return float(trial.user_attrs[_THRESHOLD])


def temperature_of(trial: FrozenTrial) -> float:
    """What the logits of a complete trial's network are divided by; 1 where lsml did not know of it yet."""
    return float(trial.user_attrs.get(_TEMPERATURE, 1.0))


def best_epoch_of(trial: FrozenTrial) -> int:
    """The best epoch of a complete trial, or the mean of its folds' best epochs."""
    return int(trial.user_attrs[_BEST_EPOCH])


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
