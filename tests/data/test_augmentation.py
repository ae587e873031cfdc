"""Augmentation: what it may change, what it must not, and where its random numbers come from."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lsml.bands import ELEVATION, SLOPE
from lsml.data.augmentation import Augmentation
from lsml.data.photometric import Change, Photometric, band_gain, illumination, noise

SIZE = (32, 32)
TERRAIN = [SLOPE, ELEVATION]
OPTICAL = list(range(12))


def _patch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = (random.random((*SIZE, 14)) * 14).astype("float32")
    return image, (random.random(SIZE) < 0.3).astype("uint8")


def _augment(strength: float, *, seed: int = 0, epoch: int = 1, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return Augmentation(strength, SIZE)(*_patch(), seed=seed, epoch=epoch, index=index)


@pytest.mark.parametrize("highest", [14.0, 50.0])
def test_strength_zero_is_the_identity(highest: float) -> None:
    """Not one bit of image or mask changes at strength 0."""
    image, mask = _patch()
    image *= highest / 14
    augment = Augmentation(0.0, SIZE)
    for index in range(20):
        changed, changed_mask = augment(image, mask, seed=0, epoch=1, index=index)
        assert changed.tobytes() == image.tobytes()
        np.testing.assert_array_equal(changed_mask, mask)


def test_values_keep_their_range_and_masks_stay_masks() -> None:
    """Stored values up to 14 are not cut off at 1, none is negative or NaN, and masks hold 0 and 1 at full strength."""
    image, _ = _patch()
    maxima = []
    for index in range(50):
        changed, mask = _augment(1.0, index=index)
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert mask.shape == SIZE
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        assert np.isfinite(changed).all()
        assert changed.min() >= 0
        assert changed[..., TERRAIN].max() <= image[..., TERRAIN].max() + 1e-4
        # Light by at most a fifth, a band by at most a twentieth: 14 * 1.2 * 1.05 + .03
        assert changed.max() <= 17.67 + 1e-4
        maxima.append(changed[..., OPTICAL].max())
    assert np.median(maxima) > 10


def test_image_and_mask_move_together() -> None:
    """Where the image holds the mask's own pattern in every band, it still does after every change."""
    rows, columns = np.indices(SIZE)
    mask = ((rows < 18) & (columns < 13)).astype("uint8")
    image = np.repeat(mask[..., None] * 10.0, 14, axis=2).astype("float32")
    changes = 0
    for index in range(60):
        moved, moved_mask = Augmentation(1.0, SIZE)(image, mask, seed=3, epoch=1, index=index)
        np.testing.assert_allclose(moved[..., SLOPE], moved[..., ELEVATION], atol=1e-5)
        # The image is interpolated and the mask is not, so they differ along the edge: 31 pixels long or, with
        # its mirror image and a zoom of 2, some 120 of the 1,024. Light and gain leave 7.6 to 12.6 of the 10.
        assert (((moved > 5) != moved_mask[..., None]).mean((0, 1)) < 0.12).all()
        changes += not np.array_equal(moved_mask, mask)
    assert changes > 50


def _symmetry(image: np.ndarray, strength: float, index: int) -> tuple[bool, bool, bool] | None:
    """(transposed, up-down, left-right) that made the terrain of the outcome; None where it was warped besides."""
    outcome, _ = Augmentation(strength, SIZE)(image, np.zeros(SIZE, "uint8"), seed=7, epoch=1, index=index)
    for code in np.ndindex(2, 2, 2):
        transposed, up_down, left_right = (bool(bit) for bit in code)
        candidate = image[:, ::-1] if left_right else image
        candidate = candidate[::-1] if up_down else candidate
        candidate = candidate.swapaxes(0, 1) if transposed else candidate
        if np.array_equal(candidate[..., TERRAIN], outcome[..., TERRAIN]):
            return transposed, up_down, left_right
    return None


def test_flips_are_independent() -> None:
    """All outcomes of the two flips occur in their proportions over 1,000 patches that are not warped."""
    image, _ = _patch()
    # Rotation and crop each leave .7 alone, so of 2,500 patches 1,225 +- 25 are not warped.
    found = (_symmetry(image, 0.3, index) for index in range(2500))
    outcomes = [symmetry for symmetry in found if symmetry is not None][:1000]
    assert len(outcomes) == 1000
    # At strength .3 each flip has a chance of .3: .49, .21, .21, .09 for none, one, the other, both.
    # Four standard deviations of a share over 1,000 draws are at most .063.
    for flips, chance in {(0, 0): 0.49, (1, 0): 0.21, (0, 1): 0.21, (1, 1): 0.09}.items():
        share = np.mean([outcome[1:] == (bool(flips[0]), bool(flips[1])) for outcome in outcomes])
        assert share == pytest.approx(chance, abs=0.063)
    assert np.mean([outcome[0] for outcome in outcomes]) == pytest.approx(0.3, abs=0.058)


CHANGES = pytest.mark.parametrize(("change", "largest"), [(illumination, 0.2), (band_gain, 0.05), (noise, 0.03)])


@CHANGES
def test_photometric_changes_leave_terrain_mask_and_original_alone(change: Change, largest: float) -> None:
    """Slope, elevation and mask keep every bit, also below sea level; all optical bands change; nothing is written to.

    The image is not contiguous, as a transposed one is not.
    """
    image, mask = _patch()
    image[..., ELEVATION] -= 7
    image = image.swapaxes(0, 1)
    before, mask_before = image.copy(), mask.copy()
    transform = Photometric(change, largest, p=1.0)
    for seed in range(20):
        transform.set_random_seed(seed)
        changed = transform(image=image, mask=mask)
        assert changed["image"].dtype == np.float32
        assert changed["image"][..., TERRAIN].tobytes() == before[..., TERRAIN].tobytes()
        assert (changed["image"] != before).any((0, 1))[OPTICAL].all()
        assert changed["mask"].tobytes() == mask_before.tobytes()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mask, mask_before)


@CHANGES
def test_photometric_changes_happen_by_their_chance(change: Change, largest: float) -> None:
    """Of 400 patches at a chance of .4 about 160 change; four standard deviations of the share are .098."""
    image, mask = np.ones((4, 4, 14), "float32"), np.zeros((4, 4), "uint8")
    transform = Photometric(change, largest, p=0.4)
    changed = []
    for seed in range(400):
        transform.set_random_seed(seed)
        changed.append(not np.array_equal(transform(image=image, mask=mask)["image"], image))
    assert np.mean(changed) == pytest.approx(0.4, abs=0.098)


@pytest.mark.parametrize(("strength", "gain", "added"), [(0.5, 1.025 * 1.1, 0.015), (1.0, 1.05 * 1.2, 0.03)])
@pytest.mark.parametrize("value", [0.02, 1.0, 50.0])
def test_optical_values_stay_within_bounds(strength: float, gain: float, added: float, value: float) -> None:
    """On a patch of one value, light and gain multiply by their bounds at most, and noise adds its bound at most.

    Downward: 1 - .025 and 1 - .1 at strength .5, 1 - .05 and 1 - .2 at strength 1, and never below 0. Slope and
    elevation come out as they went in, but for the rounding of the interpolation.
    """
    least = (0.975 * 0.9 if strength == 0.5 else 0.95 * 0.8) * value
    image, mask = np.full((*SIZE, 14), value, "float32"), np.zeros(SIZE, "uint8")
    augment = Augmentation(strength, SIZE)
    seen = []
    for index in range(100):
        changed, _ = augment(image, mask, seed=0, epoch=1, index=index)
        optical = changed[..., OPTICAL]
        assert optical.min() >= max(0, least - added) * (1 - 1e-5)
        assert optical.max() <= (value * gain + added) * (1 + 1e-5)
        np.testing.assert_allclose(changed[..., TERRAIN], value, rtol=1e-5)
        seen.append(optical.mean())
    # Light alone spreads a hundred patches over nearly twice its bound.
    assert np.ptp(seen) > (gain - 1) * value


def _gains(change: Change, largest: float, draws: int) -> np.ndarray:
    """What one change makes of ones: `(draws, 14)` at the first pixel."""
    ones = np.ones((2, 2, 14), "float32")
    return np.stack([change(ones, largest, np.random.default_rng(seed))[0, 0] for seed in range(draws)])


def test_bands_share_the_light_and_nothing_else() -> None:
    """Light multiplies all optical bands alike; gains and noise of two bands have nothing to do with each other."""
    light = _gains(illumination, 0.2, 50)[:, OPTICAL]
    np.testing.assert_array_equal(light, np.repeat(light[:, :1], 12, axis=1))
    assert np.unique(light).size == 50
    # Of 1,000 independent draws a correlation has a standard deviation of 1 / sqrt(1,000) = .032; five are .16.
    for change, largest in ((band_gain, 0.05), (noise, 0.03)):
        correlation = np.corrcoef(_gains(change, largest, 1000)[:, OPTICAL], rowvar=False)
        assert np.abs(correlation - np.eye(12)).max() < 0.16


def test_gains_are_the_same_everywhere_and_noise_nowhere() -> None:
    """A gain is one number a band; noise in a pixel says nothing of its neighbours, nor of its other bands."""
    image = np.ones((64, 64, 14), "float32")
    for change, largest in ((illumination, 0.2), (band_gain, 0.05)):
        changed = change(image, largest, np.random.default_rng(0))
        np.testing.assert_array_equal(changed, np.broadcast_to(changed[0, 0], changed.shape))
    added = noise(image, 0.03, np.random.default_rng(0))[..., OPTICAL] - 1
    # Even in -+ .03, so a standard deviation of .03 / sqrt(3) = .01732; that of 49,152 values is known to .3 %.
    assert added.std() == pytest.approx(0.01732, rel=0.01)
    neighbours = np.mean(added[:, 1:] * added[:, :-1]), np.mean(added[1:] * added[:-1])
    bands = np.mean(added[..., 1:] * added[..., :-1])
    # Means of some 48,000 products whose standard deviation is .01732² = 3e-4: five standard errors are 6.8e-6.
    assert np.abs([*neighbours, bands]).max() < 6.8e-6


def test_photometric_changes_keep_the_mean() -> None:
    """Over many draws a value is on average what it was, at full strength and close to 0 too."""
    for value in (0.02, 1.0, 14.0):
        image = np.full((8, 8, 14), value, "float32")
        means = {
            change: np.mean([change(image, largest, np.random.default_rng(seed))[..., OPTICAL] for seed in range(1000)])
            for change, largest in ((illumination, 0.2), (band_gain, 0.05), (noise, 0.03))
        }
        # Four standard errors. Light: .2 / sqrt(3) / sqrt(1,000) = .00365 of the value. Gains: .05 / sqrt(3) over
        # 12,000 draws = .00026 of it. Noise: at most .03 / sqrt(3) over 768,000 draws = .00002.
        assert means[illumination] == pytest.approx(value, abs=0.0146 * value)
        assert means[band_gain] == pytest.approx(value, abs=0.00106 * value)
        assert means[noise] == pytest.approx(value, abs=0.00008)


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


def digest() -> str:
    """Of twelve augmented patches and their masks."""
    found = hashlib.sha256()
    for index in range(12):
        for array in _augment(0.8, index=index):
            found.update(array.tobytes())
    return found.hexdigest()


def test_another_process_makes_the_same_patches() -> None:
    """To the last bit, where Python's own hashes differ too."""
    here = Path(__file__).parent
    child = subprocess.run(
        [sys.executable, "-c", "import test_augmentation; print(test_augmentation.digest())"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(here.parents[1]), "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert child.stdout.split()[-1] == digest()


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 2}, {"index": 1}])
def test_every_part_of_the_key_counts(other: dict[str, int]) -> None:
    """Another seed, epoch or index gives another patch, in its optical bands and in its terrain."""
    image, changed = _augment(1.0)[0], _augment(1.0, **other)[0]
    assert not np.array_equal(image[..., TERRAIN], changed[..., TERRAIN])
    constant = np.ones((*SIZE, 14), "float32"), np.zeros(SIZE, "uint8")
    augment, key = Augmentation(1.0, SIZE), {"seed": 0, "epoch": 1, "index": 0}
    assert not np.array_equal(augment(*constant, **key)[0], augment(*constant, **key | other)[0])


@pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no folder of real patches")
def test_real_patches_stay_plausible() -> None:
    """A real patch keeps its terrain's range and its masks' values, and no band leaves its bounds."""
    from lsml.data.hdf5 import read_image, read_mask

    root = Path(os.environ["LSML_REAL_DATA"]) / "landslide4sense"
    paths = sorted((root / "img").glob("*.h5"))[:4]
    augment = Augmentation(1.0, (128, 128))
    for index, path in enumerate(paths):
        image = read_image(path).astype("float32")
        mask = read_mask(root / "mask" / path.name.replace("image", "mask"))
        lowest, highest = image.min((0, 1)), image.max((0, 1))
        for epoch in range(1, 6):
            changed, changed_mask = augment(image, mask, seed=0, epoch=epoch, index=index)
            assert np.isfinite(changed).all()
            assert (changed[..., TERRAIN] >= lowest[TERRAIN] - 1e-4).all()
            assert (changed[..., TERRAIN] <= highest[TERRAIN] + 1e-4).all()
            # Light and gain: .8 * .95 = .76 and 1.2 * 1.05 = 1.26 at the most, noise .03.
            assert (changed >= np.maximum(0, 0.76 * lowest - 0.03) * 0.9999)[..., OPTICAL].all()
            assert (changed <= (1.26 * highest + 0.03) * 1.0001)[..., OPTICAL].all()
            assert changed_mask.dtype == np.uint8
            assert set(np.unique(changed_mask)) <= {0, 1}
    assert len(paths) == 4
