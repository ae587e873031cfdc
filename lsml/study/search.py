"""A search as the study records it, and its samplers and pruners: Optuna's, bound to the seed and the slot alone.

Left to themselves, some of Optuna's draw on the study's name, on trial numbers (which a killed attempt moves on), or on
counters in the database (which it moves on too), so that a study would depend on its name and on its kills.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lsml.config.experiment import Experiment
from lsml.config.fields import Scalar, check_names, flatten
from lsml.config.schema import TrainConfig
from lsml.config.space import Dimension, Space
from lsml.config.study import (
    CmaEsSettings,
    GpSettings,
    HyperbandSettings,
    HyperbandTunerSettings,
    NsgaIISettings,
    PrunerSettings,
    QmcSettings,
    SamplerSettings,
    StudySettings,
    TunerSettings,
)
from lsml.data.splits import StudyData
from lsml.errors import ConfigError
from lsml.report.facts import Standing
from lsml.scoring.selection import CorrectedScore
from lsml.study.database import AttemptRecord, CountedStudy


@dataclass(frozen=True)
class Choice:
    """What a study registers, and against what it was chosen.

    Attributes:
        run_id: the run whose model is registered.
        value: F1 of its configuration, in 0..1.
        label: where the configuration comes from, such as `trial 3` or `base`.
        standings: how all did in the folds, the chosen one first; empty where there are no folds.
        baselines: how the baselines did, scored on the same patches.
        network: the best configuration where a baseline is chosen in its place; its `reason` says why.
        corrected: `value` without what choosing added.
        against_base: by how much the best configuration is ahead of the base on the same patches, or that it is not.
        behind: runs of the best network, and of the best of each architecture, that a baseline is ahead of, and by how
            much.
    """

    run_id: str
    value: float
    label: str
    standings: tuple[Standing, ...] = ()
    baselines: tuple[Standing, ...] = ()
    network: Standing | None = None
    corrected: CorrectedScore | None = None
    against_base: str = ""
    behind: Mapping[str, str] = field(default_factory=dict)


def study_spec(experiment: Experiment, data: StudyData, weights: Mapping[str, str]) -> dict[str, Any]:
    """What must not change when a study is resumed, as plain data.

    Args:
        weights: SHA-256 of each file of weights that the search can choose, by its name in the configuration.
    """
    settings = experiment.study
    return {
        "data": data.identity,
        "base": {name: value for name, value in flatten(experiment.base).items() if name != "seed"},
        "space": experiment.space.describe(),
        "search": {
            "seed": settings.seed,
            "engine": settings.engine,
            **{part: flatten(chosen) for part, chosen in _engine_parts(settings).items()},
            **({} if settings.cost is None else {"second_objective": settings.second_objective}),
        },
        "confirm": settings.confirm,
        **({} if settings.final == "folds" else {"final": settings.final}),
        # Left out where there is none, so that studies from before there were such files resume.
        **({"weights file": dict(weights)} if weights else {}),
    }


def check_spec(name: str, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises ConfigError where a study was started with another `study_spec` than it is now to be resumed with."""
    names = [
        *recorded.get("base", ()),
        *recorded.get("space", ()),
        *(f"study.{part}" for part in recorded.get("search", ())),
    ]
    check_names(names, f"study '{name}'", "start a new one with --study NAME")
    for key in sorted(recorded.keys() | asked.keys()):
        if recorded.get(key) != asked.get(key):
            raise ConfigError(
                f"study '{name}'",
                f"was started with another {key} ({_difference(recorded.get(key), asked.get(key))})",
                "start a new one with --study NAME",
            )


def _difference(recorded: Any, asked: Any) -> str:
    """The first entry that differs, as `depth: 3, now 4`."""
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        key = next(k for k in sorted(recorded.keys() | asked.keys()) if recorded.get(k) != asked.get(k))
        return f"{key}: {_difference(recorded.get(key), asked.get(key))}"
    return f"{recorded}, now {asked}"


def study_params(name: str, experiment: Experiment, workers: int) -> dict[str, Scalar]:
    """The parameters that the study's run shows."""
    settings = experiment.study
    engine = [_with_options(f"study.{part}", chosen) for part, chosen in _engine_parts(settings).items()]
    return {
        "study.name": name,
        "study.experiment": experiment.name,
        "study.trials": settings.trials,
        "study.workers": workers,
        "study.seed": settings.seed,
        "study.max_retries": settings.max_retries,
        "study.confirm": settings.confirm,
        "study.engine": settings.engine,
        **{key: value for options in engine for key, value in options.items()},
        **({} if settings.cost is None else {"study.second_objective": settings.second_objective}),
        "study.searched": ", ".join(experiment.space.dimensions),
    }


def describe_engine(settings: StudySettings) -> str:
    """Which engine searches and which settings it ignores; empty for Optuna, which ignores none."""
    if settings.engine == "optuna":
        return ""
    cap = "; --trials is a cap" if isinstance(settings.tuner, HyperbandTunerSettings) else ""
    return f"KerasTuner's {settings.tuner.name} tuner, without study.sampler and study.pruner{cap}"


def _engine_parts(settings: StudySettings) -> dict[str, SamplerSettings | PrunerSettings | TunerSettings]:
    """The settings that the study's engine uses, by their name below `study`."""
    if settings.engine == "optuna":
        return {"sampler": settings.sampler, "pruner": settings.pruner}
    return {"tuner": settings.tuner}


def _with_options(key: str, settings: SamplerSettings | PrunerSettings | TunerSettings) -> dict[str, Scalar]:
    """`{"study.sampler": "tpe", "study.sampler.startup_trials": 10}`; options that are not given are left out."""
    options = {f"{key}.{name}": value for name, value in flatten(settings).items() if name != "name"}
    return {key: settings.name} | {name: value for name, value in options.items() if value is not None}


_CLASSES: dict[type[SamplerSettings | PrunerSettings], type[Any]] = {}
"""What is built for settings that name no class of Optuna."""

_Class = TypeVar("_Class", bound=type)


def _built_for(settings: type[SamplerSettings | PrunerSettings]) -> Callable[[_Class], _Class]:
    def register(made: _Class) -> _Class:
        _CLASSES[settings] = made
        return made

    return register


def make_sampler(settings: SamplerSettings, space: Space, *, slot: int, slot_seed: int, study_seed: int) -> BaseSampler:
    """The sampler that chooses for one slot; it is used for that slot only.

    Args:
        slot_seed: belongs to this slot alone.
        study_seed: is the same for all slots of the study.
    """
    if settings.optuna:
        named: BaseSampler = getattr(optuna.samplers, settings.optuna)(seed=slot_seed, **settings.arguments())
        return named
    build = _CLASSES[type(settings)]
    built: BaseSampler = build(settings, space, slot=slot, slot_seed=slot_seed, study_seed=study_seed)
    return built


def make_pruner(settings: PrunerSettings, *, study_seed: int) -> BasePruner:
    """The pruner of a search whose steps count from 1: epochs, or folds."""
    if settings.optuna:
        named: BasePruner = getattr(optuna.pruners, settings.optuna)(**settings.arguments())
        return named
    built: BasePruner = _CLASSES[type(settings)](settings, study_seed)
    return built


@_built_for(QmcSettings)
class _SlotQmc(QMCSampler):
    """A scrambled sequence over the whole space, of which each slot takes its own point.

    Optuna's counts in the database, and reads the space off the first trial, without its conditional fields.
    """

    def __init__(self, settings: QmcSettings, space: Space, *, slot: int, study_seed: int, **_: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(scramble=True, seed=study_seed, **settings.arguments())
        self._whole = dict(_distributions(space, conditional=True))
        # Slot 0 is the base configuration.
        self._point = max(slot - 1, 0)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._whole

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._point


@_built_for(CmaEsSettings)
class _SlotCmaEs(CmaEsSampler):
    """CMA-ES over the ranges without a condition; TPE draws the rest.

    Optuna's takes the fields that all complete trials share; when these become fewer it gives up for good. Its seed
    moves on with the trial's number.
    """

    def __init__(self, settings: CmaEsSettings, space: Space, *, slot: int, slot_seed: int, **_: int) -> None:
        super().__init__(
            seed=slot_seed,
            independent_sampler=TPESampler(seed=slot_seed),
            warn_independent_sampling=False,
            **settings.arguments(),
        )
        self._slot = slot
        shared = _distributions(space, conditional=False)
        self._ranges = {name: found for name, found in shared if not isinstance(found, CategoricalDistribution)}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._ranges

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        # A slot that is queued again keeps its parameters, so nothing is sampled: it must keep, too, what was noted
        # with the trial when they were, its place in a generation and the state of the adaptation.
        assert isinstance(study, CountedStudy)
        given = trial.system_attrs.get("fixed_params", {})
        for earlier in study.all_trials(deepcopy=False):
            attempt = AttemptRecord(earlier)
            if attempt.superseded and attempt.slot == self._slot and attempt.params == given:
                for key, value in earlier.system_attrs.items():
                    if key.startswith("cma:"):
                        study._storage.set_trial_system_attr(trial._trial_id, key, value)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        by_slot = copy.copy(trial)
        by_slot.number = self._slot
        return super().sample_relative(study, by_slot, search_space)


@_built_for(GpSettings)
class _FixedSpaceGp(GPSampler):
    """A Gaussian process over the fields without a condition; TPE draws the rest."""

    def __init__(self, settings: GpSettings, space: Space, *, slot_seed: int, **_: int) -> None:
        super().__init__(
            seed=slot_seed,
            independent_sampler=TPESampler(seed=slot_seed),
            warn_independent_sampling=False,
            **settings.arguments(),
        )
        self._shared = dict(_distributions(space, conditional=False))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._shared


@_built_for(NsgaIISettings)
class _SlotNsgaII(NSGAIISampler):
    """NSGA-II over the fields without a condition; TPE draws the rest.

    Generations are the complete trials in the order of their slots, so many at a time. Optuna's notes each trial's
    generation in the database when it samples, so that those whose parameters are given, the base and what is queued
    again, have none; and the parents of a generation come in another order once they have been noted there.
    """

    def __init__(self, settings: NsgaIISettings, space: Space, *, slot_seed: int, **_: int) -> None:
        super().__init__(seed=slot_seed, **settings.arguments())
        self._size = settings.population
        self._shared = dict(_distributions(space, conditional=False))
        self._conditional = TPESampler(seed=slot_seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._shared

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return len(_complete_by_slot(study)) // self._size

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return _complete_by_slot(study)[generation * self._size : (generation + 1) * self._size]

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        parents: list[FrozenTrial] = []
        for earlier in range(generation):
            parents = self._elite_population_selection_strategy(study, self.get_population(study, earlier) + parents)
        return parents

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._shared:
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._conditional.sample_independent(study, trial, param_name, param_distribution)


def _complete_by_slot(study: Study) -> list[FrozenTrial]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: AttemptRecord(trial).slot)


def _distributions(space: Space, *, conditional: bool) -> Iterator[tuple[str, BaseDistribution]]:
    """Every field that has more than one value, by name; with `conditional` those that hang on others too."""
    kinds = {spec.name: spec.kind for spec in TrainConfig.fields()}
    for name, dimension in sorted(space.dimensions.items()):
        found = _distribution(dimension, kinds[name])
        if not found.single() and (conditional or not dimension.when):
            yield name, found


def _distribution(dimension: Dimension, kind: str) -> BaseDistribution:
    """What Optuna's trial makes of the dimension when it suggests a value."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if kind == "int":
        return IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1)
        )
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log, step=dimension.step)


@_built_for(HyperbandSettings)
class _SlotHyperband(BasePruner):
    """Hyperband (Li et al. 2018, algorithm 1) by asynchronous successive halving in each bracket.

    With `R = max_epochs / min_epochs` there are `floor(log_reduction(R)) + 1` brackets; the first rung of bracket `b`
    is at `min_epochs * reduction**b`. Slots are dealt to brackets in rounds: in each round every bracket gets its
    share, in an order that follows from the seed, so that a study of any length is near the shares of the paper.
    Optuna's own hashes the study's name, and shows its sampler only the trials of the bracket; here it sees all.
    """

    def __init__(self, settings: HyperbandSettings, seed: int) -> None:
        self._seed = seed
        count = 1
        while settings.min_epochs * settings.reduction**count <= settings.max_epochs:
            count += 1
        self._brackets = [
            SuccessiveHalvingPruner(min_early_stopping_rate=bracket, **settings.arguments()) for bracket in range(count)
        ]
        # n of algorithm 1, with s = count - 1 - bracket: how many trials begin in the bracket.
        shares = [math.ceil(count * settings.reduction ** (count - 1 - b) / (count - b)) for b in range(count)]
        self._round = np.repeat(np.arange(count), shares)

    def bracket_of(self, slot: int) -> int:
        """The bracket of a slot, 0 being the one that prunes first."""
        number, place = divmod(slot, len(self._round))
        return int(np.random.default_rng([self._seed, number]).permutation(self._round)[place])

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        bracket = self.bracket_of(AttemptRecord(trial).slot)
        return self._brackets[bracket].prune(_Bracket(study, self, bracket), trial)


class _Bracket(CountedStudy):
    """The study as one bracket sees it."""

    def __init__(self, study: Study, hyperband: _SlotHyperband, bracket: int) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=hyperband)
        self._hyperband, self._bracket = hyperband, bracket

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        counted = super().get_trials(deepcopy=deepcopy, states=states)
        return [t for t in counted if self._hyperband.bracket_of(AttemptRecord(t).slot) == self._bracket]
