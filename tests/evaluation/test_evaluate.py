"""Scores of a whole split, with a network that reads its answer off the first band."""

from collections.abc import Sequence

import numpy as np
import pytest

from lsml.evaluation.evaluate import Evaluation, Patch, evaluate_predictions, predictions
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import METRICS
from lsml.scoring.objects import ObjectCounts
from tests.bands import N_BANDS, SENSOR


def _patch(number: int, landslides: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]]) -> Patch:
    """40 x 40 pixels; `landslides` are columns of the first row, and what is `found` there gets .8, all else .1."""
    mask, image = np.zeros((40, 40), "uint8"), np.full((40, 40, N_BANDS), 0.1, "float32")
    for start, stop in landslides:
        mask[0, start:stop] = 1
    for start, stop in found:
        image[0, start:stop] = 0.8
    return Patch(f"image_{number}", image, mask, SENSOR)


def _first_band(images: np.ndarray) -> np.ndarray:
    return images[..., :1]


def _evaluated(patches: Sequence[Patch]) -> Evaluation:
    return evaluate_predictions(predictions(_first_band, patches), 0.75)


def test_objects_and_calibration_stand_beside_the_pixels() -> None:
    """A patch and one without landslide: what is counted at the threshold, over all of them."""
    patches = [
        # A landslide of 20 pixels, 10 of them found; one of 4, 1 of them found; and a false alarm.
        _patch(1, landslides=[(0, 20), (30, 34)], found=[(0, 10), (33, 34), (38, 40)]),
        _patch(2, landslides=[], found=[(0, 1), (39, 40)]),
    ]
    found = _evaluated(patches)
    assert found.objects == ObjectCounts(
        landslides=(1, 1, 0), hits=(0, 1, 0), predicted=5, false_alarms=3, empty_false_alarms=2, empty_pixels=1600
    )
    assert found.objects.empty_km2(10) == pytest.approx(0.16)
    # Found are 11 of 24 landslide pixels, and 4 others.
    assert found.metrics["precision"] == pytest.approx(11 / 15)
    assert found.metrics["recall"] == pytest.approx(11 / 24)
    assert found.metrics["object_hit_rate"] == 1 / 2
    assert found.metrics["object_precision"] == 2 / 5
    # 15 pixels at .8, of which 11 are landslides; the other 3185 at .1, of which 13 are.
    expected = (abs(11 - 0.8 * 15) + abs(13 - 0.1 * 3185)) / 3200
    assert found.metrics["calibration_error"] == pytest.approx(expected, abs=2e-3)


def test_intervals_follow_from_the_patches_own_counts() -> None:
    """One patch found whole and one missed: F1 of a draw is 1, 2/3 or 0, so the interval is all of it."""
    patches = [
        _patch(1, landslides=[(0, 10)], found=[(0, 10)]),
        _patch(2, landslides=[(5, 15)], found=[]),
    ]
    found = _evaluated(patches)
    np.testing.assert_array_equal(found.confusion, [[10, 0, 0], [0, 0, 10]])
    assert found.metrics["f1"] == pytest.approx(2 / 3)
    assert found.intervals["f1"] == (0.0, 1.0)
    # Precision is 1 wherever anything is predicted, and counts as 0 in the quarter of the draws where nothing is.
    assert found.intervals["precision"] == (0.0, 1.0)
    assert set(found.intervals) == {"f1", "iou", "precision", "recall", "average_precision"}
    low, high = found.intervals["average_precision"]
    assert low < found.metrics["average_precision"] < high


def test_other_averages_stand_apart_from_the_pooled_scores() -> None:
    """Half of one landslide found, and an empty patch left alone: each of the three flatters."""
    patches = [_patch(1, landslides=[(0, 20)], found=[(0, 10)]), _patch(2, landslides=[], found=[])]
    found = _evaluated(patches)
    # TP 10, FN 10, TN 3180: F1 20/30 and 6360/6370, IoU 10/20 and 3180/3190; per image 20/30 and 1
    assert found.metrics["f1"] == pytest.approx(2 / 3)
    assert found.other_averages == pytest.approx(
        {
            "two_class_mean_f1": (2 / 3 + 6360 / 6370) / 2,
            "two_class_mean_iou": (1 / 2 + 3180 / 3190) / 2,
            "per_image_mean_f1": (2 / 3 + 1) / 2,
        }
    )


def test_median_patches_are_the_middle_by_wrong_pixels() -> None:
    """Of patches with 20, 19 .. 1 wrong pixels the eight worst are named, and the median four are 12, 11, 10 and 9."""
    patches = [_patch(wrong, landslides=[(0, wrong)], found=[]) for wrong in range(1, 21)]
    found = _evaluated(patches)
    assert found.worst == tuple(f"image_{wrong}" for wrong in range(20, 12, -1))
    assert found.median == tuple(f"image_{wrong}" for wrong in (12, 11, 10, 9))
    median = [patch for patch in patches if patch.id in found.median]
    predicted = zip(median, predictions(_first_band, median), strict=True)
    drawn = [patch.draw(one.probability, 0.75, split="test") for patch, one in predicted]
    assert [panel.key for panel in drawn] == [f"test/image_{wrong}" for wrong in (9, 10, 11, 12)]
    few = _evaluated(patches[:5])
    assert (len(few.worst), few.median) == (5, ())


def test_a_metric_is_added_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered once, it stands among the scores, with an interval, of an evaluation and of a table of patches."""
    monkeypatch.setitem(
        METRICS, "hits", lambda counts: np.asarray(counts)[..., 0] / np.asarray(counts)[..., :3].sum(-1)
    )
    found = _evaluated([_patch(number, [(0, 10)], [(0, 4)]) for number in (1, 2)])
    # 4 of 10 on both patches, so in every draw.
    assert (found.metrics["hits"], found.intervals["hits"]) == (0.4, pytest.approx((0.4, 0.4)))
    assert PatchCounts(("image_1", "image_2"), found.confusion).scores()["hits"] == (0.4, pytest.approx((0.4, 0.4)))


def test_a_patch_predicted_twice_is_one_row_with_the_pixels_of_both() -> None:
    """Ten of ten pixels found the first time, four the second: 14 hits and 6 misses of one patch."""
    (first,), (second,) = (list(predictions(_first_band, [_patch(1, [(0, 10)], [(0, n)])])) for n in (10, 4))
    twice = first._replace(probability=np.stack([first.probability, second.probability]))
    found = evaluate_predictions([twice], 0.75)
    np.testing.assert_array_equal(found.confusion, [[14, 0, 6]])
    assert found.patches[0].landslide_share == 10 / 1600
    assert (found.objects.landslides, found.objects.hits) == ((2, 0, 0), (1, 0, 0))
    assert found.counts.pixels.sum() == 3200
