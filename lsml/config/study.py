"""The data entry and the study settings of an experiment file: budget, sampler, pruner, tuner."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from lsml.config.fields import Section, suggestion, validate
from lsml.config.schema import LATENCY, PARAMETERS
from lsml.errors import ConfigError

_PACKAGES = {"cma-es": "cmaes", "gp": "torch"}
"""What a sampler needs besides Optuna, which installs neither; lsml's extra has the sampler's name."""


def _setting(default: Any, description: str, *, unit: str = "", **bounds: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


def _min_epochs(description: str) -> Any:
    return _setting(5, description, unit="epochs", ge=1)


def _reduction() -> Any:
    return _setting(3, "one trial in this many goes on from each rung to the next", ge=2)


class SyntheticData(Section):
    """A seeded synthetic dataset, made on first use."""

    train: int = _setting(96, "patches in the train split", unit="patches", ge=1)
    validation: int = _setting(32, "patches in the validation split", unit="patches", ge=1)
    test: int = _setting(32, "patches in the test split", unit="patches", ge=1)
    seed: int = _setting(0, "start of every random choice", ge=0)


class DataEntry(Section):
    """Where the patches come from: a folder, or the synthetic generator."""

    path: str | None = _setting(None, "folder of the patches, relative to where lsml runs; this or synthetic")
    synthetic: SyntheticData | None = None
    folds: int | None = _setting(
        None, "contiguous folds of the train patches, cross-validated inside each trial", unit="folds", ge=2
    )
    repeats: int = _setting(2, "passes over all folds, each with other seeds", unit="passes", ge=1, le=100)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give either path or synthetic")
        return self

    @model_validator(mode="after")
    def _folds_to_repeat(self) -> Self:
        if self.folds is None and "repeats" in self.model_fields_set:
            raise ValueError("repeats without folds: give folds too")
        if self.folds is not None and self.synthetic is not None and self.folds > self.synthetic.train:
            raise ValueError(f"{self.synthetic.train} train patches cannot fill {self.folds} folds")
        return self


class TpeSettings(Section):
    """Tree-structured Parzen estimators (Bergstra et al. 2011); all fields at once, conditional ones each by itself."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = _setting(10, "random trials before the estimators take over", unit="trials", ge=0)
    candidates: int = _setting(
        24, "draws for each trial, of which the most promising one is taken", unit="draws", ge=1, le=10_000
    )


class RandomSettings(Section):
    """Independent random draws."""

    name: Literal["random"] = "random"


class QmcSettings(Section):
    """A scrambled low-discrepancy sequence, its point chosen by the slot; conditional fields have coordinates too."""

    name: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = _setting(
        "sobol", "the sequence; sobol covers best with a power of two of trials"
    )


class CmaEsSettings(Section):
    """Covariance matrix adaptation (Hansen 2016) over numbers without a condition; TPE draws all other fields."""

    name: Literal["cma-es"] = "cma-es"
    startup_trials: int = _setting(
        1, "complete trials before the adaptation, from the middle of the space, begins", unit="trials", ge=0
    )
    population: int | None = _setting(
        None,
        "complete trials of one generation (pruned ones do not count); without it, 4 + 3 ln(fields)",
        unit="trials",
        ge=4,
        le=10_000,
    )


class GpSettings(Section):
    """A Gaussian process (Optuna's) over fields without a condition; TPE draws the conditional ones."""

    name: Literal["gp"] = "gp"
    startup_trials: int = _setting(
        10, "complete trials, randomly drawn, before the process is fitted", unit="trials", ge=1
    )


class NsgaIISettings(Section):
    """NSGA-II (Deb et al. 2002): crosses and mutates fields without a condition; TPE draws the conditional ones."""

    name: Literal["nsga2"] = "nsga2"
    population: int = _setting(
        10,
        "complete trials of one generation; those of the first one are random",
        unit="trials",
        ge=2,
        le=10_000,
    )


class HalvingSettings(Section):
    """Asynchronous successive halving (Li et al. 2018)."""

    name: Literal["successive_halving"] = "successive_halving"
    min_epochs: int = _min_epochs("epochs, or folds, that every trial may train; the first rung")
    reduction: int = _reduction()


class HyperbandSettings(Section):
    """Successive halving with several first rungs (Hyperband, Li et al. 2018), among which the slots are dealt."""

    name: Literal["hyperband"] = "hyperband"
    min_epochs: int = _min_epochs("epochs, or folds, at the first rung of the keenest bracket")
    max_epochs: int = _setting(..., "epochs, or folds, of a trial that is not pruned", unit="epochs", ge=1)
    reduction: int = _reduction()

    @model_validator(mode="after")
    def _room_for_a_rung(self) -> Self:
        if self.max_epochs < self.min_epochs:
            raise ValueError(f"max_epochs {self.max_epochs} is below min_epochs {self.min_epochs}")
        return self


class MedianSettings(Section):
    """Ends a trial whose best value so far is below the median of the complete trials at the same step."""

    name: Literal["median"] = "median"
    startup_trials: int = _setting(5, "complete trials before any is pruned", unit="trials", ge=1)
    min_epochs: int = _min_epochs("epochs, or folds, that every trial may train")


class NoPruningSettings(Section):
    """Every trial trains to its end."""

    name: Literal["none"] = "none"


class RandomTunerSettings(Section):
    """Independent random draws, none of them twice."""

    name: Literal["random"] = "random"


class BayesianTunerSettings(Section):
    """A Gaussian process over all fields, of which the highest upper confidence bound is taken."""

    name: Literal["bayesian"] = "bayesian"
    num_initial_points: int | None = _setting(
        None,
        "complete trials, randomly drawn, before the process is fitted; without it, 3 a searched field",
        unit="trials",
        ge=1,
    )
    alpha: float = _setting(1e-4, "noise that the process expects, as a share of the variance of F1", gt=0.0)
    beta: float = _setting(2.6, "standard deviations in the confidence bound: more of them explore more", ge=0.0)


class HyperbandTunerSettings(Section):
    """Hyperband (Li et al. 2018): many short trainings, of which the best are begun anew with more epochs."""

    name: Literal["hyperband"] = "hyperband"
    max_epochs: int | None = _setting(
        None, "epochs of the longest trials; without it, those of the base", unit="epochs", ge=1, le=10_000
    )
    factor: int = _setting(3, "one trial in this many is trained anew, with this many times its epochs", ge=2)
    hyperband_iterations: int = _setting(1, "runs through all brackets", unit="runs", ge=1, le=100_000)


def _by_name(place: str, *kinds: type[Section]) -> BeforeValidator:
    """Reads a mapping, or the name alone, as that kind which its `name` chooses: mistakes are answered for it only."""
    known = {str(kind.model_fields["name"].default): kind for kind in kinds}

    def choose(value: Any) -> Any:
        entry = {"name": value} if isinstance(value, str) else value
        if not isinstance(entry, dict):
            return value
        name = str(entry.get("name", ""))
        if name not in known:
            why = f"no such name '{name}'" if name else "gives no name"
            raise ConfigError(place, why, suggestion(name, known))
        return validate(known[name], entry, place)

    return BeforeValidator(choose)


SamplerSettings = TpeSettings | RandomSettings | QmcSettings | CmaEsSettings | GpSettings | NsgaIISettings
PrunerSettings = HalvingSettings | HyperbandSettings | MedianSettings | NoPruningSettings
TunerSettings = RandomTunerSettings | BayesianTunerSettings | HyperbandTunerSettings


class StudySettings(Section):
    """The budget of a study and how it searches."""

    trials: int = _setting(20, "trials that the study has when it is done", unit="trials", ge=1, le=100_000)
    seed: int = _setting(0, "start of every random choice of the study", ge=0, le=2**31 - 1)
    workers: int = _setting(
        0, "trials at the same time; 0 is one a GPU, or one where there is none", unit="workers", ge=0, le=1024
    )
    max_retries: int = _setting(2, "new attempts of a trial whose worker was lost", unit="attempts", ge=0, le=100)
    max_failures: int = _setting(
        5,
        "failed trials in a row that end the study; those out of memory count only where no other has got through an "
        "epoch or fold",
        unit="trials",
        ge=1,
    )
    confirm: int = _setting(
        0,
        "best trials that are run again with a fresh seed, beside the base configuration, which is "
        "registered unless one of them is better; needs data.folds",
        unit="trials",
        ge=0,
        le=100,
    )
    against: Literal["none", "parameters", "latency"] = _setting(
        "none",
        "a second objective, as low as can be: the exported model's weights, or its milliseconds per patch in the "
        "worker; needs pruner: none",
    )
    limit: float | None = _setting(
        None,
        "registers the best F1 among trials whose second objective is at most this, not the best of all; "
        "another limit later chooses anew",
        unit="parameters or ms",
        gt=0,
    )
    keep_probabilities: bool = _setting(
        False,
        "keeps each trial's validation probabilities with its run, a byte a pixel before compression, so that "
        "lsml ensemble need not predict them anew; not with data.folds",
    )
    engine: Literal["optuna", "keras-tuner"] = _setting(
        "optuna", "what chooses and ends trials: study.sampler and study.pruner of Optuna, or study.tuner of KerasTuner"
    )
    sampler: Annotated[
        SamplerSettings,
        Field(discriminator="name", description="what chooses the configurations of the trials"),
        _by_name("study.sampler", *get_args(SamplerSettings)),
    ] = TpeSettings()
    pruner: Annotated[
        PrunerSettings,
        Field(discriminator="name", description="what ends weak trials early; its steps are epochs, or folds if any"),
        _by_name("study.pruner", *get_args(PrunerSettings)),
    ] = HalvingSettings()
    tuner: Annotated[
        TunerSettings,
        Field(discriminator="name", description="the tuner of engine keras-tuner, which ends no trial early"),
        _by_name("study.tuner", *get_args(TunerSettings)),
    ] = BayesianTunerSettings()

    @property
    def cost(self) -> str | None:
        """The metric that is the second objective; None where there is one objective."""
        return {"none": None, "parameters": PARAMETERS, "latency": LATENCY}[self.against]

    @model_validator(mode="after")
    def _objectives_that_go_together(self) -> Self:
        if self.cost is None:
            if self.limit is not None:
                raise ConfigError("study.limit", "limits the second objective, and there is none", "give study.against")
            return self
        several = f"study.against: {self.against}"
        if self.engine != "optuna":
            raise ConfigError(several, f"{self.engine} searches with one objective only", "set study.engine: optuna")
        if self.pruner.name != "none":
            why = f"Optuna cannot prune with several objectives, and study.pruner is {self.pruner.name}"
            raise ConfigError(several, why, "set study.pruner: none")
        if self.sampler.name == "cma-es":
            raise ConfigError(several, "study.sampler cma-es searches with one objective only", "choose nsga2 or tpe")
        return self
