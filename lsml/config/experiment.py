"""Experiment files: the data, the base configuration, the search space and the budget of one study."""

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from lsml.config.fields import Scalar, Section, parse_yaml, validate
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Dimension, Space
from lsml.config.study import (
    _PACKAGES,
    CmaEsSettings,
    DataEntry,
    HyperbandTunerSettings,
    SamplerSettings,
    StudySettings,
)
from lsml.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

EPOCHS = "training.epochs"
"""The field that KerasTuner's Hyperband chooses itself."""


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

    @model_validator(mode="after")
    def _probabilities_of_one_model(self) -> Self:
        _check_kept(self.study, self.data)
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
        _check_kept(study, self.data)
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

    def for_engine(self) -> "Experiment":
        """The experiment as its engine searches it: under KerasTuner's Hyperband, `training.epochs` is searched too.

        Raises:
            ConfigError: the engine cannot search the space in this environment.
        """
        tuner = self.study.tuner
        if self.study.engine == "optuna":
            check_sampler(self.study.sampler, self.space)
            return self
        if not isinstance(tuner, HyperbandTunerSettings):
            return self
        if EPOCHS in self.space.dimensions:
            raise ConfigError(
                "study.tuner: hyperband",
                f"chooses {EPOCHS} itself, which the space searches too",
                "take it out of the space",
            )
        base = self.base.training.epochs
        longest = tuner.max_epochs or base
        epochs = Dimension(low=1, high=max(longest, base))
        study = self.study.model_copy(update={"tuner": tuner.model_copy(update={"max_epochs": longest})})
        return self.model_copy(update={"space": Space({**self.space.dimensions, EPOCHS: epochs}), "study": study})


def _check_kept(study: StudySettings, data: DataEntry) -> None:
    if study.keep_probabilities and data.folds is not None:
        raise ConfigError(
            "study.keep_probabilities",
            "data.folds leaves no model of each trial that an ensemble could be made of",
            "leave out one of them",
        )


def check_sampler(sampler: SamplerSettings, space: Space) -> None:
    """Whether `sampler` can search `space` in this environment.

    Raises:
        ConfigError: the package that the sampler needs is not installed, or there is nothing that it can choose.
    """
    what = f"study.sampler: {sampler.name}"
    ranged = [d for d in space.dimensions.values() if d.choices is None and d.low != d.high and not d.when]
    if isinstance(sampler, CmaEsSettings) and not ranged:
        raise ConfigError(
            what, "adapts numbers from low to high, of which the space has none without a condition", "choose tpe"
        )
    package = _PACKAGES.get(sampler.name)
    if package and importlib.util.find_spec(package) is None:
        raise ConfigError(
            what, f"needs the package {package}, which is not installed", f"pip install 'lsml[{sampler.name}]'"
        )


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
    file: _ExperimentFile = validate(_ExperimentFile, parse_yaml(text, what), what)
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
