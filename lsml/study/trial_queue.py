"""The trials of a stage of a study: which to run next, how each ended, and which are still to run.

A slot is one of the stage's N trials; an attempt at it is one Optuna trial. A slot whose attempt was lost or
interrupted is queued again with the same parameters. Such superseded attempts stay in the database as FAIL, but
neither the sampler nor the pruner nor a plot ever sees them, so a study that was killed and resumed makes the
same choices as one that was not.
"""

import itertools
import json
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Space
from lsml.config.study import StudySettings
from lsml.errors import ConfigError
from lsml.names import OBJECTIVE, Attribute, EndState, Role
from lsml.study.database import AttemptRecord, CountedStudy, make_study
from lsml.study.search import check_spec, make_pruner, make_sampler
from lsml.training.device import quietly
from lsml.training.outcome import Attempt, TrialOutcome

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_TRAINING, _SAMPLING, _CONFIRMING, _SEARCHING = 0, 1, 2, 3


class TrialQueue(ABC):
    """The slots of one stage; only the process that holds the study's lock may use it.

    Args:
        study: holds this stage's attempts and no others.
        max_retries: how often a slot whose worker was lost is queued again, besides after attempts that got further
            than those before.
    """

    def __init__(self, study: CountedStudy, *, max_retries: int) -> None:
        self.study, self._max_retries = study, max_retries
        self._trials: dict[int, Trial] = {}

    @abstractmethod
    def wanted(self) -> Sequence[int]:
        """The slots that this stage is to end."""

    @abstractmethod
    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Records a step that ended; False means that the attempt is to stop, as pruned."""

    @abstractmethod
    def _first_parameters(self, slot: int) -> dict[str, Any] | None:
        """Optuna's parameters of a slot that has no attempt; those left out are the sampler's choice.

        None where the slot cannot begin now.
        """

    @abstractmethod
    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        """The attempt that Optuna's trial stands for."""

    def close_open(self, reason: str) -> None:
        """Closes every attempt under way as superseded; its slot is queued again by the next `ask`."""
        self.study.close_open(reason)
        self._trials.clear()

    def states(self) -> dict[int, EndState]:
        """How every attempt that has ended did so, by trial number."""
        return self.study.states()

    def ended(self) -> int:
        """How many of the wanted slots have ended for good."""
        trials = self.study.all_trials(deepcopy=False)
        done = {AttemptRecord(t).slot for t in trials if t.state.is_finished() and not self._is_void(t)}
        return len(done.intersection(self.wanted()))

    def _is_void(self, trial: FrozenTrial) -> bool:
        """Whether the slot of an attempt that has ended needs another one."""
        return AttemptRecord(trial).superseded

    def ask(self) -> Attempt | None:
        """The next attempt, or None when every slot has ended or is being worked on.

        A slot whose values no configuration may have together, such as weights of the loss that are all 0, ends as
        failed here and now.
        """
        while (waiting := self._next_waiting()) is not None:
            slot, ordinal = waiting
            wanted = slot in self.wanted()
            self.study.sampler = self._sampler(slot)
            trial = self.study.ask()
            self._trials[trial.number] = trial
            if not wanted:
                # Queued by a process that was killed, and not wanted any more.
                self.study.supersede(self._trials.pop(trial.number), "no longer wanted")
                continue
            try:
                attempt = self._attempt(trial, slot, ordinal)
            except ConfigError as refused:
                self._fail(trial.number, str(refused))
                continue
            trial.set_user_attr(Attribute.SEARCHED, list(trial.params))
            return attempt
        return None

    def _sampler(self, slot: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.RandomSampler(seed=slot)

    def _next_waiting(self) -> tuple[int, int] | None:
        """Slot and ordinal of the attempt that waits; where none does, of the first slot that needs one, now queued.

        None where none can begin now. Optuna gives out the first that waits, so there is never more than one.
        """
        by_slot: dict[int, list[FrozenTrial]] = {}
        # Once: with many trials under way, each reading takes a while.
        for trial in self.study.all_trials(deepcopy=False):
            slot = AttemptRecord(trial).slot
            if trial.state == TrialState.WAITING:
                return slot, trial.user_attrs[Attribute.ORDINAL]
            by_slot.setdefault(slot, []).append(trial)
        for slot in self.wanted():
            attempts = by_slot.get(slot, [])
            if all(self._is_void(t) for t in attempts):
                parameters = self._parameters(slot, attempts)
                if parameters is None:
                    return None
                ordinal = len(attempts) + 1
                self.study.enqueue_trial(parameters, user_attrs={Attribute.SLOT: slot, Attribute.ORDINAL: ordinal})
                return slot, ordinal
        return None

    def _parameters(self, slot: int, attempts: list[FrozenTrial]) -> dict[str, Any] | None:
        """What an earlier attempt was given in full, else what the slot begins with."""
        for trial in reversed(attempts):
            if Attribute.SEARCHED in trial.user_attrs:
                return trial.params
        return self._first_parameters(slot)

    def remember_run(self, attempt: Attempt, run_id: str, worker: str) -> None:
        """Stores the id of the attempt's MLflow run, and which worker it is on."""
        self._trials[attempt.number].set_user_attr(Attribute.WORKER, worker)
        self._trials[attempt.number].set_user_attr(Attribute.RUN_ID, run_id)

    def complete(self, attempt: Attempt, outcome: TrialOutcome) -> None:
        """Ends the slot with its value, and stores what later stages need."""
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr(Attribute.THRESHOLD, outcome.threshold)
        trial.set_user_attr(Attribute.TEMPERATURE, outcome.temperature)
        trial.set_user_attr(Attribute.BEST_EPOCH, outcome.best_epoch)
        trial.set_user_attr(Attribute.STEPS, outcome.steps.total)
        trial.set_user_attr(Attribute.COSTS, dict(outcome.costs))
        trial.set_user_attr(Attribute.MODEL, outcome.model.sha256 if outcome.model else "")
        self.study.tell(trial, self._values(outcome))

    def _values(self, outcome: TrialOutcome) -> list[float]:
        return [outcome.value]

    def prune(self, attempt: Attempt, f1: float) -> None:
        """Ends the slot as pruned; to Optuna its value is that of the last step reported.

        Args:
            f1: of its model, which is that of the best step.
        """
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr(Attribute.F1, f1)
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, attempt: Attempt, reason: str) -> None:
        """Ends the slot as failed."""
        self._fail(attempt.number, reason)

    def _fail(self, number: int, reason: str) -> None:
        trial = self._trials.pop(number)
        trial.set_user_attr(Attribute.REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def lose(self, attempt: Attempt, reason: str, *, step: int) -> bool:
        """Closes an attempt whose worker was lost; True when the slot has retries left and is queued again.

        Args:
            step: the last epoch or fold that it reported; 0 where there was none.
        """
        lost = (t for t in self.study.all_trials(deepcopy=False) if t.user_attrs.get(Attribute.LOST))
        steps = [t.user_attrs.get(Attribute.STEPS, 0) for t in lost if AttemptRecord(t).slot == attempt.slot]
        # The first counts in any case: it had nothing to get further than.
        losses = 1 + sum(now == before for before, now in itertools.pairwise(itertools.accumulate([*steps, step], max)))
        if losses > self._max_retries:
            self.fail(attempt, f"{reason}, {losses - 1} retries used up")
            return False
        trial = self._trials.pop(attempt.number)
        trial.set_user_attr(Attribute.STEPS, step)
        trial.set_user_attr(Attribute.LOST, True)
        self.study.supersede(trial, reason)
        return True


class SearchQueue(TrialQueue):
    """The search itself: an engine chooses each slot's configuration.

    With Optuna, a sampler chooses it when the slot's trial is asked for, and a pruner ends weak trials early. With
    KerasTuner an oracle proposes it before that, because it may have nothing to give until a trial has ended, or no
    more at all; then the study has fewer trials than it was allowed.

    Args:
        storage: the database's URL.
        name: the study's name.
        spec: `lsml.study.search.study_spec`; a study that exists must have been started with the same.

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
        self._study_seed = _derive_seed(settings.seed, 0, _SEARCHING)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if settings.engine == "optuna":
            settings.sampler.check(has_free_range=space.has_free_range)
            pruner = make_pruner(settings.pruner, study_seed=self._study_seed)
        study = make_study(storage, name, pruner=pruner, cost=settings.cost)
        super().__init__(study, max_retries=settings.max_retries)
        if recorded := self.study.spec:
            check_spec(name, recorded, json.loads(json.dumps(dict(spec))))
        else:
            searched = "; ".join(f"{field}: {values.describe()}" for field, values in space.dimensions.items())
            self.study.set_user_attr(Attribute.IDENTITY, uuid.uuid4().hex)
            self.study.set_user_attr(Attribute.SEARCHED, searched)
            self.study.note(Attribute.SPEC, spec)
        self._deadline = time.monotonic() + (settings.timeout or math.inf)
        self._reached = self._has_reached()
        self._exhausted: int | None = self.study.user_attrs.get(Attribute.EXHAUSTED)

    @property
    def identity(self) -> str:
        """Names this study among all others, also in other databases: 32 hex digits."""
        return str(self.study.user_attrs[Attribute.IDENTITY])

    @property
    def parent_run_id(self) -> str | None:
        """The MLflow run of the study, once there is one."""
        return self.study.user_attrs.get(Attribute.PARENT)

    @parent_run_id.setter
    def parent_run_id(self, run_id: str) -> None:
        self.study.set_user_attr(Attribute.PARENT, run_id)

    def wanted(self) -> Sequence[int]:
        """As many slots as the study is to have trials, or as KerasTuner's oracle had values for.

        Where the search is to stop before, those that have ended or are under way.
        """
        trials = self._settings.trials
        slots = range(trials if self._exhausted is None else min(trials, self._exhausted))
        if not self.stopped:
            return slots
        begun = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, *_ENDED))
        return sorted({AttemptRecord(trial).slot for trial in begun}.intersection(slots))

    @property
    def stopped(self) -> str:
        """Why the search begins no more trials, whether or not it would; empty where nothing keeps it from that."""
        if self._reached:
            return f"a trial has reached F1 {self._settings.until_f1:g} (study.until_f1)"
        if time.monotonic() > self._deadline:
            return f"the {self._settings.timeout:g} s of study.timeout were over"
        return "" if self._exhausted is None else "the tuner had no more to try"

    def _has_reached(self) -> bool:
        until = self._settings.until_f1
        best = None if until is None else self.study.best_complete(limit=self._settings.max_cost)
        return best is not None and (best.f1 or 0.0) >= (until or 0.0)

    def complete(self, attempt: Attempt, outcome: TrialOutcome) -> None:
        """As any stage, and looks whether the search has come to its end."""
        super().complete(attempt, outcome)
        self._reached = self._has_reached()

    def report(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> bool:
        """Reports the objective to Optuna, where there is only one; False means that the pruner stops the trial."""
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
            return self._space.base_values(self._base)
        return {} if self._settings.engine == "optuna" else self._proposed(slot)

    def _proposed(self, slot: int) -> dict[str, Any] | None:
        """What KerasTuner's oracle would try; None where it waits for a trial to end, or has no more to give."""
        with quietly():
            from lsml.study.oracles import NoProposal, propose
        proposal = propose(
            self._settings.tuner,
            self._space,
            self.study.get_trials(deepcopy=False),
            slot=slot,
            seed=_derive_seed(self._settings.seed, slot, _SAMPLING),
        )
        if not isinstance(proposal, NoProposal):
            return proposal
        if proposal is NoProposal.END:
            self._exhausted = slot
            self.study.set_user_attr(Attribute.EXHAUSTED, slot)
        return None

    def _sampler(self, slot: int) -> optuna.samplers.BaseSampler:
        if self._settings.engine != "optuna":
            return super()._sampler(slot)
        return make_sampler(
            self._settings.sampler,
            self._space,
            slot=slot,
            slot_seed=_derive_seed(self._settings.seed, slot, _SAMPLING),
            study_seed=self._study_seed,
        )

    def _attempt(self, trial: Trial, slot: int, ordinal: int) -> Attempt:
        config = self._space.configure(self._base, _OptunaSuggester(trial))
        config = with_values(config, {"seed": _derive_seed(self._settings.seed, slot, _TRAINING)})
        return Attempt(
            number=trial.number,
            slot=slot,
            ordinal=ordinal,
            role=Role.TRIAL,
            label=str(slot),
            config=config,
            searched=trial.params,
            params=config.unlike_default(*trial.params),
        )


class _OptunaSuggester:
    """`lsml.config.space.Suggester` on an Optuna trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._trial.suggest_categorical(name, choices)  # type: ignore[return-value]  # one of choices

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)


def _derive_seed(seed: int, slot: int, purpose: int) -> int:
    """A seed in 0..2**31-1 that depends on the study's seed, the slot and the purpose alone."""
    return int(np.random.SeedSequence([seed, slot, purpose]).generate_state(1)[0] & 0x7FFFFFFF)


def fresh_seed(seed: int) -> int:
    """A training seed that no trial of the study with that seed has had, the same for all that are compared."""
    return _derive_seed(seed, 0, _CONFIRMING)
