"""Configuration: fields, assignments and their errors."""

import pytest

from lsml.config.fields import RENAMED, flatten, parse_assignments
from lsml.config.schema import TrainConfig, with_values
from lsml.config.study import StudySettings
from lsml.errors import ConfigError


def test_every_field_is_declared_in_full() -> None:
    """Each hyperparameter has a description, and bounds or choices that its default keeps to; a text has neither."""
    for spec in TrainConfig.fields():
        assert spec.description, spec.name
        if spec.choices:
            assert spec.default in spec.choices, spec.name
        elif spec.kind not in ("bool", "text"):
            assert spec.low is not None, spec.name
            assert spec.high is not None, spec.name
            assert spec.low <= spec.default <= spec.high, spec.name


def test_flat_names_are_the_names_of_the_fields() -> None:
    """`flatten` gives one entry a field, in the order of declaration."""
    assert list(flatten(TrainConfig())) == [spec.name for spec in TrainConfig.fields()]


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
        ("model.dropout_rise=0.1", "no such field; it was renamed to 'model.dropout_increment'"),
        ("model.depth=99", "model.depth: must be at most 5, not 99"),
        ("model.depth=deep", "model.depth: must be a whole number, not 'deep'"),
        ("loss.jaccard=nan", "loss.jaccard: must be a finite number"),
        ("loss.jaccard=.nan", "loss.jaccard: must be a finite number"),
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


def test_what_was_renamed_is_no_name_of_a_field_any_more() -> None:
    """Each old name is gone, and each new one is a field, below `study` a setting."""
    names = set(flatten(TrainConfig())) | {f"study.{name}" for name in StudySettings.model_fields}
    assert not names & set(RENAMED)
    assert names >= set(RENAMED.values())


def test_the_parameters_of_an_earlier_lsmls_run_are_refused_in_one_line() -> None:
    """They say nothing of the field's new name, and its default might not be what was trained."""
    with pytest.raises(ConfigError, match=r"in which 'loss\.ohem_fraction' was called 'loss\.hardest_share'; train it"):
        TrainConfig.from_parameters({"model.depth": "3", "loss.hardest_share": "0.5"})
