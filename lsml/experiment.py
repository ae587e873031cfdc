"""Experiment files: the data, the base configuration, the search space and the budget of one study."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lsml import strict_yaml
from lsml.config import Scalar, Section, TrainConfig, validate, with_values
from lsml.errors import ConfigError
from lsml.space import Space

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class SyntheticData(Section):
    """A seeded synthetic dataset, made on first use."""

    train: int = Field(96, ge=1, description="patches in the train split")
    validation: int = Field(32, ge=1, description="patches in the validation split")
    test: int = Field(32, ge=1, description="patches in the test split")
    seed: int = Field(0, ge=0, description="start of every random choice")


class DataEntry(Section):
    """Where the patches come from: a folder, or the synthetic generator."""

    path: str | None = None
    synthetic: SyntheticData | None = None
    folds: int | None = Field(
        None, ge=2, description="contiguous folds of the train patches, cross-validated inside each trial"
    )
    repeats: int = Field(2, ge=1, le=100, description="passes over all folds, each with other seeds")

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
    """Optuna's tree-structured Parzen estimator."""

    startup_trials: int = Field(10, ge=0, description="random trials before the estimator takes over")


class PrunerSettings(Section):
    """Asynchronous successive halving (Li et al. 2018), or no pruning.

    Its steps are epochs, or folds where the data have folds: a pruned trial has then judged some of the patches.
    """

    name: Literal["successive_halving", "none"] = "successive_halving"
    min_epochs: int = Field(5, ge=1, description="epochs, or folds, that every trial may train")
    reduction: int = Field(3, ge=2, description="one trial in this many goes on from each rung to the next")


class StudySettings(Section):
    """The budget of a study and how it searches."""

    trials: int = Field(20, ge=1, le=100_000, description="trials that the study has when it is done")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="start of every random choice of the study")
    workers: int = Field(
        0, ge=0, le=1024, description="trials at the same time; 0 is one a GPU, or one where there is none"
    )
    max_retries: int = Field(2, ge=0, le=100, description="new attempts of a trial whose worker was lost")
    max_failures: int = Field(5, ge=1, description="failed trials in a row that end the study")
    confirm: int = Field(
        0,
        ge=0,
        le=100,
        description="best trials that are run again with a fresh seed, beside the base configuration, which is "
        "registered unless one of them is better; needs data.folds",
    )
    tpe: TpeSettings = TpeSettings()
    pruner: PrunerSettings = PrunerSettings()


class _ExperimentFile(Section):
    """The keys of an experiment file."""

    name: Annotated[str, Field(description="name of the experiment and of its registered model")]
    description: str = ""
    data: DataEntry
    base: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies defaults)
    space: dict[str, Any]
    study: StudySettings = StudySettings()

    @model_validator(mode="after")
    def _folds_to_confirm_in(self) -> Self:
        if self.study.confirm and self.data.folds is None:
            raise ValueError("study.confirm without data.folds: give data.folds too")
        return self


class Experiment(Section):
    """One experiment, validated: nothing in it can fail for its form once a study runs."""

    name: str
    description: str
    data: DataEntry
    base: TrainConfig
    space: Space
    study: StudySettings

    def with_settings(self, **changes: Any) -> "Experiment":
        """A copy with study settings replaced where the change is not None.

        Raises:
            ConfigError: a value that the setting refuses.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        study = validate(StudySettings, self.study.model_dump() | given, "study")
        return self.model_copy(update={"study": study})

    def with_fields(self, values: dict[str, Scalar]) -> "Experiment":
        """A copy whose base has these field values; a searched field among them is no longer searched.

        Raises:
            ConfigError: an unknown field, a value that it refuses, or a space that no longer fits.
        """
        base = with_values(self.base, values)
        space = self.space.pinned(set(values), base)
        space.check_base(base)
        return self.model_copy(update={"base": base, "space": space})


def check_name(kind: str, name: str) -> str:
    """`name`, where it can name a study or an experiment in every store.

    Raises:
        ConfigError: other characters than letters, digits, `.`, `_`, `-`, a start that is no letter or digit,
            or more than 200 characters.
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise ConfigError(
            f"{kind} name {shown!r}",
            "not 1 to 200 letters, digits, '.', '_' or '-' beginning with a letter or digit",
            "choose another name",
        )
    return name


def load_experiment(path: Path) -> Experiment:
    """The experiment that the YAML file at `path` describes.

    Raises:
        ConfigError: no such file, no YAML, unknown keys, or values that a field refuses.
    """
    what = f"experiment {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise ConfigError(what, str(reason), _others(path)) from None
    file: _ExperimentFile = validate(_ExperimentFile, strict_yaml.parse(text, what), what)
    check_name("experiment", file.name)
    base: TrainConfig = validate(TrainConfig, file.base, f"{what}: base")
    space = Space.parse(file.space, base)
    space.check_base(base)
    return Experiment(
        name=file.name, description=file.description, data=file.data, base=base, space=space, study=file.study
    )


def _others(path: Path) -> str:
    found = sorted(p for p in Path("experiments").glob("*.yaml") if p != path)
    return f"there is {', '.join(map(str, found))}" if found else "give the path of an experiment's YAML file"
