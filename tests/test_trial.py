"""What a trial says of the objects that it found, with the regression on pixels for a network."""

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import label

from lsml.baseline import PixelRegression
from lsml.config import TrainConfig
from lsml.crossval import CrossValidation, cross_validate
from lsml.data.folds import FoldedData, prepare_folds
from lsml.data.synthetic import synthesize
from lsml.trial import PATCH_TABLE, TrialOutcome, TrialTask, pixel_baseline_trial

Stop = Callable[[int], bool]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldedData:
    """Four patches, with and without landslides, judged twice in two folds."""
    root = tmp_path_factory.mktemp("patches") / "data"
    synthesize(root, train=4, validation=1, test=1, seed=4)
    return prepare_folds(root, root.parent / "cache", folds=2, repeats=2)


def _judged(data: FoldedData, go_on: Stop) -> tuple[TrialOutcome, CrossValidation]:
    """A trial's outcome, and the cross-validation in it once more."""

    class _Observer:
        def fold_ended(self, event: object) -> bool:
            return go_on(event.step)  # type: ignore[attr-defined]

    outcome = pixel_baseline_trial(
        TrialTask(TrainConfig(), data, checkpoint=None), lambda step, metrics, replayed: go_on(step)
    )
    again = cross_validate(PixelRegression(), data.train, seed=0, folds=2, repeats=2, observer=_Observer())
    return outcome, again


@pytest.mark.parametrize(
    ("go_on", "judgements"), [(lambda step: True, 8), (lambda step: False, 2)], ids=["whole", "pruned"]
)
def test_objects_are_counted_where_patches_were_judged(data: FoldedData, go_on: Stop, judgements: int) -> None:
    """Hit rate and precision at the trial's threshold, over every patch of every repeat that came to be judged."""
    outcome, again = _judged(data, go_on)
    assert outcome.threshold == again.threshold
    landslides = hits = objects = right = judged = 0
    for repeat in range(2):
        for index in range(4):
            probability = again.probability(repeat, index)
            if probability is None:
                continue
            judged += 1
            truth, called = data.train.mask(index) == 1, probability >= outcome.threshold
            (areas, n_areas), (alarms, n_alarms) = label(truth, np.ones((3, 3))), label(called, np.ones((3, 3)))
            landslides, objects = landslides + n_areas, objects + n_alarms
            hits += sum(called[areas == area].mean() >= 0.5 for area in range(1, n_areas + 1))
            right += sum(truth[alarms == alarm].any() for alarm in range(1, n_alarms + 1))
    assert judged == judgements
    assert hits > 0
    assert right > 0
    assert outcome.metrics["val_object_hit_rate"] == pytest.approx(hits / landslides)
    assert outcome.metrics["val_object_precision"] == pytest.approx(right / objects)
    assert 0 < outcome.metrics["val_calibration_error"] < 1


def test_the_table_of_patches_adds_up_to_the_scores(data: FoldedData) -> None:
    """One row a patch, its two repeats summed: F1 of the columns' sums is the trial's."""
    outcome, _ = _judged(data, lambda step: True)
    rows = list(csv.DictReader(io.StringIO(outcome.tables[PATCH_TABLE])))
    assert [row["id"] for row in rows] == list(data.train.ids)
    hits, misses, alarms = (sum(int(row[name]) for row in rows) for name in ("hits", "misses", "false_alarms"))
    assert 2 * hits / (2 * hits + misses + alarms) == pytest.approx(outcome.value, abs=1e-12)
    # Every landslide pixel was judged twice.
    assert hits + misses == 2 * sum(int(data.train.mask(index).sum()) for index in range(4))
    first = rows[0]
    pixels = 2 * int(first["hits"]) + int(first["misses"]) + int(first["false_alarms"])
    assert float(first["f1"]) == pytest.approx(2 * int(first["hits"]) / pixels)
