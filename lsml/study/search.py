"""The samplers and pruners of a search: Optuna's, bound to the study's seed and the slot alone.

Left to themselves, some of Optuna's draw on the study's name, on trial numbers (which a killed attempt moves on), or on
counters in the database (which it moves on too), so that a study would depend on its name and on its kills.
"""

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lsml.config.schema import fields
from lsml.config.space import Dimension, Space
from lsml.config.study import (
    CmaEsSettings,
    GpSettings,
    HalvingSettings,
    HyperbandSettings,
    MedianSettings,
    NoPruningSettings,
    NsgaIISettings,
    PrunerSettings,
    QmcSettings,
    RandomSettings,
    SamplerSettings,
    TpeSettings,
)
from lsml.study.database import CountedStudy, is_superseded, slot_of


def make_sampler(settings: SamplerSettings, space: Space, *, slot: int, slot_seed: int, study_seed: int) -> BaseSampler:
    """The sampler that chooses for one slot; it is used for that slot only.

    Args:
        slot_seed: belongs to this slot alone.
        study_seed: is the same for all slots of the study.
    """
    match settings:
        case TpeSettings():
            return TPESampler(
                seed=slot_seed, n_startup_trials=settings.startup_trials, n_ei_candidates=settings.candidates
            )
        case RandomSettings():
            return RandomSampler(seed=slot_seed)
        case QmcSettings():
            return _SlotQmc(space, slot=slot, seed=study_seed, sequence=settings.sequence)
        case CmaEsSettings():
            return _SlotCmaEs(space, slot=slot, seed=slot_seed, settings=settings)
        case GpSettings():
            return _FixedSpaceGp(space, seed=slot_seed, startup_trials=settings.startup_trials)
        case NsgaIISettings():
            return _SlotNsgaII(space, seed=slot_seed, population=settings.population)


def make_pruner(settings: PrunerSettings, *, study_seed: int) -> BasePruner:
    """The pruner of a search whose steps count from 1: epochs, or folds."""
    match settings:
        case HalvingSettings():
            return SuccessiveHalvingPruner(min_resource=settings.min_epochs, reduction_factor=settings.reduction)
        case HyperbandSettings():
            return SlotHyperband(settings, study_seed)
        case MedianSettings():
            return MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=settings.min_epochs)
        case NoPruningSettings():
            return NopPruner()


class _SlotQmc(QMCSampler):
    """A scrambled sequence over the whole space, of which each slot takes its own point.

    Optuna's counts in the database, and reads the space off the first trial, without its conditional fields.
    """

    def __init__(self, space: Space, *, slot: int, seed: int, sequence: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(qmc_type=sequence, scramble=True, seed=seed)
        self._whole = dict(_distributions(space, conditional=True))
        # Slot 0 is the base configuration.
        self._point = max(slot - 1, 0)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._whole

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._point


class _SlotCmaEs(CmaEsSampler):
    """CMA-ES over the ranges without a condition; TPE draws the rest.

    Optuna's takes the fields that all complete trials share; when these become fewer it gives up for good. Its seed
    moves on with the trial's number.
    """

    def __init__(self, space: Space, *, slot: int, seed: int, settings: CmaEsSettings) -> None:
        super().__init__(
            seed=seed,
            n_startup_trials=settings.startup_trials,
            popsize=settings.population,
            independent_sampler=TPESampler(seed=seed),
            warn_independent_sampling=False,
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
            if is_superseded(earlier) and slot_of(earlier) == self._slot and earlier.params == given:
                for key, value in earlier.system_attrs.items():
                    if key.startswith("cma:"):
                        study._storage.set_trial_system_attr(trial._trial_id, key, value)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        by_slot = copy.copy(trial)
        by_slot.number = self._slot
        return super().sample_relative(study, by_slot, search_space)


class _FixedSpaceGp(GPSampler):
    """A Gaussian process over the fields without a condition; TPE draws the rest."""

    def __init__(self, space: Space, *, seed: int, startup_trials: int) -> None:
        super().__init__(
            seed=seed,
            n_startup_trials=startup_trials,
            independent_sampler=TPESampler(seed=seed),
            warn_independent_sampling=False,
        )
        self._shared = dict(_distributions(space, conditional=False))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._shared


class _SlotNsgaII(NSGAIISampler):
    """NSGA-II over the fields without a condition; TPE draws the rest.

    Generations are the complete trials in the order of their slots, so many at a time. Optuna's notes each trial's
    generation in the database when it samples, so that those whose parameters are given, the base and what is queued
    again, have none; and the parents of a generation come in another order once they have been noted there.
    """

    def __init__(self, space: Space, *, seed: int, population: int) -> None:
        super().__init__(population_size=population, seed=seed)
        self._size = population
        self._shared = dict(_distributions(space, conditional=False))
        self._conditional = TPESampler(seed=seed)

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
    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=slot_of)


def _distributions(space: Space, *, conditional: bool) -> Iterator[tuple[str, BaseDistribution]]:
    """Every field that has more than one value, by name; with `conditional` those that hang on others too."""
    kinds = {spec.name: spec.kind for spec in fields()}
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


class SlotHyperband(BasePruner):
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
            SuccessiveHalvingPruner(
                min_resource=settings.min_epochs, reduction_factor=settings.reduction, min_early_stopping_rate=bracket
            )
            for bracket in range(count)
        ]
        # n of algorithm 1, with s = count - 1 - bracket: how many trials begin in the bracket.
        shares = [math.ceil(count * settings.reduction ** (count - 1 - b) / (count - b)) for b in range(count)]
        self._round = np.repeat(np.arange(count), shares)

    def bracket_of(self, slot: int) -> int:
        """The bracket of a slot, 0 being the one that prunes first."""
        number, place = divmod(slot, len(self._round))
        return int(np.random.default_rng([self._seed, number]).permutation(self._round)[place])

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        bracket = self.bracket_of(slot_of(trial))
        return self._brackets[bracket].prune(_Bracket(study, self, bracket), trial)


class _Bracket(CountedStudy):
    """The study as one bracket sees it."""

    def __init__(self, study: Study, hyperband: SlotHyperband, bracket: int) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=hyperband)
        self._hyperband, self._bracket = hyperband, bracket

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        counted = super().get_trials(deepcopy=deepcopy, states=states)
        return [t for t in counted if self._hyperband.bracket_of(slot_of(t)) == self._bracket]
