"""Augmentation: what it may change, what it must not, and where its random numbers come from."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lsml.data.augmentation import Augmentation

SIZE = (32, 32)


def _patch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = (random.random((*SIZE, 14)) * 14).astype("float32")
    return image, (random.random(SIZE) < 0.3).astype("uint8")


def _augment(strength: float, *, seed: int = 0, epoch: int = 1, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return Augmentation(strength, SIZE)(*_patch(), seed=seed, epoch=epoch, index=index)


def test_strength_zero_is_the_identity() -> None:
    """Not one bit of image or mask changes at strength 0."""
    image, mask = _patch()
    for index in range(20):
        changed, changed_mask = _augment(0.0, index=index)
        np.testing.assert_array_equal(changed, image)
        np.testing.assert_array_equal(changed_mask, mask)


def test_values_keep_their_range_and_masks_stay_masks() -> None:
    """Stored values up to 14 are not cut off at 1, and masks hold 0 and 1 at full strength."""
    image, _ = _patch()
    maxima = []
    for index in range(50):
        changed, mask = _augment(1.0, index=index)
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert mask.shape == SIZE
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        assert changed.min() >= image.min() - 1e-4
        assert changed.max() <= image.max() + 1e-4
        maxima.append(changed.max())
    assert np.median(maxima) > 10


def test_image_and_mask_move_together() -> None:
    """Where the image holds the mask's own pattern in every band, it still does after every change."""
    rows, columns = np.indices(SIZE)
    mask = ((rows < 18) & (columns < 13)).astype("uint8")
    image = np.repeat(mask[..., None] * 10.0, 14, axis=2).astype("float32")
    changes = 0
    for index in range(60):
        moved, moved_mask = Augmentation(1.0, SIZE)(image, mask, seed=3, epoch=1, index=index)
        np.testing.assert_allclose(moved, np.repeat(moved[..., :1], 14, axis=2), atol=1e-5)
        # The image is interpolated and the mask is not, so they differ along the edge: 31 pixels long or, with
        # its mirror image and a zoom of 2, some 120 of the 1,024.
        assert np.mean((moved[..., 0] > 5) != moved_mask) < 0.12
        changes += not np.array_equal(moved_mask, mask)
    assert changes > 50


def _symmetry(image: np.ndarray, strength: float, index: int) -> tuple[bool, bool, bool] | None:
    """(transposed, up-down, left-right) that made the outcome from `image`; None where it was warped besides."""
    outcome, _ = Augmentation(strength, SIZE)(image, np.zeros(SIZE, "uint8"), seed=7, epoch=1, index=index)
    for code in np.ndindex(2, 2, 2):
        transposed, up_down, left_right = (bool(bit) for bit in code)
        candidate = image[:, ::-1] if left_right else image
        candidate = candidate[::-1] if up_down else candidate
        candidate = candidate.swapaxes(0, 1) if transposed else candidate
        if np.array_equal(candidate, outcome):
            return transposed, up_down, left_right
    return None


def test_flips_are_independent() -> None:
    """All outcomes of the two flips occur in their proportions over 1,000 patches that are not warped."""
    image, _ = _patch()
    outcomes: list[tuple[bool, bool, bool]] = []
    index = 0
    while len(outcomes) < 1000:
        found = _symmetry(image, 0.3, index)
        if found is not None:
            outcomes.append(found)
        index += 1
    # At strength .3 each flip has a chance of .3: .49, .21, .21, .09 for none, one, the other, both.
    # Four standard deviations of a share over 1,000 draws are at most .063.
    for flips, chance in {(0, 0): 0.49, (1, 0): 0.21, (0, 1): 0.21, (1, 1): 0.09}.items():
        share = np.mean([outcome[1:] == (bool(flips[0]), bool(flips[1])) for outcome in outcomes])
        assert share == pytest.approx(chance, abs=0.063)
    assert np.mean([outcome[0] for outcome in outcomes]) == pytest.approx(0.3, abs=0.058)


def test_a_patch_depends_on_seed_epoch_and_index_alone() -> None:
    """Whatever was drawn before, and in whatever thread, the same key gives the same patch."""
    expected = [_augment(0.8, index=index) for index in range(24)]
    used = Augmentation(0.8, SIZE)
    for index in reversed(range(24)):
        again = used(*_patch(), seed=0, epoch=1, index=index)
        np.testing.assert_array_equal(again[0], expected[index][0])
        np.testing.assert_array_equal(again[1], expected[index][1])
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda index: _augment(0.8, index=index), range(24)))
    for (image, mask), (expected_image, expected_mask) in zip(threaded, expected, strict=True):
        np.testing.assert_array_equal(image, expected_image)
        np.testing.assert_array_equal(mask, expected_mask)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 2}, {"index": 1}])
def test_every_part_of_the_key_counts(other: dict[str, int]) -> None:
    """Another seed, epoch or index gives another patch."""
    assert not np.array_equal(_augment(1.0)[0], _augment(1.0, **other)[0])
