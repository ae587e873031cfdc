"""A search space as KerasTuner's hyperparameters, and their values as lsml means them.

Three things that KerasTuner has under the same name it means otherwise: a `Choice` of booleans gives 1 and 0, one of
mixed types is refused, and the `step` of a logarithmic range is a factor. Its `Float` loses the last step of many
ranges to rounding, and its logarithmic `Int` can give one more than its highest value.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras_tuner

from lsml.config import Scalar, fields
from lsml.space import Dimension, Space, allowed

_NATIVE = ({int}, {float}, {str})
"""The types that a `Choice` keeps, where all of its values have one of them."""


class HyperSuggester:
    """`lsml.space.Suggester` on KerasTuner's hyperparameters, in which it declares the whole space."""

    def __init__(self, hp: keras_tuner.HyperParameters, space: Space) -> None:
        hp.merge(declared(space), overwrite=False)
        self._hp, self._space, self._kinds = hp, space, _kinds()

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return self._value(name)

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return int(self._value(name))

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return float(self._value(name))

    def _value(self, name: str) -> Scalar:
        return _decoded(self._space.dimensions[name], self._kinds[name], self._hp.get(name))


def declared(space: Space) -> keras_tuner.HyperParameters:
    """All of a space as KerasTuner has it, each field with all of its conditions.

    `conditional_scope` can say neither that a field has two parents nor that its parent has one too, so the conditions
    are given in the form in which KerasTuner stores them.
    """
    kinds = _kinds()
    entries = [
        _entry(name, dimension, kinds[name], list(_conditions(space, dimension, kinds)))
        for name, dimension in space.dimensions.items()
    ]
    hp = keras_tuner.HyperParameters()
    # Merged and not only read, which gives the fields that are active their defaults.
    hp.merge(keras_tuner.HyperParameters.from_config({"space": entries, "values": {}}))
    return hp


def encoded(space: Space, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values of fields of the space as KerasTuner has them."""
    kinds = _kinds()
    return {name: _encoded(space.dimensions[name], kinds[name], value) for name, value in values.items()}


def decoded(space: Space, values: Mapping[str, Any]) -> dict[str, Scalar]:
    """What KerasTuner's values of the space's fields mean; it has no others than those of active fields."""
    kinds = _kinds()
    return {
        name: _decoded(dimension, kinds[name], values[name])
        for name, dimension in space.dimensions.items()
        if name in values
    }


class _Options(NamedTuple):
    """Values to choose from, and what KerasTuner calls them."""

    values: tuple[Scalar, ...]
    labels: tuple[Scalar, ...]


def _options(dimension: Dimension, kind: str) -> _Options | None:
    """None where the dimension is a range."""
    if dimension.choices is not None:
        values = dimension.choices
        native = _is_switch(dimension) or set(map(type, values)) in _NATIVE
        return _Options(values, values if native else tuple(map(repr, values)))
    if kind == "int" or dimension.step is None:
        return None
    low, high = _bounds(dimension)
    steps = math.floor((high - low) / dimension.step + 1e-9)
    grid = tuple(min(low + number * dimension.step, high) for number in range(steps + 1))
    return _Options(grid, grid)


def _is_switch(dimension: Dimension) -> bool:
    return dimension.choices is not None and list(map(repr, sorted(dimension.choices, key=repr))) == ["False", "True"]


def _entry(name: str, dimension: Dimension, kind: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """A field in the form in which KerasTuner stores it."""
    common = {"name": name, "conditions": conditions}
    options = _options(dimension, kind)
    if _is_switch(dimension):
        return {"class_name": "Boolean", "config": common}
    if options is not None:
        return {"class_name": "Choice", "config": {**common, "values": list(options.labels)}}
    low, high = _bounds(dimension)
    step = int(dimension.step or 1) if kind == "int" and not dimension.log else None
    bounds = {"min_value": low, "max_value": high, "step": step, "sampling": "log" if dimension.log else "linear"}
    return {"class_name": "Int" if kind == "int" else "Float", "config": {**common, **bounds}}


def _conditions(space: Space, dimension: Dimension, kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The conditions of a field; those of its parents need no mention, because without these it has no parent."""
    for parent, condition in dimension.when.items():
        labels = [_encoded(space.dimensions[parent], kinds[parent], value) for value in allowed(condition)]
        yield {"class_name": "Parent", "config": {"name": parent, "values": labels}}


def _encoded(dimension: Dimension, kind: str, value: Scalar) -> Scalar:
    options = _options(dimension, kind)
    if options is None:
        return value
    if dimension.choices is not None:
        return options.labels[options.values.index(value)]
    return min(options.labels, key=lambda label: abs(label - value))  # type: ignore[operator]


def _decoded(dimension: Dimension, kind: str, value: Any) -> Scalar:
    options = _options(dimension, kind)
    if options is not None:
        return options.values[options.labels.index(value)]
    low, high = _bounds(dimension)
    inside = min(max(value, low), high)
    return int(inside) if kind == "int" else float(inside)


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low, dimension.high


def _kinds() -> dict[str, str]:
    return {spec.name: spec.kind for spec in fields()}
