"""Which model a study registers: that of its best trial or, in folds, of the best configuration with a fresh seed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lsml.config.experiment import Experiment
from lsml.config.fields import Scalar, flatten, format_amount
from lsml.config.schema import COST_UNITS, TrainConfig, with_values
from lsml.config.study import StudySettings
from lsml.data.splits import Steps, StudyData
from lsml.errors import StudyError
from lsml.names import Attribute, Role, StageRole, State
from lsml.report.facts import Standing
from lsml.study.coordinator import Stage
from lsml.study.database import AttemptRecord, make_study, within
from lsml.study.search import Choice
from lsml.study.trial_queue import SearchQueue, TrialQueue, fresh_seed
from lsml.training.outcome import Attempt, CvSummary, TrialFunction, TrialFunctions

_RunStage = Callable[[Stage], None]
"""Runs a stage to its end on the study's workers."""


@dataclass(frozen=True)
class _Item:
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


class _ListedQueue(TrialQueue):
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

    def __init__(self, storage: str, name: str, role: StageRole, items: Sequence[_Item], *, max_retries: int) -> None:
        study = make_study(storage, name, stage=role, pruner=optuna.pruners.NopPruner())
        super().__init__(study, max_retries=max_retries)
        self._role, self._items = role, {item.key: item for item in items}
        # Slots belong to keys in the order in which these first came up, so a list that changes moves nothing.
        known = list(study.user_attrs.get(Attribute.ITEMS, []))
        self._keys = known + [key for key in self._items if key not in known]
        study.set_user_attr(Attribute.ITEMS, self._keys)
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

    def trial_of(self, key: str) -> AttemptRecord | None:
        """The complete trial of an item; None where it failed or has not ended."""
        return next(iter(self._ended(key, TrialState.COMPLETE)), None)

    def reason_of(self, key: str) -> str:
        """Why the item failed."""
        failed = self._ended(key, TrialState.FAIL)
        return str(failed[-1].trial.user_attrs.get(Attribute.REASON, "")) if failed else ""

    def _ended(self, key: str, state: TrialState) -> list[AttemptRecord]:
        attempts = map(AttemptRecord, self.study.get_trials(deepcopy=False, states=(state,)))
        return [attempt for attempt in attempts if attempt.slot == self._keys.index(key)]

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


def choose_best(search: SearchQueue, settings: StudySettings, study: str) -> Choice:
    """The best trial of the search within `study.max_cost`, whose own run has the model.

    Raises:
        StudyError: no trial completed, or none within the limit.
    """
    best = _ranked(search, settings, study)[0]
    return Choice(str(best.run_id), _value(best), f"trial {best.slot}")


class _Scored(NamedTuple):
    """An item, the trial that scored it, and why there is none or it cannot be chosen."""

    item: _Item
    trial: AttemptRecord | None
    reason: str


@dataclass(frozen=True)
class LaterStages:
    """The stages after the search: confirmation in folds, training on all patches, baselines."""

    experiment: Experiment
    data: StudyData
    study: str
    storage: str
    functions: TrialFunctions
    run_stage: _RunStage

    def score_baselines(self) -> tuple[Standing, ...]:
        """Trains the baselines, scored on the validation patches that the search was scored on."""
        functions, steps = self.functions.baselines, Steps("fit", 1)
        return self._baselines(self._base(), functions, "scoring baselines on validation patches", steps)

    def choose_in_folds(self, search: SearchQueue) -> Choice:
        """The best configuration in the folds, trained on all patches; the base unless a tuned one is better.

        The best `study.confirm` trials and the base are run again in the same folds, all with one fresh seed: the
        highest of many noisy scores is optimistically biased, and a fresh seed has no part in that. Without
        `study.confirm` it is the best trial. The baselines are scored in the same folds. Where `study.limit` is
        given, only trials within it are run again, and a base above it is scored but not chosen.

        Raises:
            StudyError: no trial completed, or none within the limit; none of those run again did; or training on all
                patches failed.
        """
        settings, base = self.experiment.study, self._base()
        ranked = _ranked(search, settings, self.study)
        if settings.confirm:
            finalists = [item for item in (_again(trial, base) for trial in ranked) if item.config != base]
            scored = self._confirm(_item("base", base, {}), finalists[: settings.confirm])
            scored = [_limited(scored[0], settings), *scored[1:]]
        else:
            scored = [_Scored(_again(ranked[0], base), ranked[0], "")]
        chosen = _winner(scored, self.study)
        run_id = self._refit(chosen)
        others = [_standing(entry) for entry in scored if entry is not chosen]
        functions = {**self.functions.baselines, **self.functions.fold_baselines}
        baselines = self._baselines(base, functions, "scoring baselines in the same folds", self.data.steps(base))
        standings = (_standing(chosen), *others, *baselines)
        return Choice(run_id, _value(chosen.trial), chosen.item.label, standings, baselines)

    def _base(self) -> TrainConfig:
        """The base configuration with a seed that no trial of the search had."""
        return with_values(self.experiment.base, {"seed": fresh_seed(self.experiment.study.seed)})

    def _confirm(self, base: _Item, finalists: Sequence[_Item]) -> list[_Scored]:
        """Every item in the same folds, with the seed that it has."""
        which = f"the best {len(finalists)} tuned configurations and the base" if finalists else "the base"
        return self._run(
            Role.CONFIRM,
            f"confirming with a fresh seed: {which}",
            [base, *finalists],
            function=lambda attempt: self.functions.search,
            steps=lambda attempt: self.data.steps(attempt.config),
        )

    def _refit(self, chosen: _Scored) -> str:
        """The run of the chosen configuration's network, trained on all patches."""
        assert chosen.trial is not None
        trial = chosen.trial
        summary = CvSummary(_value(trial), trial.threshold, trial.best_epoch, trial.temperature)
        item = _item(chosen.item.label, chosen.item.config, chosen.item.searched, *summary)
        function = partial(self.functions.refit, summary=summary)
        (done,) = self._run(
            Role.REFIT,
            f"training the configuration of {item.label} on all {len(self.data.splits[0])} patches",
            [item],
            function=lambda attempt: function,
            steps=lambda attempt: Steps("epoch", summary.epochs),
        )
        if done.trial is None:
            what = f"study '{self.study}'"
            raise StudyError(what, f"training on all patches failed: {done.reason}", "run the same command again")
        return str(done.trial.run_id)

    def _baselines(
        self, config: TrainConfig, functions: Mapping[str, TrialFunction], title: str, steps: Steps
    ) -> tuple[Standing, ...]:
        """Trains the baselines that have the bands that they need, and scores them on the trials' patches."""
        sensor, roles = self.data.splits[0].sensor, self.functions.roles
        usable = [name for name in functions if sensor.has(*roles.get(name, ()))]
        scored = self._run(
            Role.BASELINE,
            title,
            [_Item(name, name, config, {}, {"baseline": name}) for name in usable],
            function=lambda attempt: functions[attempt.label],
            steps=lambda attempt: steps,
        )
        return tuple(_standing(entry) for entry in scored)

    def _run(
        self,
        role: StageRole,
        title: str,
        items: Sequence[_Item],
        *,
        function: Callable[[Attempt], TrialFunction],
        steps: Callable[[Attempt], Steps],
    ) -> list[_Scored]:
        retries = self.experiment.study.max_retries
        queue = _ListedQueue(self.storage, self.study, role, items, max_retries=retries)
        self.run_stage(Stage(role, title, queue, function, steps))
        ended = [(item, queue.trial_of(item.key)) for item in items]
        return [_Scored(item, trial, "" if trial else queue.reason_of(item.key)) for item, trial in ended]


def _ranked(search: SearchQueue, settings: StudySettings, study: str) -> list[AttemptRecord]:
    """The complete trials within `study.max_cost`, the best first."""
    ranked = search.study.complete_trials()
    if ranked and settings.cost is not None and settings.max_cost is not None:
        limited = search.study.complete_trials(limit=settings.max_cost)
        if not limited:
            raise _nothing_within(settings.max_cost, settings.cost, ranked, study)
        return limited
    if not ranked:
        states = list(search.states().values())
        raise StudyError(
            f"study '{study}'",
            f"no trial completed ({states.count(State.FAILED)} failed, {states.count(State.PRUNED)} pruned)",
            f"lsml study show {study} lists the reasons; raise --trials to continue",
        )
    return ranked


def _nothing_within(limit: float, metric: str, ranked: Sequence[AttemptRecord], study: str) -> StudyError:
    smallest = min(ranked, key=lambda trial: trial.cost or 0.0)
    unit = COST_UNITS[metric]
    return StudyError(
        f"study '{study}'",
        f"no trial has at most {format_amount(limit)} {unit} (study.max_cost): the smallest, trial {smallest.slot}, "
        f"has {format_amount(smallest.cost or 0.0)} at F1 {_value(smallest):.4f}",
        "raise study.max_cost, or continue with more --trials",
    )


def _limited(scored: _Scored, settings: StudySettings) -> _Scored:
    """With the reason, where it is above `study.max_cost`, why it cannot be chosen."""
    if scored.trial is None or settings.cost is None:
        return scored
    cost = scored.trial.cost_in(settings.cost)
    if cost is None or within(settings.max_cost, cost):
        return scored
    return scored._replace(reason=f"over the limit: {format_amount(cost)} {COST_UNITS[settings.cost]}")


def _winner(scored: Sequence[_Scored], study: str) -> _Scored:
    """The best of those that neither failed nor are above the limit, the one listed first of two equals."""
    done = [entry for entry in scored if entry.trial is not None and not entry.reason]
    if not done:
        reasons = "; ".join(f"{entry.item.label}: {entry.reason}" for entry in scored)
        raise StudyError(
            f"study '{study}'",
            f"no configuration could be confirmed ({reasons})",
            "fix these errors and run the same command again",
        )
    return max(done, key=lambda entry: _value(entry.trial))


def _again(trial: AttemptRecord, base: TrainConfig) -> _Item:
    """A trial's configuration with the base's seed."""
    return _item(f"trial {trial.slot}", with_values(base, trial.params), trial.params)


def _item(label: str, config: TrainConfig, searched: Any, *more: float) -> _Item:
    content = json.dumps([flatten(config), more], sort_keys=True)
    return _Item(hashlib.sha256(content.encode()).hexdigest(), label, config, searched, flatten(config))


def _standing(scored: _Scored) -> Standing:
    name = f"{scored.item.label} configuration" if scored.item.label == "base" else scored.item.label
    if scored.trial is None:
        return Standing(what=name, f1=None, run_id=None, reason=scored.reason)
    return Standing(what=name, f1=_value(scored.trial), run_id=scored.trial.run_id, reason=scored.reason)


def _value(trial: AttemptRecord | None) -> float:
    value = trial.f1 if trial is not None else None
    assert value is not None
    return value
