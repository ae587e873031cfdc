"""The data entry and the study settings of an experiment file: budget, sampler, pruner, tuner."""

import importlib.util
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lsml.config.fields import Choice, Section, field
from lsml.errors import ConfigError
from lsml.names import Metric


class SyntheticData(Section):
    """A seeded synthetic dataset, made on first use."""

    train: int = field(96, "patches in the train split", unit="patches", ge=1, le=100_000)
    validation: int = field(32, "patches in the validation split", unit="patches", ge=1, le=100_000)
    test: int = field(32, "patches in the test split", unit="patches", ge=1, le=100_000)
    seed: int = field(0, "random seed", ge=0)


class DataEntry(Section):
    """Where the patches come from: a folder, or the synthetic generator."""

    path: str | None = field(None, "folder of the patches, relative to where lsml runs; this or synthetic")
    synthetic: SyntheticData | None = None
    folds: int | None = field(
        None,
        "folds of the train patches, contiguous or of whole regions, cross-validated inside each trial",
        unit="folds",
        ge=2,
    )
    repeats: int = field(2, "passes over all folds, each with other seeds", unit="passes", ge=1, le=100)
    hold_out_test: bool = field(
        False,
        "with folds of a folder that has no splits: keeps the last 15 % of its patches out of them, as a test split",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.synthetic is None):
            raise ConfigError("data", "needs either path or synthetic", "give one of them")
        return self

    @model_validator(mode="after")
    def _folds_to_repeat(self) -> Self:
        for name, what in {"repeats": "repeats folds", "hold_out_test": "holds patches out of folds"}.items():
            if self.folds is None and name in self.model_fields_set:
                raise ConfigError(f"data.{name}", f"{what}, and there are none", "give data.folds too")
        if self.folds is not None and self.synthetic is not None and self.folds > self.synthetic.train:
            why = f"{self.synthetic.train} train patches cannot fill {self.folds} folds"
            raise ConfigError("data.folds", why, "set fewer folds, or a larger data.synthetic.train")
        return self


class _OptunaChoice(Choice):
    """What Optuna makes of a kind: a class of its own, of which fields name the arguments."""

    optuna: ClassVar[str] = ""
    """Optuna's class; empty for what `lsml.study.search` builds."""

    def arguments(self) -> dict[str, Any]:
        """The values of the fields by the names of Optuna's arguments."""
        extras = {name: info.json_schema_extra for name, info in type(self).model_fields.items()}
        return {
            str(extra["optuna"]): getattr(self, name)
            for name, extra in extras.items()
            if isinstance(extra, dict) and extra["optuna"]
        }


class SamplerSettings(_OptunaChoice):
    """What chooses the configurations of the trials."""

    key: ClassVar[str] = "study.sampler"

    package: ClassVar[str] = ""
    """What the sampler needs besides Optuna; the extra of lsml that installs it has the sampler's name."""
    single_objective: ClassVar[bool] = False
    """Whether it cannot search with a second objective."""
    numbers_only: ClassVar[bool] = False
    """Whether it needs a searched field with a range and without a condition."""

    def check(self, *, has_free_range: bool) -> None:
        """Whether the sampler can search in this environment.

        Args:
            has_free_range: whether the space has a field with a range and without a condition.

        Raises:
            ConfigError: the package that the sampler needs is not installed, or there is nothing that it can choose.
        """
        what = f"study.sampler: {self.name}"
        if self.numbers_only and not has_free_range:
            raise ConfigError(what, "needs a range without a condition, and the space has none", "choose tpe")
        if self.package and importlib.util.find_spec(self.package) is None:
            why = f"needs the package {self.package}, which is not installed"
            raise ConfigError(what, why, f"pip install 'lsml[{self.name}]'")


class _TpeSettings(SamplerSettings):
    """Tree-structured Parzen estimators (Bergstra et al. 2011); all fields at once, conditional ones each by itself."""

    optuna = "TPESampler"

    name: Literal["tpe"] = "tpe"
    startup_trials: int = field(
        10, "random trials before the estimators take over", unit="trials", optuna="n_startup_trials", ge=0
    )
    candidates: int = field(
        24,
        "draws for each trial, of which the most promising one is taken",
        unit="draws",
        optuna="n_ei_candidates",
        ge=1,
        le=10_000,
    )


class _RandomSettings(SamplerSettings):
    """Independent random draws."""

    optuna = "RandomSampler"

    name: Literal["random"] = "random"


class QmcSettings(SamplerSettings):
    """A scrambled low-discrepancy sequence, its point chosen by the slot; conditional fields have coordinates too."""

    name: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = field(
        "sobol", "the sequence; sobol covers best with a power of two of trials", optuna="qmc_type"
    )


class CmaEsSettings(SamplerSettings):
    """Covariance matrix adaptation (Hansen 2016) over numbers without a condition; TPE draws all other fields."""

    package = "cmaes"
    single_objective = True
    numbers_only = True

    name: Literal["cma-es"] = "cma-es"
    startup_trials: int = field(
        1,
        "complete trials before the adaptation, from the middle of the space, begins",
        unit="trials",
        optuna="n_startup_trials",
        ge=0,
    )
    population: int | None = field(
        None,
        "complete trials of one generation (pruned ones do not count); without it, 4 + 3 ln(fields)",
        unit="trials",
        optuna="popsize",
        ge=4,
        le=10_000,
    )


class GpSettings(SamplerSettings):
    """A Gaussian process (Optuna's) over fields without a condition; TPE draws the conditional ones."""

    package = "torch"

    name: Literal["gp"] = "gp"
    startup_trials: int = field(
        10,
        "complete trials, randomly drawn, before the process is fitted",
        unit="trials",
        optuna="n_startup_trials",
        ge=1,
    )


class NsgaIISettings(SamplerSettings):
    """NSGA-II (Deb et al. 2002): crosses and mutates fields without a condition; TPE draws the conditional ones."""

    name: Literal["nsga2"] = "nsga2"
    population: int = field(
        10,
        "complete trials of one generation; those of the first one are random",
        unit="trials",
        optuna="population_size",
        ge=2,
        le=10_000,
    )


def _min_epochs(description: str, optuna: str) -> int:
    value: int = field(5, description, unit="epochs", optuna=optuna, ge=1)
    return value


def _reduction() -> int:
    value: int = field(3, "one trial in this many is promoted from each rung", optuna="reduction_factor", ge=2)
    return value


class PrunerSettings(_OptunaChoice):
    """What ends weak trials early."""

    key: ClassVar[str] = "study.pruner"


class _HalvingSettings(PrunerSettings):
    """Asynchronous successive halving (Li et al. 2018)."""

    optuna = "SuccessiveHalvingPruner"

    name: Literal["successive_halving"] = "successive_halving"
    min_epochs: int = _min_epochs("epochs, or folds, that every trial may train; the first rung", "min_resource")
    reduction: int = _reduction()


class HyperbandSettings(PrunerSettings):
    """Successive halving with several first rungs (Hyperband, Li et al. 2018), among which the slots are dealt."""

    name: Literal["hyperband"] = "hyperband"
    min_epochs: int = _min_epochs("epochs, or folds, at the first rung of the most aggressive bracket", "min_resource")
    max_epochs: int = field(..., "epochs, or folds, of a trial that is not pruned", unit="epochs", ge=1)
    reduction: int = _reduction()

    @model_validator(mode="after")
    def _room_for_a_rung(self) -> Self:
        if self.max_epochs < self.min_epochs:
            why = f"{self.max_epochs} is below min_epochs {self.min_epochs}"
            raise ConfigError("max_epochs", why, "raise max_epochs, or lower min_epochs")
        return self


class _MedianSettings(PrunerSettings):
    """Ends a trial whose best value so far is below the median of the complete trials at the same step."""

    optuna = "MedianPruner"

    name: Literal["median"] = "median"
    startup_trials: int = field(
        5, "complete trials before any is pruned", unit="trials", optuna="n_startup_trials", ge=1
    )
    min_epochs: int = _min_epochs("epochs, or folds, that every trial may train", "n_warmup_steps")


class _NoPruningSettings(PrunerSettings):
    """Every trial trains to its end."""

    optuna = "NopPruner"

    name: Literal["none"] = "none"


class TunerSettings(Choice):
    """A tuner of KerasTuner."""

    key: ClassVar[str] = "study.tuner"


class RandomTunerSettings(TunerSettings):
    """Independent random draws, none of them twice."""

    name: Literal["random"] = "random"


class BayesianTunerSettings(TunerSettings):
    """A Gaussian process over all fields, of which the highest upper confidence bound is taken."""

    name: Literal["bayesian"] = "bayesian"
    num_initial_points: int | None = field(
        None,
        "complete trials, randomly drawn, before the process is fitted; without it, 3 a searched field",
        unit="trials",
        ge=1,
    )
    alpha: float = field(1e-4, "noise that the process expects, as a share of the variance of F1", gt=0.0)
    beta: float = field(2.6, "standard deviations in the confidence bound: more of them explore more", ge=0.0)


class HyperbandTunerSettings(TunerSettings):
    """Hyperband (Li et al. 2018): many short trainings, of which the best are begun anew with more epochs."""

    name: Literal["hyperband"] = "hyperband"
    max_epochs: int | None = field(
        None, "epochs of the longest trials; without it, those of the base", unit="epochs", ge=1, le=10_000
    )
    factor: int = field(3, "one trial in this many is trained again, with this many times its epochs", ge=2)
    hyperband_iterations: int = field(1, "repetitions of all brackets", unit="runs", ge=1, le=100_000)


class StudySettings(Section):
    """The budget of a study and how it searches."""

    trials: int = field(20, "number of trials of the study", unit="trials", ge=1, le=100_000)
    seed: int = field(0, "random seed of the study", ge=0, le=2**31 - 1)
    workers: int = field(
        0, "parallel trials; 0: workers_per_gpu for each GPU, or 1 without a GPU", unit="workers", ge=0, le=1024
    )
    workers_per_gpu: int = field(1, "parallel trials that share a GPU, where workers is 0", unit="workers", ge=1, le=64)
    max_retries: int = field(
        2,
        "retries of a trial whose worker was lost; a loss after which it had got further than before costs none",
        unit="attempts",
        ge=0,
        le=100,
    )
    max_failures: int = field(
        5,
        "consecutive failed trials that stop the study; those out of memory count only if no other has completed an "
        "epoch or fold",
        unit="trials",
        ge=1,
    )
    trial_timeout: float = field(
        0.0,
        "time that a worker may spend on a trial, or on a training of a later stage, before it has failed; 0 for any",
        unit="s",
        ge=0,
    )
    timeout: float = field(
        0.0,
        "time after which a call of lsml tune begins no more trials; those under way end, and the same command goes on "
        "searching; 0 for any",
        unit="s",
        ge=0,
    )
    until_f1: float | None = field(
        None, "the search begins no more trials once a complete one, within study.max_cost, has this F1", ge=0, le=1
    )
    confirm: int = field(
        0,
        "best trials that are trained again in other folds and with a new seed, beside the base configuration, which "
        "is registered unless one of them is ahead of it by more than chance; needs data.folds",
        unit="trials",
        ge=0,
        le=100,
    )
    final: Literal["folds", "refit"] = field(
        "folds",
        "what a study in folds registers: the mean of the networks of all its folds, or one network that is then "
        "trained on all patches",
    )
    second_objective: Literal["none", "parameters", "latency"] = field(
        "none",
        "a second objective, minimised: the exported model's weights, or its milliseconds per patch in the "
        "worker; needs pruner: none",
    )
    max_cost: float | None = field(
        None,
        "registers the best F1 among trials whose second objective is at most this, not the best of all; "
        "changing it later selects again",
        unit="parameters or ms",
        gt=0,
    )
    keep_probabilities: bool = field(
        False,
        "keeps each trial's validation probabilities with its run, a byte a pixel before compression, so that "
        "lsml ensemble need not predict them again; not with data.folds",
    )
    engine: Literal["optuna", "keras-tuner"] = field(
        "optuna", "what chooses and ends trials: study.sampler and study.pruner of Optuna, or study.tuner of KerasTuner"
    )
    sampler: SerializeAsAny[SamplerSettings] = Field(
        _TpeSettings(), description="what chooses the configurations of the trials"
    )
    pruner: SerializeAsAny[PrunerSettings] = Field(
        _HalvingSettings(), description="what ends weak trials early; its steps are epochs, or folds if any"
    )
    tuner: SerializeAsAny[TunerSettings] = Field(
        BayesianTunerSettings(), description="the tuner of engine keras-tuner, which ends no trial early"
    )

    @property
    def cost(self) -> str | None:
        """The metric that is the second objective; None where there is one objective."""
        return {"none": None, "parameters": Metric.PARAMETERS, "latency": Metric.LATENCY}[self.second_objective]

    @model_validator(mode="after")
    def _objectives_that_go_together(self) -> Self:
        if self.cost is None:
            if self.max_cost is not None:
                raise ConfigError(
                    "study.max_cost", "limits the second objective, and there is none", "give study.second_objective"
                )
            return self
        several = f"study.second_objective: {self.second_objective}"
        if self.engine != "optuna":
            raise ConfigError(several, f"{self.engine} searches with one objective only", "set study.engine: optuna")
        if self.pruner.name != "none":
            why = f"Optuna cannot prune with several objectives, and study.pruner is {self.pruner.name}"
            raise ConfigError(several, why, "set study.pruner: none")
        if self.sampler.single_objective:
            why = f"study.sampler {self.sampler.name} searches with one objective only"
            raise ConfigError(several, why, "choose nsga2 or tpe")
        return self
