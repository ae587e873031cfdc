"""What a trial says of the patches that it scored, with classifiers of pixels for a network."""

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import label

from lsml.config.schema import TrainConfig
from lsml.data.splits import FoldedData, TrainingData
from lsml.names import Artifact
from lsml.scoring.metrics import PooledCounts
from lsml.study.trial import _pixel_baseline_trial
from lsml.training.baselines import Kind, PixelLearner
from lsml.training.crossval import CrossValidation, cross_validate
from lsml.training.outcome import StepEvent, TrialOutcome, TrialTask
from tests.patches import make_patches

Stop = Callable[[int], bool]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldedData:
    """Four patches, with and without landslides, scored twice in two folds."""
    root = tmp_path_factory.mktemp("patches") / "data"
    make_patches(root, train=4, validation=1, test=1, seed=4)
    return FoldedData.prepare(root, root.parent / "cache", folds=2, repeats=2)


def _scored(data: FoldedData, go_on: Stop) -> tuple[TrialOutcome, CrossValidation]:
    """A trial's outcome, and the cross-validation in it once more."""

    def report(event: StepEvent) -> bool:
        return go_on(event.step)

    outcome = _pixel_baseline_trial(TrialTask(TrainConfig(), data, checkpoint=None), report)
    again = cross_validate(PixelLearner(), data.train, seed=0, folds=2, repeats=2, report=report)
    return outcome, again


@pytest.mark.parametrize(
    ("go_on", "scorings"), [(lambda step: True, 8), (lambda step: False, 2)], ids=["whole", "pruned"]
)
def test_objects_are_counted_where_patches_were_scored(data: FoldedData, go_on: Stop, scorings: int) -> None:
    """Hit rate and precision at the trial's threshold, over every patch of every repeat that came to be scored."""
    outcome, again = _scored(data, go_on)
    assert outcome.threshold == again.threshold
    landslides = hits = objects = right = scored = 0
    for repeat in range(2):
        for index in range(4):
            probability = again.probability(repeat, index)
            if probability is None:
                continue
            scored += 1
            truth, called = data.train.mask(index) == 1, probability >= outcome.threshold
            (areas, n_areas), (alarms, n_alarms) = label(truth, np.ones((3, 3))), label(called, np.ones((3, 3)))
            landslides, objects = landslides + n_areas, objects + n_alarms
            hits += sum(called[areas == area].mean() >= 0.5 for area in range(1, n_areas + 1))
            right += sum(truth[alarms == alarm].any() for alarm in range(1, n_alarms + 1))
    assert scored == scorings
    assert hits > 0
    assert right > 0
    assert outcome.metrics["val_object_hit_rate"] == pytest.approx(hits / landslides)
    assert outcome.metrics["val_object_precision"] == pytest.approx(right / objects)
    assert 0 < outcome.metrics["val_calibration_error"] < 1


def test_the_table_of_patches_adds_up_to_the_scores(data: FoldedData) -> None:
    """One row a patch, its two repeats summed: F1 of the columns' sums is the trial's."""
    outcome, _ = _scored(data, lambda step: True)
    rows = list(csv.DictReader(io.StringIO(outcome.tables[Artifact.VALIDATION_PATCHES])))
    assert [row["id"] for row in rows] == list(data.train.ids)
    hits, misses, alarms = (sum(int(row[name]) for row in rows) for name in ("hits", "misses", "false_alarms"))
    assert 2 * hits / (2 * hits + misses + alarms) == pytest.approx(outcome.value, abs=1e-12)
    # Every landslide pixel was scored twice.
    assert hits + misses == 2 * sum(int(data.train.mask(index).sum()) for index in range(4))
    by_probability = PooledCounts.read(outcome.tables[Artifact.VALIDATION_PIXELS]).at(outcome.threshold)
    assert (by_probability.true_positive, by_probability.false_positive) == (hits, alarms)
    first = rows[0]
    pixels = 2 * int(first["hits"]) + int(first["misses"]) + int(first["false_alarms"])
    assert float(first["f1"]) == pytest.approx(2 * int(first["hits"]) / pixels)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Six patches to train on, three to validate on."""
    root = tmp_path_factory.mktemp("split") / "data"
    make_patches(root, train=6, validation=3, test=1, seed=4)
    return TrainingData.prepare(root, root.parent / "cache")


@pytest.mark.parametrize("kind", ["regression", "boosting", "rule"])
def test_a_baseline_is_validated_as_a_network_is(split: TrainingData, kind: Kind) -> None:
    """Fitted to train alone; its metrics, at the threshold of the best F1 on validation, those of a network's run."""
    told = []
    outcome = _pixel_baseline_trial(
        TrialTask(TrainConfig(seed=3), split, checkpoint=None), lambda event: told.append(event) or True, kind=kind
    )
    fitted, counts = PixelLearner(kind).fit(split.train, 3), PooledCounts()
    for index in range(3):
        counts.update(split.validation.mask(index), fitted.predict(split.validation.image(index)[None])[0, ..., 0])
    assert outcome.threshold == counts.best_threshold()
    assert outcome.value == outcome.metrics["val_f1"] == counts.at(outcome.threshold).f1 > 0.1
    ratios = ("f1", "iou", "precision", "recall", "average_precision", "calibration_error", "threshold")
    objects = ("object_hit_rate", "object_precision")
    assert set(outcome.metrics) == {f"val_{name}" for name in (*ratios, *objects)}
    assert [(step, replayed) for step, _, replayed in told] == [(1, False)]
    rows = list(csv.DictReader(io.StringIO(outcome.tables[Artifact.VALIDATION_PATCHES])))
    assert [row["id"] for row in rows] == list(split.validation.ids)
    assert sum(int(row["hits"]) for row in rows) == counts.at(outcome.threshold).true_positive
    assert (outcome.steps, outcome.model, len(outcome.panels)) == (("fit", 1), None, 3)
