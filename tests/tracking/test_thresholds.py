"""Which threshold a run has by its metrics, in this version and in those before, where one had another meaning."""

from types import SimpleNamespace

import pytest

from lsml.names import Tag
from lsml.tracking.reading import RunReader, raw_threshold
from lsml.workflows.retrain import _before_scaling

# Half the logit of .9 is that of .75.
TRIAL = {"best_val_threshold": 0.75, "best_val_raw_threshold": 0.9, "best_val_temperature": 2.0}
OLD_TRIAL = {"best_val_threshold": 0.9, "best_val_temperature": 2.0}
BASELINE = {"best_val_threshold": 0.3}
IN_FOLDS = {Tag.DATA_FOLDS: "3"}


@pytest.mark.parametrize(
    ("metrics", "tags", "expected"),
    [
        (TRIAL, {}, 0.75),
        (OLD_TRIAL, {}, 0.75),
        (BASELINE, {}, 0.3),
        # Networks in folds have no temperature: their tables are counted at the threshold of before it.
        (OLD_TRIAL, IN_FOLDS, 0.9),
        (TRIAL, IN_FOLDS, 0.9),
        ({}, {}, None),
    ],
    ids=["trial", "old trial", "baseline", "folds", "model beside folds", "none"],
)
def test_tables_are_counted_at_the_threshold_of_what_predicted(
    metrics: dict[str, float], tags: dict[str, str], expected: float | None
) -> None:
    """That of the exported model, which a trial of before did not store but its temperature gives."""
    run = SimpleNamespace(info=SimpleNamespace(run_id="0"), data=SimpleNamespace(metrics=metrics, tags=tags))
    assert RunReader(None, run).table_threshold == (expected if expected is None else pytest.approx(expected))


def test_the_threshold_before_scaling_is_the_same_of_old_and_new_runs() -> None:
    """So a final model is trained from either, and a run of before is reproduced to the digit."""
    assert raw_threshold(TRIAL) == raw_threshold(OLD_TRIAL) == 0.9
    assert raw_threshold(BASELINE) == 0.3
    assert _before_scaling(TRIAL) == _before_scaling(OLD_TRIAL)
    assert _before_scaling({"best_val_f1": 0.5}) == {"best_val_f1": 0.5}
