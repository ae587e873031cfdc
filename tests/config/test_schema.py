"""Configuration: fields, assignments and their errors."""

import pytest

from lsml.config.fields import flatten
from lsml.config.schema import TrainConfig, fields, parse_assignments, with_values
from lsml.errors import ConfigError


def test_every_field_is_declared_in_full() -> None:
    """Each hyperparameter has a description, and bounds or choices that its default keeps to; a text has neither."""
    for spec in fields():
        assert spec.description, spec.name
        if spec.choices:
            assert spec.default in spec.choices, spec.name
        elif spec.kind not in ("bool", "text"):
            assert spec.low is not None, spec.name
            assert spec.high is not None, spec.name
            assert spec.low <= spec.default <= spec.high, spec.name


def test_flat_names_are_the_names_of_the_fields() -> None:
    """`flatten` gives one entry a field, in the order of declaration."""
    assert list(flatten(TrainConfig())) == [spec.name for spec in fields()]


def test_an_assignment_changes_one_field_and_leaves_the_original() -> None:
    """`--set` reads values as YAML does, with `1e-4` a number; the frozen original stays."""
    base = TrainConfig()
    changed = with_values(base, parse_assignments(["model.depth=3", "training.learning_rate=1e-4"]))
    assert (changed.model.depth, changed.training.learning_rate) == (3, 0.0001)
    assert base.model.depth == 4


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("model.dpth=3", "field 'model.dpth': no such field; did you mean 'model.depth'?"),
        ("model.depth=99", "model.depth: input should be less than or equal to 5, not 99"),
        ("model.depth=deep", "model.depth: input should be a valid integer"),
        ("loss.jaccard=nan", "loss.jaccard: input should be a finite number"),
        ("loss.jaccard=.nan", "loss.jaccard: input should be a finite number"),
        ("model.depth", "--set model.depth: not of the form FIELD=VALUE"),
        ("model.depth=[1, 2]", "the value is not a single number or word"),
        ("model=3", "field 'model': no such field"),
    ],
)
def test_a_wrong_assignment_is_one_line_that_says_what_and_how(assignment: str, says: str) -> None:
    """Unknown fields, refused values and broken forms are configuration errors with exit code 2."""
    with pytest.raises(ConfigError) as caught:
        with_values(TrainConfig(), parse_assignments([assignment]))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
