"""Search spaces: dotted field names of `TrainConfig` mapped to the values that a study may try.

A `Space` knows nothing of a search engine: `Space.configure` walks it and asks a `Suggester`, of which each engine
has a thin one, for a value per active dimension.
"""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from pydantic import model_validator

from lsml.config.fields import FieldSpec, Scalar, Section, UnknownKey, flatten, format_value
from lsml.config.schema import TrainConfig, with_values
from lsml.errors import ConfigError


class Dimension(Section):
    """The values of one field: `choices`, or `low` to `high` (inclusive) with an optional `step` or `log`.

    `when` names other fields of the space, declared earlier and with choices, and the value or values that
    each must have for this field to be searched at all.
    """

    choices: tuple[bool | int | float | str, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    when: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies defaults)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        ranged = self.low is not None or self.high is not None
        if (self.choices is not None) == ranged:
            raise ConfigError("choices", "needs either these, or low and high", "give one of the two")
        if self.choices is not None:
            if not self.choices or len(set(map(repr, self.choices))) < len(self.choices):
                raise ConfigError("choices", "must be at least one value, none of them twice", "correct the choices")
            if self.step is not None or self.log:
                raise ConfigError("step and log", "belong to low and high, not to choices", "leave them out")
            return self
        if self.low is None or self.high is None or self.low > self.high:
            raise ConfigError("low and high", "must both be given, the lower one first", "correct the range")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError("log", "needs low above 0 and no step", "correct the range")
        if self.step is not None and self.step <= 0:
            raise ConfigError("step", f"must be above 0, not {self.step}", "correct the value")
        return self

    def describe(self) -> str:
        """What the search may try: `unet, resnet_unet` or `0.001 to 0.01 (log)`, and under which condition."""
        if self.choices is not None:
            text = ", ".join(map(format_value, self.choices))
        else:
            kind = " (log)" if self.log else f" by {format_value(self.step)}" if self.step is not None else ""
            text = f"{format_value(self.low)} to {format_value(self.high)}{kind}"
        condition = " and ".join(f"{parent} = {value}" for parent, value in self.when.items())
        return f"{text}, if {condition}" if condition else text

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """The values that show whether the field accepts the whole dimension."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        return (self.low, self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether the search could suggest `value`."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        if isinstance(value, str) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9

    def allowed(self, parent: str) -> tuple[Any, ...]:
        """The values of `parent`, a field in `when`, under which this field is searched."""
        condition = self.when[parent]
        return tuple(condition) if isinstance(condition, list | tuple) else (condition,)


class Suggester(Protocol):
    """What a search engine offers: one value for one named field."""

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar: ...

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...


@dataclass(frozen=True)
class Space:
    """Dimensions in the order of their declaration; parents of conditions come before their children."""

    dimensions: Mapping[str, Dimension]

    @classmethod
    def parse(cls, tree: Any, base: TrainConfig) -> Self:
        """A space from YAML's mapping, each value of which `base` must accept.

        Raises:
            ConfigError: unknown fields or keys, values that a field refuses, conditions on a field that is not
                declared earlier or has no choices, or a base value that lies outside its dimension.
        """
        if not isinstance(tree, dict) or not tree:
            raise ConfigError("space", "not a mapping of field names to values", "name at least one field")
        for unknown in cls.unknown_keys(tree):
            raise unknown.as_error("space")
        known = {spec.name: spec for spec in TrainConfig.fields()}
        dimensions: dict[str, Dimension] = {}
        for name, entry in tree.items():
            what = f"space: {name}"
            if name == "seed":
                raise ConfigError(what, "cannot be searched", "set study.seed instead")
            dimension = Dimension.validated(entry, what)
            _check_values(what, known[name], dimension, base)
            _check_conditions(what, dimension, dimensions)
            dimensions[name] = dimension
        return cls(dimensions)

    @staticmethod
    def unknown_keys(tree: object) -> Iterator[UnknownKey]:
        """The names in YAML's mapping that are no field's, then the keys of dimensions that these do not have."""
        if not isinstance(tree, dict):
            return
        known = tuple(spec.name for spec in TrainConfig.fields())
        yield from (UnknownKey((str(name),), known) for name in tree if name not in known)
        for name, entry in tree.items():
            yield from (unknown.below(str(name)) for unknown in Dimension.unknown_keys(entry))

    def pinned(self, names: set[str], base: TrainConfig) -> Self:
        """The space without the fields in `names`, whose values in `base` now decide the conditions on them."""
        values = flatten(base)
        dimensions: dict[str, Dimension] = {}
        gone = set(names)
        for name, dimension in self.dimensions.items():
            settled = {parent for parent in dimension.when if parent in gone}
            holds = all(values[parent] in dimension.allowed(parent) for parent in settled)
            if name in gone or not holds:
                gone.add(name)
                continue
            when = {parent: condition for parent, condition in dimension.when.items() if parent not in settled}
            dimensions[name] = dimension.model_copy(update={"when": when})
        return type(self)(dimensions)

    def check_base(self, base: TrainConfig) -> None:
        """The base configuration is a study's first trial, so the space must contain it.

        Raises:
            ConfigError: a value of the base that its dimension cannot suggest.
        """
        values = flatten(base)
        for name, dimension in self.active(values):
            if not dimension.contains(values[name]):
                raise ConfigError(
                    f"space: {name}",
                    f"does not contain the base value {values[name]}, with which the study starts",
                    "widen the space, or set another base value",
                )

    def active(self, values: Mapping[str, Scalar]) -> Iterator[tuple[str, Dimension]]:
        """The dimensions whose conditions hold under `values`, parents before children."""
        searched: set[str] = set()
        for name, dimension in self.dimensions.items():
            if all(parent in searched and values[parent] in dimension.allowed(parent) for parent in dimension.when):
                searched.add(name)
                yield name, dimension

    @property
    def has_free_range(self) -> bool:
        """Whether a field has a range of more than one value, and no condition."""
        return any(d.choices is None and d.low != d.high and not d.when for d in self.dimensions.values())

    def configure(self, base: TrainConfig, suggester: Suggester) -> TrainConfig:
        """`base` with a suggested value for every active dimension of the self."""
        kinds = {spec.name: spec.kind for spec in TrainConfig.fields()}
        values = flatten(base)
        suggested: dict[str, Scalar] = {}
        for name, dimension in self.active(values):
            suggested[name] = values[name] = _suggest(suggester, name, dimension, kinds[name])
        return with_values(base, suggested)

    def base_values(self, base: TrainConfig) -> dict[str, Scalar]:
        """The values of `base` in the dimensions that are active under it: a study's first trial."""
        values = flatten(base)
        return {name: values[name] for name, _ in self.active(values)}

    def combinations(self, base: TrainConfig, names: Collection[str]) -> list[TrainConfig]:
        """`base`, and it with every other combination of values that a search can give the fields in `names`.

        Fields on which those depend have the values that go with them. Of a range its two ends count. What no
        configuration may have together is left out.
        """
        wanted = set(names)
        for name, dimension in reversed(list(self.dimensions.items())):
            if name in wanted:
                wanted |= dimension.when.keys()
        choices = {name: self.dimensions[name].extremes for name in self.dimensions if name in wanted}
        found = [base]
        for drawn in itertools.product(*choices.values()):
            given, values = dict(zip(choices, drawn, strict=True)), flatten(base)
            for name, _ in self.active(values):
                values[name] = given.get(name, values[name])
            with contextlib.suppress(ConfigError):
                config = with_values(base, {name: values[name] for name in choices})
                found += [config] if config not in found else []
        return found

    def describe(self) -> dict[str, Any]:
        """The space as plain data, for records and comparison."""
        return {
            name: dimension.model_dump(exclude_defaults=True, mode="json")
            for name, dimension in self.dimensions.items()
        }


def _check_values(what: str, spec: FieldSpec, dimension: Dimension, base: TrainConfig) -> None:
    if dimension.choices is None and spec.kind not in ("int", "float"):
        raise ConfigError(what, f"takes one of {spec.bounds}, not a range", "give choices")
    whole = (dimension.low, dimension.high, dimension.step)
    if spec.kind == "int" and any(isinstance(v, float) and not v.is_integer() for v in whole):
        raise ConfigError(what, "takes whole numbers", "give whole numbers for low, high and step")
    for value in dimension.extremes:
        with_values(base, {spec.name: value}, what="space")


def _check_conditions(what: str, dimension: Dimension, earlier: Mapping[str, Dimension]) -> None:
    for parent in dimension.when:
        if parent not in earlier:
            raise ConfigError(what, f"depends on '{parent}', which is not declared earlier", "declare that field first")
        choices = earlier[parent].choices
        if choices is None:
            raise ConfigError(what, f"depends on '{parent}', which has no choices", "give the parent choices")
        unknown = [value for value in dimension.allowed(parent) if value not in choices]
        if unknown:
            raise ConfigError(
                what,
                f"waits for {parent} = {unknown[0]}, which is not among its choices",
                "correct the condition",
            )


def _suggest(suggester: Suggester, name: str, dimension: Dimension, kind: str) -> Scalar:
    if dimension.choices is not None:
        return suggester.choice(name, dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if kind == "int":
        step = int(dimension.step or 1)
        return suggester.integer(name, int(dimension.low), int(dimension.high), step=step, log=dimension.log)
    low, high = float(dimension.low), float(dimension.high)
    return suggester.real(name, low, high, step=dimension.step, log=dimension.log)
