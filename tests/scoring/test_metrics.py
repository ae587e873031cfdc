"""The pooled metric against values by hand and against scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn

from lsml.scoring.metrics import (
    THRESHOLDS,
    Confusion,
    PatchScore,
    PooledCounts,
    average_precision,
    coarse_counts,
    per_image_mean_f1,
    to_csv,
)


def _counts(truth: object, probability: object) -> PooledCounts:
    counts = PooledCounts()
    counts.update(np.asarray(truth), np.asarray(probability))
    return counts


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype("float32")))).astype("float32")


def test_counts_by_hand() -> None:
    """Five pixels at threshold .5, which itself counts as landslide."""
    found = _counts([1, 1, 1, 0, 0], [0.9, 0.5, 0.1, 0.7, 0.2]).at(0.5)
    assert found == Confusion(true_positive=2, false_positive=1, false_negative=1, true_negative=1)
    # precision 2/3, recall 2/3, F1 4 / (4 + 1 + 1), IoU 2 / 4
    assert found.scores() == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "iou": 0.5})


def test_two_class_means_by_hand() -> None:
    """2 hits, 1 false alarm, 1 miss, 6 rightly left alone: the background lifts both means."""
    found = Confusion(true_positive=2, false_positive=1, false_negative=1, true_negative=6)
    # F1 4/6 of landslide, 12/14 of background; IoU 2/4 and 6/8
    assert found.two_class_mean_f1 == pytest.approx((4 / 6 + 12 / 14) / 2)
    assert found.two_class_mean_iou == pytest.approx((2 / 4 + 6 / 8) / 2)


def test_a_mean_per_image_counts_a_patch_rightly_left_empty_as_one() -> None:
    """Four patches: F1 2/3, nothing to find and nothing found (1), an alarm where there is nothing (0), a miss (0)."""
    truths = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    said = np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.1]])
    scores = [PatchScore.of("", *patch, 0.5) for patch in zip(truths, said, strict=True)]
    assert per_image_mean_f1(scores) == pytest.approx((2 / 3 + 1 + 0 + 0) / 4)
    assert per_image_mean_f1([]) == 0


def test_the_curve_is_what_each_threshold_gives() -> None:
    """At places all over the grid, with nothing predicted at the last one; and without landslides nothing is found."""
    counts = _counts([1, 1, 1, 0, 0], [0.9, 0.5, 0.1, 0.7, 0.2])
    curve = counts.curve()
    for place in [0, *np.searchsorted(THRESHOLDS, [0.05, 0.3, 0.6, 0.8])]:
        at = counts.at(float(THRESHOLDS[place])).scores()
        assert {name: getattr(curve, name)[place] for name in curve._fields} == {n: at[n] for n in curve._fields}
    assert np.isnan(curve.precision[-1])
    assert (curve.recall[-1], curve.f1[-1]) == (0, 0)
    empty = _counts([0, 0], [0.2, 0.9]).curve()
    assert np.isnan(empty.recall).all()
    assert not empty.f1.any()


def test_reliability_by_hand() -> None:
    """Three pixels near .1, of which one is landslide, and two near .8, both landslide, in five bins."""
    found = _counts([0, 0, 1, 1, 1], [0.1, 0.1, 0.1, 0.7, 0.9]).reliability(bins=5)
    assert found.pixels.tolist() == [3, 0, 0, 1, 1]
    assert found.landslide.tolist() == [1, 0, 0, 1, 1]
    np.testing.assert_allclose(found.probability, [0.3, 0, 0, 0.7, 0.9], atol=5e-3)


def test_scores_equal_scikit_learn_on_the_grid() -> None:
    """For probabilities that lie on the grid, every score is scikit-learn's."""
    random = np.random.default_rng(0)
    probability = random.choice(THRESHOLDS, 20_000)
    truth = (random.random(20_000) < probability**2).astype("uint8")
    counts = _counts(truth.reshape(2, -1), probability.reshape(2, -1))
    for threshold in (0.5, float(THRESHOLDS[1000]), float(THRESHOLDS[-2])):
        predicted = probability >= threshold
        expected = {
            "f1": sklearn.f1_score(truth, predicted),
            "iou": sklearn.jaccard_score(truth, predicted),
            "precision": sklearn.precision_score(truth, predicted),
            "recall": sklearn.recall_score(truth, predicted),
            "average_precision": sklearn.average_precision_score(truth, probability),
        }
        found = counts.scores(threshold)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("centre", "spread"), [(-3.0, 2.0), (-8.0, 4.0), (0.0, 0.5), (0.0, 30.0)], ids=str)
def test_average_precision_of_continuous_and_saturated_probabilities(centre: float, spread: float) -> None:
    """Between the grid's thresholds, and where float32 rounds to 0 and 1, it stays within .001."""
    random = np.random.default_rng(1)
    logits = random.normal(centre, spread, 200_000)
    truth = random.random(logits.size) < 1 / (1 + np.exp(-0.5 * logits))
    probability = _sigmoid(logits)
    expected = sklearn.average_precision_score(truth, probability)
    assert _counts(truth, probability).average_precision() == pytest.approx(expected, abs=1e-3)


def test_a_patchs_coarse_counts_keep_its_average_precision() -> None:
    """Summed over three patches they count every pixel by class, and give scikit-learn's within .002."""
    random = np.random.default_rng(2)
    logits = random.normal(-3, 2, (3, 128, 128))
    truth = random.random(logits.shape) < 1 / (1 + np.exp(-0.5 * logits))
    probability = _sigmoid(logits)
    sums = sum(coarse_counts(*patch) for patch in zip(truth, probability, strict=True))
    assert [int(side.sum()) for side in np.split(sums, 2)] == [int((~truth).sum()), int(truth.sum())]
    expected = sklearn.average_precision_score(truth.ravel(), probability.ravel())
    assert average_precision(sums[None].astype(float))[0] == pytest.approx(expected, abs=2e-3)


def test_counts_come_back_from_their_table() -> None:
    """Through CSV nothing is lost, thresholds without pixels are left out, and other text is refused."""
    counts = _counts([1, 1, 0, 0, 0], [1.0, 0.3, 0.3, 0.0, 1e-5])
    rows = counts.rows()
    # .3 holds one pixel of each class.
    assert [(row["background"], row["landslide"]) for row in rows] == [(1, 0), (1, 0), (1, 1), (0, 1)]
    np.testing.assert_array_equal(PooledCounts.read(to_csv(rows)).pixels, counts.pixels)
    for text in ("id,hits\nimage_1,3\n", "threshold,background,landslide\nhigh,1,2\n"):
        with pytest.raises(ValueError, match="no table of pixels"):
            PooledCounts.read(text)


def test_no_threshold_is_0() -> None:
    """At 0 all is landslide, here with F1 2 / 3: what a network that says 0 everywhere did not say."""
    counts = _counts([0, 1], [0.0, 0.0])
    assert counts.at(0.0).f1 == pytest.approx(2 / 3)
    assert counts.best_threshold() == 0.5


def test_best_threshold_is_that_of_the_highest_f1() -> None:
    """No threshold of the grid has a higher F1 than the one chosen."""
    random = np.random.default_rng(2)
    probability = _sigmoid(random.normal(-3, 2, 5_000))
    truth = random.random(5_000) < probability
    counts = _counts(truth, probability)
    highest = max(counts.at(float(threshold)).f1 for threshold in THRESHOLDS)
    assert counts.at(counts.best_threshold()).f1 == highest
    assert highest == pytest.approx(sklearn.f1_score(truth, probability >= counts.best_threshold()), abs=1e-12)


@pytest.mark.parametrize(
    ("background", "landslide", "expected"),
    [
        # every threshold in (.1, .9] separates them: .5 is among them
        (0.1, 0.9, 0.5),
        # all in (.1, .3]: the nearest to .5 is the last of the grid at or below .3
        (0.1, 0.3, float(THRESHOLDS[np.searchsorted(THRESHOLDS, np.float32(0.3), "right") - 1])),
        # all in (.7, .9]: the first of the grid above .7
        (0.7, 0.9, float(THRESHOLDS[np.searchsorted(THRESHOLDS, np.float32(0.7), "right")])),
    ],
)
def test_ties_go_to_the_threshold_nearest_to_a_half(background: float, landslide: float, expected: float) -> None:
    """Among equal F1 scores the rule picks one threshold, always the same."""
    probability = np.array([background, landslide], dtype="float32")
    assert _counts([0, 1], probability).best_threshold() == expected


def test_without_landslide_every_score_is_zero() -> None:
    """A split without landslide pixels gives zeros but for calibration, without warnings, and a threshold of .5."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for counts in (_counts([0, 0], [0.2, 0.8]), PooledCounts()):
            scores = counts.scores(0.5)
            # All of the first two pixels' probability is too much: .2 / 2 + .8 / 2.
            assert scores.pop("calibration_error") == pytest.approx(0.5 if counts.pixels.any() else 0, abs=2e-3)
            assert set(scores.values()) == {0.0}
            assert counts.best_threshold() == 0.5


def test_merged_counts_equal_joint_ones() -> None:
    """Patches counted apart and merged give what they give together."""
    random = np.random.default_rng(3)
    truth, probability = random.integers(0, 2, (2, 500)), random.random((2, 500))
    merged = _counts(truth[0], probability[0])
    merged.merge(_counts(truth[1], probability[1]))
    np.testing.assert_array_equal(merged.pixels, _counts(truth, probability).pixels)
    assert merged.pixels.sum() == 1000


def test_counts_do_not_stop_where_float32_does() -> None:
    """Past 2**24 pixels, where a sum in float32 stands still, one more of each kind still counts."""
    counts = _counts([1, 1, 0], [0.9, 0.1, 0.9])
    for _ in range(25):
        counts.merge(counts)
    counts.merge(_counts([1, 1, 0, 0], [0.9, 0.1, 0.9, 0.1]))
    assert counts.at(0.5) == Confusion(
        true_positive=2**25 + 1, false_positive=2**25 + 1, false_negative=2**25 + 1, true_negative=1
    )


def test_calibration_error_by_hand() -> None:
    """Ten pixels at .75 of which five are landslides are off by a quarter."""
    counts = _counts([1] * 5 + [0] * 5, [0.75] * 10)
    assert counts.calibration_error() == pytest.approx(0.25, abs=2e-3)
    assert counts.scores(0.5)["calibration_error"] == counts.calibration_error()


def test_errors_of_two_bins_do_not_make_up_for_each_other() -> None:
    """Six pixels at .1 with three landslides, two at .9 with one: 6/8 x .4 + 2/8 x .4, though one is above."""
    counts = _counts([1, 1, 1, 0, 0, 0, 1, 0], [0.1] * 6 + [0.9] * 2)
    assert counts.calibration_error() == pytest.approx(0.4, abs=2e-3)


def test_calibration_error_of_saturated_probabilities() -> None:
    """Against the definition on the probabilities themselves, fifteen bins, many of them 0 and 1 exactly."""
    probability = _sigmoid(np.random.default_rng(6).normal(0, 30, 50_000))
    truth = np.random.default_rng(7).random(50_000) < 0.5 * probability
    bins = np.minimum((probability * 15).astype(int), 14)
    gaps = [abs((truth[bins == place] - probability[bins == place].astype(float)).sum()) for place in range(15)]
    assert _counts(truth, probability).calibration_error() == pytest.approx(sum(gaps) / 50_000, abs=1e-3)


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    """Truth drawn with the probabilities themselves leaves only the noise of drawing."""
    random = np.random.default_rng(4)
    probability = random.random(400_000).astype("float32")
    assert _counts(random.random(400_000) < probability, probability).calibration_error() < 0.005


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.1, float("inf")])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    """NaN and values outside 0..1 are errors rather than counts."""
    with pytest.raises(ValueError, match="must lie in"):
        _counts([0, 1], [0.5, probability])


def test_what_is_no_mask_is_refused() -> None:
    """A mask of other values than 0 and 1, or of another shape, is an error."""
    with pytest.raises(ValueError, match="truth must be"):
        _counts([0, 255], [0.5, 0.5])
    with pytest.raises(ValueError, match="shape"):
        _counts([0, 1, 0], [0.5, 0.5])
