"""The baselines of single pixels: they learn what a pixel shows, and nothing else."""

from dataclasses import dataclass

import numpy as np
import pytest

from lsml.data.sensor import Sensor
from lsml.data.splits import FoldData
from lsml.data.statistics import BandStatistics
from lsml.errors import DataError
from lsml.scoring.metrics import THRESHOLDS
from lsml.training.baselines import Kind, PixelLearner, _fit_boosting, _fit_ndvi_slope, _fit_rule, fit_pixel_baseline
from tests.bands import CONSTANTS, N_BANDS, NEAR_INFRARED, RED, SENSOR, SLOPE


@dataclass
class Patches:
    """A split in memory: images (N, H, W, C) and masks (N, H, W, 1)."""

    images: np.ndarray
    masks: np.ndarray
    sensor: Sensor = SENSOR

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.images[indices], self.masks[indices]

    def image(self, index: int) -> np.ndarray:
        return self.images[index]


def patches(count: int, *, seed: int, side: int = 32) -> Patches:
    """Two bands of noise; landslide, on a tenth of the pixels, adds 5 to the first and nothing to the second."""
    rng = np.random.default_rng(seed)
    masks = (rng.random((count, side, side, 1)) < 0.1).astype(np.float32)
    images = rng.standard_normal((count, side, side, 2), dtype=np.float32)
    images[..., :1] += 5 * masks
    return Patches(images, masks)


def test_it_finds_a_band_that_separates() -> None:
    """Classes five standard deviations apart: it ranks above .5 nearly every landslide pixel, and little else."""
    baseline = fit_pixel_baseline(patches(8, seed=0))
    unseen = patches(3, seed=1)
    probability = baseline.predict(unseen.images)
    assert probability.shape == (3, 32, 32, 1)
    assert probability.dtype == np.float32
    # Two normal distributions 5 apart cut in the middle leave about .6 % of each on the wrong side.
    assert ((probability > 0.5) == (unseen.masks > 0)).mean() > 0.98


def test_its_probabilities_keep_the_natural_share() -> None:
    """Classes are not reweighted: the mean probability is the landslides' share of the train split."""
    train = patches(8, seed=0)
    assert fit_pixel_baseline(train).predict(train.images).mean() == pytest.approx(train.masks.mean(), abs=1e-3)


def test_a_pixel_is_scored_without_its_neighbours() -> None:
    """Shuffling the pixels of a patch shuffles the probabilities, and changes none."""
    baseline = fit_pixel_baseline(patches(4, seed=0))
    image = patches(1, seed=2).images
    order = np.random.default_rng(0).permutation(32 * 32)
    shuffled = image.reshape(1, -1, 2)[:, order].reshape(image.shape)
    expected = baseline.predict(image).reshape(-1)[order]
    np.testing.assert_allclose(baseline.predict(shuffled).reshape(-1), expected, rtol=1e-6)


def test_draw_is_limited_seeded_and_from_every_patch() -> None:
    """Of more than 200,000 pixels a seeded draw is used: the same seed fits the same model, another a close one."""
    train = patches(60, seed=0, side=64)  # 245,760 pixels
    image = patches(1, seed=3).images
    first, again, other = (fit_pixel_baseline(train, seed=seed).predict(image) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_allclose(first, other, atol=0.1)


def test_a_fold_is_scored_by_a_fit_to_its_other_patches() -> None:
    """As a learner it fits once, and gives its probabilities of the held-out patches, rounded down to the grid."""
    data = FoldData(patches(4, seed=0), patches(3, seed=1), None)
    outcome = PixelLearner().learn(data, 7, None)
    expected = fit_pixel_baseline(data.train, seed=7).predict(data.validation.images)[..., 0]
    # The grid's steps are .01 in the logit, at most .0025 in the probability.
    np.testing.assert_allclose(THRESHOLDS[outcome.grid_indices], expected, atol=0.0026)
    assert (THRESHOLDS[outcome.grid_indices] <= expected).all()
    assert [set(metrics) for metrics in outcome.history] == [{"epoch_seconds"}]


def test_one_class_is_refused() -> None:
    """A train split without landslides, or without patches, is a data error that says so."""
    train = patches(2, seed=0)
    with pytest.raises(DataError, match="all 2048 pixels drawn from the train split are background"):
        fit_pixel_baseline(Patches(train.images, np.zeros_like(train.masks)))
    with pytest.raises(DataError, match="the train split is empty"):
        fit_pixel_baseline(Patches(train.images[:0], train.masks[:0]))


def test_boosting_finds_what_no_plane_separates() -> None:
    """Landslide within .5 of 0, in the middle of a normal distribution: trees find both sides, a regression neither."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32, 2), dtype=np.float32)
    train = Patches(images, (np.abs(images[..., :1]) < 0.5).astype(np.float32))
    unseen = rng.standard_normal((2, 32, 32, 2), dtype=np.float32)
    truth = np.abs(unseen[..., :1]) < 0.5
    assert ((_fit_boosting(train).predict(unseen) > 0.5) == truth).mean() > 0.98
    # 38 % of a normal distribution lie within .5: a plane can do no better than to call nothing landslide.
    assert ((fit_pixel_baseline(train).predict(unseen) > 0.5) == truth).mean() < 0.7


def bare_and_steep(ndvi: list[float], slope: list[float]) -> np.ndarray:
    """Stored values (P, 14) of pixels with this NDVI, of reflectances that sum to .2, and this slope in degrees."""
    pixels = np.zeros((len(ndvi), N_BANDS))
    pixels[:, NEAR_INFRARED] = 1000 * (1 + np.array(ndvi)) / CONSTANTS[NEAR_INFRARED]
    pixels[:, RED] = 1000 * (1 - np.array(ndvi)) / CONSTANTS[RED]
    pixels[:, SLOPE] = np.array(slope) / CONSTANTS[SLOPE]
    return pixels


def test_the_rule_has_the_limits_of_the_best_f1() -> None:
    """Six pixels, worked out by hand.

    Landslide is (NDVI .1, 30 degrees), (.2, 20), (.6, 25); background is (.1, 5), (.7, 30), (.5, 22). At most .2 and at
    least 20 hits two of three without an alarm, F1 4/5; at most .6 and at least 20 hits three with one alarm, F1 6/7;
    at most .6 and at least 25 hits two without, 4/5. So the limits are .6 and 20.
    """
    ndvi, slope = [0.1, 0.2, 0.6, 0.1, 0.7, 0.5], [30.0, 20, 25, 5, 30, 22]
    rule = _fit_ndvi_slope(bare_and_steep(ndvi, slope), np.array([1, 1, 1, 0, 0, 0]), SENSOR)
    assert (rule.ndvi, rule.slope) == pytest.approx((0.6, 20))
    # The standard deviations of the six numbers.
    assert (rule.ndvi_spread, rule.slope_spread) == pytest.approx((np.std(ndvi), np.std(slope)))


def test_a_score_of_the_rule_tells_how_far_inside_its_limits_a_pixel_is(statistics: BandStatistics) -> None:
    """.5 on a limit; the sigmoid of the nearer one's distance in standard deviations; lower outside."""
    rule = _fit_ndvi_slope(bare_and_steep([0.2, 0.8], [30, 10]), np.array([1, 0]), SENSOR)
    # Both spreads are half of the distance of two values: .3 and 10 degrees; the limits are the landslide's own.
    ndvi, slope = [0.2, -0.4, -0.4, 0.5], [45.0, 45, 60, 60]
    score = rule.predict(bare_and_steep(ndvi, slope)[None, None])[0, 0, :, 0]
    # On the limit of NDVI; 2 and 1.5 inside; 2 and 3 inside; 1 outside.
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, 1 / (1 + np.exp([0, -1.5, -2, 1])), rtol=1e-5)
    logits = np.asarray(rule.network(statistics)(bare_and_steep(ndvi, slope)[None, None]))[0, 0, :, 0]
    np.testing.assert_allclose(logits, [0, 1.5, 2, -1], rtol=0, atol=1e-5)
    # The pixel on the limit is within it, and so it is as a network.
    assert logits[0] > 0


def test_ground_that_is_all_alike_has_a_score_too() -> None:
    """One NDVI and one slope everywhere have no spread; nothing is divided by it."""
    rule = _fit_ndvi_slope(bare_and_steep([0.3, 0.3], [20, 20]), np.array([1, 0]), SENSOR)
    assert np.isfinite(rule.predict(bare_and_steep([0.3, 0.9], [20, 0])[None])).all()


@pytest.mark.parametrize("kind", ["boosting", "rule"])
def test_one_seed_fits_one_model(kind: Kind) -> None:
    """The same seed gives the same scores to the last bit, and they lie in 0..1; another seed draws other pixels."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0.5, 2, (60, 64, 64, N_BANDS)).astype(np.float32)  # 245,760 pixels
    train = Patches(images, (rng.random((60, 64, 64, 1)) < images[..., SLOPE, None] / 8).astype(np.float32))
    first, again, other = (PixelLearner(kind).fit(train, seed).predict(images[:2]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 0 <= first.min() < first.max() <= 1


@pytest.mark.parametrize("fit", [_fit_boosting, _fit_rule])
def test_no_baseline_learns_from_one_class(fit: object) -> None:
    """All refuse it in the same words."""
    train = patches(2, seed=0)
    with pytest.raises(DataError, match="all 2048 pixels drawn from the train split are background"):
        fit(Patches(train.images, np.zeros_like(train.masks)))  # type: ignore[operator]
