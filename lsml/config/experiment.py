"""Experiment files: the data, the base configuration, the search space and the budget of one study."""

import difflib
import re
from collections.abc import Collection, Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lsml.config.fields import Scalar, Section, UnknownKey
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Dimension, Space
from lsml.config.study import DataEntry, HyperbandTunerSettings, StudySettings
from lsml.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_ALIKE = 0.75
"""Of two names, `.yaml` among it, how much is the same: what another file shares in its suffix is less."""

EPOCHS = "training.epochs"
"""The field that KerasTuner's Hyperband chooses itself."""


class Experiment(Section):
    """One experiment as its file has it, validated: nothing in it can fail for its form once a study runs."""

    name: str = Field(description="name of the experiment and of its registered model")
    description: str = ""
    data: DataEntry
    base: TrainConfig = TrainConfig()
    space: Space
    study: StudySettings = StudySettings()

    @classmethod
    def unknown_keys(cls, tree: object) -> Iterator[UnknownKey]:
        """Those of all its sections, and of the search space."""
        yield from super().unknown_keys(tree)
        if isinstance(tree, dict):
            yield from (unknown.below("space") for unknown in Space.unknown_keys(tree.get("space")))

    @field_validator("name")
    @classmethod
    def _stores_can_have_it(cls, name: str) -> str:
        return check_name("experiment", name)

    @field_validator("space", mode="before")
    @classmethod
    def _around_the_base(cls, tree: object, info: ValidationInfo) -> Space:
        base = info.data.get("base")
        if isinstance(tree, Space) or base is None:  # without a base the first mistake was in it
            return tree if isinstance(tree, Space) else Space({})
        space = Space.parse(tree, base)
        space.check_base(base)
        return space

    @model_validator(mode="after")
    def _parts_that_go_together(self) -> Self:
        folds = self.data.folds
        if self.study.confirm and folds is None:
            raise ConfigError("study.confirm", "confirms in folds, and there are none", "give data.folds too")
        if self.study.final != "folds" and folds is None:
            raise ConfigError("study.final", "says what is made of folds, and there are none", "give data.folds too")
        if self.study.max_cost is not None and folds is not None and self.study.final == "folds":
            why = "limits what is registered, and the mean of all folds' networks costs as much as all of these"
            raise ConfigError("study.max_cost", why, "set study.final: refit")
        if self.study.keep_probabilities and folds is not None:
            why = "data.folds leaves no model of each trial that an ensemble could be made of"
            raise ConfigError("study.keep_probabilities", why, "leave out one of them")
        return self

    def with_settings(self, **changes: Any) -> "Experiment":
        """A copy with study settings replaced where the change is not None.

        Raises:
            ConfigError: a value that the setting refuses.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        return Experiment.validated(parts | {"study": self.study.model_dump() | given}, f"experiment {self.name}")

    def with_fields(self, values: dict[str, Scalar]) -> "Experiment":
        """A copy whose base has these field values; a searched field among them is no longer searched.

        Raises:
            ConfigError: an unknown field, a value that it refuses, or a space that no longer fits.
        """
        base = with_values(self.base, values)
        space = self.space.pinned(set(values), base)
        space.check_base(base)
        return self.model_copy(update={"base": base, "space": space})

    def for_data(self, without_effect: Collection[str]) -> "Experiment":
        """A copy that does not search fields that change nothing with these data; they keep the base's value.

        Raises:
            ConfigError: nothing is left to search.
        """
        idle = self.space.dimensions.keys() & set(without_effect)
        space = self.space.pinned(idle, self.base)
        if not space.dimensions:
            why = f"searches {', '.join(sorted(idle))} alone, which change nothing with the bands of these data"
            raise ConfigError(f"experiment {self.name}", why, "add a field that does")
        return self.model_copy(update={"space": space})

    def for_engine(self) -> "Experiment":
        """The experiment as its engine searches it: under KerasTuner's Hyperband, `training.epochs` is searched too.

        Raises:
            ConfigError: the engine cannot search the space in this environment.
        """
        tuner = self.study.tuner
        if self.study.engine == "optuna":
            self.study.sampler.check(has_free_range=self.space.has_free_range)
            return self
        if not isinstance(tuner, HyperbandTunerSettings):
            return self
        if EPOCHS in self.space.dimensions:
            raise ConfigError(
                "study.tuner: hyperband",
                f"chooses {EPOCHS} itself, which the space searches too",
                "remove it from the space",
            )
        base = self.base.training.epochs
        longest = tuner.max_epochs or base
        epochs = Dimension(low=1, high=max(longest, base))
        study = self.study.model_copy(update={"tuner": tuner.model_copy(update={"max_epochs": longest})})
        return self.model_copy(update={"space": Space({**self.space.dimensions, EPOCHS: epochs}), "study": study})


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
            "must be 1 to 200 letters, digits, '.', '_' or '-', starting with a letter or digit",
            "choose another name",
        )
    return name


def _shipped() -> dict[str, Path]:
    """The files of the experiments that come with lsml, by name: of the source tree, or of the installed wheel."""
    found = list((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
    if not found:
        installed = files("lsml") or ()
        found = [Path(str(file.locate())) for file in installed if file.parts[-3:-1] == ("lsml", "experiments")]
    return {path.stem: path for path in sorted(found)}


def load_experiment(path: str | Path) -> Experiment:
    """The experiment that the YAML file at `path` describes; `demo` and the like are those that come with lsml.

    Raises:
        ConfigError: no such file, no YAML, unknown keys, or values that a field refuses.

    Examples:
        >>> experiment = lsml.load_experiment("experiments/demo.yaml").with_settings(trials=4)
    """
    path = Path(path)
    if not path.is_file():
        path = _shipped().get(str(path), path)
    what = f"experiment {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(what, "not text in UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(what, str(error.strerror), _others(path)) from None
    if not text.strip():
        raise ConfigError(what, "is empty", "lsml init DIR writes one for your patches")
    return Experiment.from_yaml(text, what)


def _others(path: Path) -> str:
    """What to say where the file cannot be opened: one that is called alike, and those that come with lsml."""
    folders = {path if path.is_dir() else path.parent, Path("experiments")}
    own = sorted(str(file) for folder in folders for file in folder.glob("*.y*ml") if file != path)
    names = [*own, *(name for name in _shipped() if name not in own)]
    close = own[:1] if path.is_dir() else difflib.get_close_matches(str(path), names, 1, _ALIKE)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}give a YAML file, or one that comes with lsml by its name: {', '.join(_shipped())}"
