"""Search spaces: what they accept, conditions, pinned fields."""

from typing import Any

import pytest

from lsml.config.fields import Scalar, flatten
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Space
from lsml.errors import ConfigError


class _Lowest:
    """Suggests the first choice or the lowest number."""

    def choice(self, name: str, choices: tuple[Scalar, ...]) -> Scalar:
        return choices[0]

    def integer(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return low

    def real(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return low


CONDITIONAL = {
    "model.normalization": {"choices": ["none", "batch"]},
    "model.dropout": {"low": 0.1, "high": 0.3, "when": {"model.normalization": "none"}},
    "augment.strength": {"low": 0.2, "high": 0.8, "when": {"model.normalization": ["batch"]}},
}


def test_a_suggested_value_lands_in_its_field() -> None:
    """`configure` asks for every dimension and leaves the other fields at the base's values."""
    space = Space.parse(
        {"model.depth": {"low": 2, "high": 4}, "training.batch_size": {"choices": [8, 4]}}, TrainConfig()
    )
    config = space.configure(TrainConfig(), _Lowest())
    assert flatten(config) == flatten(TrainConfig()) | {"model.depth": 2, "training.batch_size": 8}


def test_a_condition_that_does_not_hold_leaves_the_base_value() -> None:
    """With normalisation `none` dropout is searched (its lowest is .1) and strength keeps the base's .5."""
    config = Space.parse(CONDITIONAL, TrainConfig()).configure(TrainConfig(), _Lowest())
    assert (config.model.normalization, config.model.dropout, config.augment.strength) == ("none", 0.1, 0.5)


def test_the_base_values_are_those_of_active_dimensions() -> None:
    """The default normalisation is `batch`, so strength is active and dropout is not."""
    space = Space.parse(CONDITIONAL, TrainConfig())
    assert space.base_values(TrainConfig()) == {"model.normalization": "batch", "augment.strength": 0.5}


@pytest.mark.parametrize(("value", "left"), [("none", ["model.dropout"]), ("batch", ["augment.strength"])])
def test_pinning_a_parent_settles_its_children(value: str, left: list[str]) -> None:
    """A pinned field leaves the space; children whose condition it meets stay, now unconditional."""
    base = with_values(TrainConfig(), {"model.normalization": value, "model.dropout": 0.2})
    pinned = Space.parse(CONDITIONAL, TrainConfig()).pinned({"model.normalization"}, base)
    assert list(pinned.dimensions) == left
    assert not any(dimension.when for dimension in pinned.dimensions.values())


def test_grandchildren_of_a_dropped_dimension_are_dropped_too() -> None:
    """Scaling waits for normalisation, schedule for scaling: pinning normalisation to `none` drops both."""
    tree = {
        "model.normalization": {"choices": ["none", "batch"]},
        "input.scaling": {"choices": ["minmax", "standard"], "when": {"model.normalization": "batch"}},
        "training.schedule": {"choices": ["constant", "cosine"], "when": {"input.scaling": "minmax"}},
    }
    base = with_values(TrainConfig(), {"model.normalization": "none"})
    assert list(Space.parse(tree, TrainConfig()).pinned({"model.normalization"}, base).dimensions) == []


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, "name at least one field"),
        ([1], "not a mapping"),
        ({"model.dpth": {"low": 1, "high": 2}}, "unknown key 'model.dpth'; did you mean 'model.depth'?"),
        ({"model.depth": {"low": 9, "high": 1}, "model.dpth": {"low": 1}}, "unknown key 'model.dpth'"),
        ({"seed": {"low": 1, "high": 2}}, "cannot be searched; set study.seed instead"),
        ({"model.depth": {"low": 1}}, "low and high: must both be given"),
        ({"model.depth": {"low": 3, "high": 2}}, "the lower one first"),
        ({"model.depth": {"low": 1, "high": 9}}, "space: model.depth: must be at most 5, not 9"),
        ({"model.depth": {"low": 1.5, "high": 3}}, "takes whole numbers"),
        ({"model.depth": {"choices": []}}, "at least one value"),
        ({"model.depth": {"choices": [2, 2]}}, "none of them twice"),
        ({"model.depth": {"choices": [2], "low": 1}}, "needs either these, or low and high"),
        ({"model.depth": {"choices": [2], "log": True}}, "step and log: belong to low and high"),
        ({"model.depth": {"choises": [2]}}, "unknown key 'model.depth.choises'; did you mean 'choices'?"),
        ({"model.normalization": {"low": 0, "high": 1}}, "takes one of batch | group | none, not a range"),
        ({"model.dropout": {"low": 0, "high": 0.5, "log": True}}, "log: needs low above 0"),
        ({"model.dropout": {"low": 0, "high": 0.5, "step": 0}}, "step: must be above 0"),
        ({"model.dropout": {"low": 0, "high": 0.5, "when": {"model.depth": 3}}}, "not declared earlier"),
        (
            {
                "model.depth": {"low": 1, "high": 3},
                "model.dropout": {"low": 0, "high": 0.5, "when": {"model.depth": 3}},
            },
            "which has no choices",
        ),
        (
            {
                "model.depth": {"choices": [1, 2]},
                "model.dropout": {"low": 0, "high": 0.5, "when": {"model.depth": 3}},
            },
            "waits for model.depth = 3, which is not among its choices",
        ),
    ],
)
def test_a_wrong_space_is_refused_before_anything_runs(tree: Any, says: str) -> None:
    """Each broken space gives one line that names the field and what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        Space.parse(tree, TrainConfig())
    assert says in str(caught.value)


@pytest.mark.parametrize("dimension", [{"choices": [2, 3]}, {"low": 1, "high": 3}, {"low": 1, "high": 5, "step": 2}])
def test_a_space_that_does_not_hold_the_base_is_refused(dimension: dict[str, Any]) -> None:
    """The default depth 4 is none of the choices, above the range, or between the steps 1, 3, 5."""
    with pytest.raises(ConfigError, match="does not contain the base value 4"):
        Space.parse({"model.depth": dimension}, TrainConfig()).check_base(TrainConfig())


def test_combinations_are_those_that_a_search_can_come_to() -> None:
    """The base first, and once; an encoder other than the base's only with the architecture that it depends on."""
    base = with_values(TrainConfig(), {"model.encoder": "resnet34"})
    tree = {
        "model.depth": {"low": 2, "high": 4},
        "model.architecture": {"choices": ["unet", "resnet_unet"]},
        "model.encoder": {"choices": ["resnet18", "resnet34"], "when": {"model.architecture": "resnet_unet"}},
        "loss.dice": {"choices": [0.0, 1.0]},
    }
    space = Space.parse(tree, base)
    found = space.combinations(base, ["model.encoder", "model.weights"])
    assert [(c.model.architecture, c.model.encoder) for c in found] == [
        ("unet", "resnet34"),
        ("resnet_unet", "resnet18"),
        ("resnet_unet", "resnet34"),
    ]
    assert found[0] == base
    assert {(c.model.depth, c.loss.dice) for c in found} == {(4, 0.0)}
    assert [c.model.depth for c in space.combinations(base, ["model.depth"])] == [4, 2]


def test_combinations_that_no_configuration_may_have_are_left_out() -> None:
    """Of four, the one in which every component of the loss has weight 0."""
    base = with_values(TrainConfig(), {"loss.cross_entropy": 1.0, "loss.jaccard": 1.0})
    tree = {f"loss.{name}": {"choices": [0.0, 1.0]} for name in ("cross_entropy", "jaccard")}
    found = Space.parse(tree, base).combinations(base, list(tree))
    assert [(c.loss.cross_entropy, c.loss.jaccard) for c in found] == [(1, 1), (0, 1), (1, 0)]
