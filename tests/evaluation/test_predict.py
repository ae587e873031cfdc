"""The mean over orientations, with predictors that see which way up a patch is; what stands in the way of pictures."""

from pathlib import Path

import numpy as np
import pytest

from lsml.errors import DataError
from lsml.evaluation.predict import over_symmetries, predict_patches, with_deviation
from tests.bands import N_BANDS, SENSOR


def _left_neighbour(images: np.ndarray) -> np.ndarray:
    """Each pixel's probability is the first band of the pixel to its left, 0 at the left edge."""
    shifted = np.zeros((*images.shape[:3], 1), np.float32)
    shifted[:, :, 1:, 0] = images[:, :, :-1, 0]
    return shifted


def test_looking_left_becomes_looking_all_ways() -> None:
    """Of the eight orientations two each look left, right, up and down: a quarter of each neighbour's value."""
    images = np.zeros((1, 3, 3, N_BANDS), np.float32)
    images[0, 1, 1, 0] = 1.0
    found = over_symmetries(_left_neighbour)(images)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, ..., 0], [[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]])


def test_a_turned_patch_gives_the_turned_mean() -> None:
    """Whatever the predictor, the mean follows the patch through all eight symmetries; without it, it does not."""
    images = np.random.default_rng(0).random((2, 8, 8, N_BANDS)).astype(np.float32)
    mean = over_symmetries(_left_neighbour)
    for mirrored in (False, True):
        for quarters in range(4):

            def move(batch: np.ndarray, mirrored: bool = mirrored, quarters: int = quarters) -> np.ndarray:
                return np.rot90(batch[:, ::-1] if mirrored else batch, quarters, axes=(1, 2))

            np.testing.assert_allclose(mean(move(images)), move(mean(images)), atol=1e-6)
    assert not np.allclose(_left_neighbour(images[:, ::-1, ::-1]), _left_neighbour(images)[:, ::-1, ::-1])


def test_a_predictor_without_orientation_stays_as_it_is() -> None:
    """Pixels scored by themselves come back at their own places, of patches that are not square too."""
    images = np.random.default_rng(1).random((3, 4, 6, N_BANDS)).astype(np.float32)
    np.testing.assert_allclose(over_symmetries(lambda batch: batch[..., :1])(images), images[..., :1], atol=1e-7)


def test_the_deviation_is_over_members_and_orientations() -> None:
    """Two members, one of which says .5 and one what is on its left; the probability is that of the other predictor.

    In the middle of the upper row, above the 1: eight times .5, and of the eight of the other two 1 and six 0. Their
    mean is (8 * .5 + 2) / 16 = .375, their variance (8 * .25 + 2) / 16 - .375**2 = .109375.
    """
    images = np.zeros((1, 3, 3, N_BANDS), np.float32)
    images[0, 1, 1, 0] = 1.0

    def members(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full_like(batch[..., :1], 0.5), _left_neighbour(batch)], axis=-1)

    found = with_deviation(_left_neighbour, members)(images)
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 3, 2))
    np.testing.assert_array_equal(found[..., :1], _left_neighbour(images))
    assert found[0, 0, 1, 1] == pytest.approx(0.109375**0.5)
    # In a corner: .5 and 0 alike often, .25 apart from their mean.
    assert found[0, 0, 0, 1] == pytest.approx(0.25)


def test_a_picture_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """A folder in the place of one: one line instead of the system's error, before anything is predicted."""
    (tmp_path / "panel" / "image_3.png").mkdir(parents=True)
    with pytest.raises(DataError, match=r"image_3\.png: cannot be removed: .*; give another --out"):
        predict_patches(_left_neighbour, (), 0.5, tmp_path, sensor=SENSOR, pictures=1, progress=lambda *_: None)
