"""Which network a study registers: its best trial's, or, in folds, the one that holds its own with a fresh seed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from lsml.config.experiment import Experiment
from lsml.config.fields import amount, flatten
from lsml.config.schema import COST_UNITS, TrainConfig, with_values
from lsml.config.study import StudySettings
from lsml.data.folds import FoldedData
from lsml.data.splits import Steps, StudyData
from lsml.errors import StudyError
from lsml.study.coordinator import Stage
from lsml.study.database import complete_trials, cost_in, cost_of, f1_of, run_id_of, slot_of, within
from lsml.study.trial import TrialFunctions
from lsml.study.trial_queue import (
    Item,
    ListedSlots,
    SearchSlots,
    best_epoch_of,
    fresh_seed,
    temperature_of,
    threshold_of,
)
from lsml.training.outcome import Attempt, Earned, Role, TrialFunction

RunStage = Callable[[Stage], None]
"""Runs a stage to its end on the study's workers."""


@dataclass(frozen=True)
class Standing:
    """One competitor, judged on validation patches or in folds, and how it did.

    Attributes:
        what: names it.
        f1: over all out-of-fold pixels, at its own threshold; None where it failed.
        run_id: where it is written down; None where it failed.
        reason: why it failed, or cannot be registered.
    """

    what: str
    f1: float | None
    run_id: str | None
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """What a study registers, and against what it was chosen.

    Attributes:
        run_id: the run whose model is registered.
        value: F1 of its configuration, in 0..1.
        label: where the configuration comes from, such as `trial 3` or `base`.
        standings: how all competitors did in the folds, the chosen one first; empty where there are no folds.
        baselines: how what a network has to beat did, judged on the same patches as the network.
    """

    run_id: str
    value: float
    label: str
    standings: tuple[Standing, ...] = ()
    baselines: tuple[Standing, ...] = ()


def choose_best(search: SearchSlots, settings: StudySettings, study: str) -> Choice:
    """The best trial of the search within `study.limit`, whose own run has the model.

    Raises:
        StudyError: no trial completed, or none within the limit.
    """
    best = _ranked(search, settings, study)[0]
    return Choice(str(run_id_of(best)), _value(best), f"trial {slot_of(best)}")


def judge_baselines(
    data: StudyData,
    experiment: Experiment,
    *,
    study: str,
    storage: str,
    functions: TrialFunctions,
    run_stage: RunStage,
) -> tuple[Standing, ...]:
    """What a network has to beat, on the validation patches that the search was judged on."""
    later = _Later(experiment, data, study, storage, functions, run_stage)
    base = with_values(experiment.base, {"seed": fresh_seed(experiment.study.seed)})
    return later.baselines(base, functions.baselines, "judging on validation patches", Steps("fit", 1))


def choose_in_folds(
    search: SearchSlots,
    data: FoldedData,
    experiment: Experiment,
    *,
    study: str,
    storage: str,
    functions: TrialFunctions,
    run_stage: RunStage,
) -> Choice:
    """The configuration that earns it, trained on all patches; the base configuration unless a tuned one is better.

    The best `study.confirm` trials and the base are run again in the same folds, all with one fresh seed: among
    many noisy scores the highest is high by luck too, and its luck does not come again. Without `study.confirm` it
    is the best trial. Beside them stand the baselines, judged in the same folds. Where `study.limit` is given, only
    trials within it are run again, and a base above it stands beside them but is not chosen.

    Raises:
        StudyError: no trial completed, or none within the limit; none of those run again did; or training on all
            patches failed.
    """
    settings = experiment.study
    ranked = _ranked(search, settings, study)
    later = _Later(experiment, data, study, storage, functions, run_stage)
    base = with_values(experiment.base, {"seed": fresh_seed(settings.seed)})
    if settings.confirm:
        finalists = [item for item in (_again(trial, base) for trial in ranked) if item.config != base]
        judged = later.confirm(_item("base", base, {}), finalists[: settings.confirm])
        judged = [_limited(judged[0], settings), *judged[1:]]
    else:
        judged = [_Judged(_again(ranked[0], base), ranked[0], "")]
    chosen = _winner(judged, study)
    run_id = later.refit(chosen)
    others = [_standing(entry) for entry in judged if entry is not chosen]
    functions_in_folds = {**functions.baselines, **functions.fold_baselines}
    beaten = later.baselines(base, functions_in_folds, "judging in the same folds", data.steps(base))
    standings = (_standing(chosen), *others, *beaten)
    return Choice(run_id, _value(chosen.trial), chosen.item.label, standings, beaten)


class _Judged(NamedTuple):
    """An item, the trial that judged it, and why there is none or it cannot be chosen."""

    item: Item
    trial: FrozenTrial | None
    reason: str


@dataclass(frozen=True)
class _Later:
    """The stages after the search."""

    experiment: Experiment
    data: StudyData
    study: str
    storage: str
    functions: TrialFunctions
    run_stage: RunStage

    def confirm(self, base: Item, finalists: Sequence[Item]) -> list[_Judged]:
        """Every item in the same folds, with the seed that it has."""
        which = f"the best {len(finalists)} tuned configurations and the base" if finalists else "the base"
        return self._run(
            "confirm",
            f"confirming with a fresh seed: {which}",
            [base, *finalists],
            function=lambda attempt: self.functions.search,
            steps=lambda attempt: self.data.steps(attempt.config),
        )

    def refit(self, chosen: _Judged) -> str:
        """The run of the chosen configuration's network, trained on all patches."""
        assert chosen.trial is not None
        trial = chosen.trial
        earned = Earned(_value(trial), threshold_of(trial), best_epoch_of(trial), temperature_of(trial))
        item = _item(chosen.item.label, chosen.item.config, chosen.item.searched, *earned)
        function = partial(self.functions.refit, earned=earned)
        (done,) = self._run(
            "refit",
            f"training the configuration of {item.label} on all {len(self.data.splits[0])} patches",
            [item],
            function=lambda attempt: function,
            steps=lambda attempt: Steps("epoch", earned.epochs),
        )
        if done.trial is None:
            what = f"study '{self.study}'"
            raise StudyError(what, f"training on all patches failed: {done.reason}", "run the same command again")
        return str(run_id_of(done.trial))

    def baselines(
        self, config: TrainConfig, functions: Mapping[str, TrialFunction], title: str, steps: Steps
    ) -> tuple[Standing, ...]:
        """What a network has to beat, on the patches that it is judged on."""
        judged = self._run(
            "baseline",
            f"{title} what a network has to beat",
            [Item(name, name, config, {}, {"baseline": name}) for name in functions],
            function=lambda attempt: functions[attempt.label],
            steps=lambda attempt: steps,
        )
        return tuple(_standing(entry) for entry in judged)

    def _run(
        self,
        role: Role,
        title: str,
        items: Sequence[Item],
        *,
        function: Callable[[Attempt], TrialFunction],
        steps: Callable[[Attempt], Steps],
    ) -> list[_Judged]:
        retries = self.experiment.study.max_retries
        slots = ListedSlots(self.storage, self.study, role, items, max_retries=retries)
        self.run_stage(Stage(role, title, slots, function, steps))
        ended = [(item, slots.trial_of(item.key)) for item in items]
        return [_Judged(item, trial, "" if trial else slots.reason_of(item.key)) for item, trial in ended]


def _ranked(search: SearchSlots, settings: StudySettings, study: str) -> list[FrozenTrial]:
    """The complete trials within `study.limit`, the best first."""
    ranked = complete_trials(search.study)
    if ranked and settings.cost is not None and settings.limit is not None:
        limited = complete_trials(search.study, limit=settings.limit)
        if not limited:
            raise _nothing_within(settings.limit, settings.cost, ranked, study)
        return limited
    if not ranked:
        states = list(search.states().values())
        raise StudyError(
            f"study '{study}'",
            f"no trial completed ({states.count('failed')} failed, {states.count('pruned')} pruned)",
            f"lsml study show {study} gives the reasons; raise --trials to go on",
        )
    return ranked


def _nothing_within(limit: float, metric: str, ranked: Sequence[FrozenTrial], study: str) -> StudyError:
    smallest = min(ranked, key=lambda trial: cost_of(trial) or 0.0)
    unit = COST_UNITS[metric]
    return StudyError(
        f"study '{study}'",
        f"no trial has at most {amount(limit)} {unit} (study.limit): the smallest, trial {slot_of(smallest)}, has "
        f"{amount(cost_of(smallest) or 0.0)} at F1 {_value(smallest):.4f}",
        "raise study.limit, or search on with more --trials",
    )


def _limited(judged: _Judged, settings: StudySettings) -> _Judged:
    """With the reason, where it is above `study.limit`, why it cannot be chosen."""
    if judged.trial is None or settings.cost is None:
        return judged
    cost = cost_in(judged.trial, settings.cost)
    if cost is None or within(settings.limit, cost):
        return judged
    return judged._replace(reason=f"over the limit: {amount(cost)} {COST_UNITS[settings.cost]}")


def _winner(judged: Sequence[_Judged], study: str) -> _Judged:
    """The best of those that neither failed nor are above the limit, the one listed first of two equals."""
    done = [entry for entry in judged if entry.trial is not None and not entry.reason]
    if not done:
        reasons = "; ".join(f"{entry.item.label}: {entry.reason}" for entry in judged)
        raise StudyError(f"study '{study}'", f"no configuration could be confirmed ({reasons})", "mend the cause")
    return max(done, key=lambda entry: _value(entry.trial))


def _again(trial: FrozenTrial, base: TrainConfig) -> Item:
    """A trial's configuration with the base's seed."""
    return _item(f"trial {slot_of(trial)}", with_values(base, trial.params), trial.params)


def _item(label: str, config: TrainConfig, searched: Any, *more: float) -> Item:
    content = json.dumps([flatten(config), more], sort_keys=True)
    return Item(hashlib.sha256(content.encode()).hexdigest(), label, config, searched, flatten(config))


def _standing(judged: _Judged) -> Standing:
    name = f"{judged.item.label} configuration" if judged.item.label == "base" else judged.item.label
    if judged.trial is None:
        return Standing(name, None, None, judged.reason)
    return Standing(name, _value(judged.trial), run_id_of(judged.trial), judged.reason)


def _value(trial: FrozenTrial | None) -> float:
    value = f1_of(trial) if trial is not None else None
    assert value is not None
    return value
