"""The per-pixel baseline: it learns what a pixel shows, and nothing else."""

from dataclasses import dataclass

import numpy as np
import pytest

from lsml.baseline import PixelRegression, fit_pixel_baseline
from lsml.data.folds import FoldData
from lsml.errors import DataError
from lsml.metrics import THRESHOLDS


@dataclass
class Patches:
    """A split in memory: images (N, H, W, C) and masks (N, H, W, 1)."""

    images: np.ndarray
    masks: np.ndarray

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


def test_a_pixel_is_judged_without_its_neighbours() -> None:
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


def test_a_fold_is_judged_by_a_fit_to_its_other_patches() -> None:
    """As a learner it fits once, and gives its probabilities of the held-out patches, rounded down to the grid."""
    data = FoldData(patches(4, seed=0), patches(3, seed=1), None)
    outcome = PixelRegression().learn(data, 7, None)
    expected = fit_pixel_baseline(data.train, seed=7).predict(data.validation.images)[..., 0]
    # The grid's steps are .01 in the logit, at most .0025 in the probability.
    np.testing.assert_allclose(THRESHOLDS[outcome.places], expected, atol=0.0026)
    assert (THRESHOLDS[outcome.places] <= expected).all()
    assert [set(metrics) for metrics in outcome.history] == [{"epoch_seconds"}]


def test_one_class_is_refused() -> None:
    """A train split without landslides, or without patches, is a data error that says so."""
    train = patches(2, seed=0)
    with pytest.raises(DataError, match="all 2048 pixels drawn from the train split are background"):
        fit_pixel_baseline(Patches(train.images, np.zeros_like(train.masks)))
    with pytest.raises(DataError, match="the train split is empty"):
        fit_pixel_baseline(Patches(train.images[:0], train.masks[:0]))
