"""Augmentation: what it may change, what it must not, and where its random numbers come from."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest

from lsml.config.schema import AugmentConfig
from lsml.data.augment import (
    Augmentation,
    _band_gain,
    _Change,
    _cut_mix,
    _gaps,
    _illumination,
    _mix_up,
    _noise,
    _Photometric,
)
from lsml.data.augment.warp import Patch, Warp, _Elastic
from tests.bands import N_BANDS, SENSOR

SIZE = (32, 32)
OPTICAL, TERRAIN = (np.flatnonzero(bands).tolist() for bands in (SENSOR.optical, ~SENSOR.optical))
TYPICAL = SENSOR.typical[OPTICAL]
"""What noise is relative to; 1 in Landslide4Sense."""
FIRST = {"flips": 1.0, "rotation": 1.0, "crop": 1.0, "light": 1.0, "gain": 1.0, "noise": 1.0}
LATER = {"elastic": 1.0, "dropout": 1.0, "mixup": 1.0, "cutmix": 1.0}
NEVER = dict.fromkeys(FIRST | LATER, 0.0)


def _patch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = (random.random((*SIZE, N_BANDS)) * 14).astype("float32")
    return image, (random.random(SIZE) < 0.3).astype("uint8")


def _augment(
    strength: float, shares: dict[str, float] | None = None, *, seed: int = 0, epoch: int = 1, index: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    config = AugmentConfig(strength=strength, **shares or {})
    return Augmentation(config, SIZE, SENSOR)(*_patch(), seed=seed, epoch=epoch, index=index)


@pytest.mark.parametrize("config", [{"strength": 0.0}, {"strength": 0.0} | LATER, {"strength": 1.0} | NEVER])
@pytest.mark.parametrize("highest", [14.0, 50.0])
def test_strength_zero_is_the_identity(highest: float, config: dict[str, float]) -> None:
    """Not one bit of image or mask changes at strength 0 whatever the shares, nor where every share is 0."""
    image, mask = _patch()
    image *= highest / 14
    augment = Augmentation(AugmentConfig(**config), SIZE, SENSOR)
    for index in range(20):
        changed, changed_mask = augment(image, mask, seed=0, epoch=1, index=index)
        assert changed.tobytes() == image.tobytes()
        np.testing.assert_array_equal(changed_mask, mask)
    batch, truth = np.stack([image, image + 1]), np.stack([mask, 1 - mask])[..., None].astype("float32")
    mixed, mixed_truth = augment.mix(batch, truth, seed=0, epoch=1, step=0)
    assert mixed.tobytes() == batch.tobytes()
    assert mixed_truth.tobytes() == truth.tobytes()


def _smooth() -> Patch:
    """Bands that bend little from pixel to pixel, so that one interpolation gives what two in a row do, and a disc."""
    rows, columns = np.indices((64, 64)) / 64
    bands = np.arange(1, 15)
    image = 5 + np.sin(rows[..., None] * bands / 3) + np.cos(columns[..., None] * bands / 4 + rows[..., None])
    return image.astype("float32"), (np.hypot(rows - 0.6, columns - 0.4) < 0.25).astype("uint8")


def _one_by_one(strength: float, *, seed: int, epoch: int, index: int) -> Patch:
    """albumentations' own geometric transforms, one after the other, the n-th by the n-th number of the key's seed."""
    image, mask = _smooth()
    flip, angle, stretch = min(0.5, strength), 45 * strength, 1 + 0.2 * strength
    seeds = np.random.SeedSequence(seed, spawn_key=(2, epoch, index)).generate_state(5).tolist()
    for number, change in enumerate(
        [
            albumentations.HorizontalFlip(p=flip),
            albumentations.VerticalFlip(p=flip),
            albumentations.Transpose(p=flip),
            albumentations.Affine(
                rotate=(-angle, angle),
                scale=(1 - 0.25 * strength, 1 + 0.25 * strength),
                keep_ratio=True,
                border_mode=cv2.BORDER_REFLECT_101,
                p=strength,
            ),
            albumentations.RandomResizedCrop(
                mask.shape, scale=(1 - 0.5 * strength, 1.0), ratio=(1 / stretch, stretch), p=strength
            ),
        ]
    ):
        change.set_random_seed(seeds[number])
        changed = change(image=image, mask=mask)
        image, mask = changed["image"], changed["mask"]
    return image, mask


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_one_warp_is_what_albumentations_does_one_by_one(strength: float) -> None:
    """Rotation, zoom, crop and flips in their order: bands of a slope of up to .1 a pixel agree to .002, mostly.

    OpenCV knows a place to 1/32 of a pixel; only the kinks where the mirror begins are smoothed once instead of twice.
    Half a pixel amiss would show everywhere, as .03 or so. Masks differ along the edge of the disc alone.
    """
    augment = Augmentation(AugmentConfig(strength=strength, light=0, gain=0, noise=0), (64, 64), SENSOR)
    moved = 0
    for index in range(30):
        expected, expected_mask = _one_by_one(strength, seed=5, epoch=2, index=index)
        image, mask = augment(*_smooth(), seed=5, epoch=2, index=index)
        error = np.abs(image - expected)[4:-4, 4:-4]
        assert np.quantile(error, 0.98) < 0.02
        assert np.median(error) < 0.002
        assert (mask != expected_mask).mean() < 0.03
        moved += np.abs(expected - _smooth()[0]).max() > 0.1
    assert moved > 10


def test_a_mix_that_has_no_chance_copies_nothing() -> None:
    """The batch comes back as it is."""
    batch, truth = np.zeros((2, 4, 4, N_BANDS), "float32"), np.zeros((2, 4, 4, 1), "float32")
    assert (
        Augmentation(AugmentConfig(strength=0.5), SIZE, SENSOR).mix(batch, truth, seed=0, epoch=1, step=0)[0] is batch
    )


def test_a_patch_that_is_changed_is_not_written_to() -> None:
    """Neither image nor mask, also where they are not contiguous, as a transposed one is not."""
    image, mask = (array.swapaxes(0, 1) for array in _patch())
    before, mask_before = image.copy(), mask.copy()
    augment = Augmentation(AugmentConfig(strength=1.0, elastic=1.0, dropout=1.0), SIZE, SENSOR)
    for index in range(20):
        changed, _ = augment(image, mask, seed=0, epoch=1, index=index)
        assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mask, mask_before)


@pytest.mark.parametrize("name", [*FIRST, "elastic", "dropout"])
def test_each_share_scales_the_chance_of_its_own_operation(name: str) -> None:
    """At strength .8 and share .5, 400 patches on which no other operation works change with a chance of .4.

    A flip has .5 * .5 each, so that one of three or more happens to 1 - .75³ = .578. Four standard deviations of a
    share over 400 draws are at most .1. A crop may by chance be the whole patch, and a rotation none: hardly ever.
    """
    image, mask = _patch()
    augment = Augmentation(AugmentConfig(strength=0.8, **NEVER | {name: 0.5}), SIZE, SENSOR)
    changed = [not np.array_equal(augment(image, mask, seed=0, epoch=1, index=index)[0], image) for index in range(400)]
    assert np.mean(changed) == pytest.approx(0.578 if name == "flips" else 0.4, abs=0.1)


@pytest.mark.parametrize("name", ["light", "gain", "noise", "dropout"])
def test_photometric_shares_leave_the_terrain_to_the_others(name: str) -> None:
    """Taking one of them out, or dropout in, changes optical bands alone: the others draw what they drew."""
    for index in range(10):
        image, mask = _augment(0.9, index=index)
        other, other_mask = _augment(0.9, {name: 1.0 if name == "dropout" else 0.0}, index=index)
        assert image[..., TERRAIN].tobytes() == other[..., TERRAIN].tobytes()
        assert mask.tobytes() == other_mask.tobytes()


@pytest.mark.parametrize("shares", [{}, LATER])
def test_values_keep_their_range_and_masks_stay_masks(shares: dict[str, float]) -> None:
    """Stored values up to 14 are not cut off at 1, none is negative or NaN, and masks hold 0 and 1 at full strength."""
    image, _ = _patch()
    maxima = []
    for index in range(50):
        changed, mask = _augment(1.0, shares, index=index)
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
    image = np.repeat(mask[..., None] * 10.0, N_BANDS, axis=2).astype("float32")
    changes = 0
    for index in range(60):
        moved, moved_mask = Augmentation(AugmentConfig(strength=1.0), SIZE, SENSOR)(
            image, mask, seed=3, epoch=1, index=index
        )
        np.testing.assert_allclose(moved[..., TERRAIN[0]], moved[..., TERRAIN[-1]], atol=1e-5)
        # The image is interpolated and the mask is not, so they differ along the edge: 31 pixels long or, with
        # its mirror image and a zoom of 2, some 120 of the 1,024. Light and gain leave 7.6 to 12.6 of the 10.
        assert (((moved > 5) != moved_mask[..., None]).mean((0, 1)) < 0.12).all()
        changes += not np.array_equal(moved_mask, mask)
    assert changes > 50


def _symmetry(image: np.ndarray, strength: float, index: int) -> tuple[bool, bool, bool] | None:
    """(transposed, up-down, left-right) that made the terrain of the outcome; None where it was warped besides."""
    outcome, _ = Augmentation(AugmentConfig(strength=strength), SIZE, SENSOR)(
        image, np.zeros(SIZE, "uint8"), seed=7, epoch=1, index=index
    )
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


CHANGES = pytest.mark.parametrize(
    ("change", "largest"), [(_illumination, 0.2), (_band_gain, 0.05), (_noise, 0.03), (_gaps, 0.25)]
)


@CHANGES
def test_photometric_changes_leave_terrain_alone(change: _Change, largest: float) -> None:
    """Slope and elevation keep every bit, also below sea level; all optical bands change."""
    before, _ = _patch()
    before[..., TERRAIN[-1]] -= 7
    operation = _Photometric(change, largest, SENSOR, p=1.0)
    for seed in range(20):
        image = before.copy()
        operation.set_random_seed(seed)
        operation.apply(image)
        assert image[..., TERRAIN].tobytes() == before[..., TERRAIN].tobytes()
        assert (image != before).any((0, 1))[OPTICAL].all()


@CHANGES
def test_photometric_changes_happen_by_their_chance(change: _Change, largest: float) -> None:
    """Of 400 patches at a chance of .4 about 160 change; four standard deviations of the share are .098."""
    before = np.arange(16 * N_BANDS, dtype="float32").reshape(4, 4, N_BANDS)
    operation = _Photometric(change, largest, SENSOR, p=0.4)
    changed = []
    for seed in range(400):
        image = before.copy()
        operation.set_random_seed(seed)
        operation.apply(image)
        changed.append(not np.array_equal(image, before))
    assert np.mean(changed) == pytest.approx(0.4, abs=0.098)


def _changed(change: _Change, image: np.ndarray, largest: float, seed: int) -> np.ndarray:
    """A copy of `image`, changed."""
    copy = image.copy()
    change(copy, largest, SENSOR, np.random.default_rng(seed))
    return copy


@pytest.mark.parametrize(("strength", "gain", "added"), [(0.5, 1.025 * 1.1, 0.015), (1.0, 1.05 * 1.2, 0.03)])
@pytest.mark.parametrize("value", [0.02, 1.0, 50.0])
def test_optical_values_stay_within_bounds(strength: float, gain: float, added: float, value: float) -> None:
    """On a patch of one value, light and gain multiply by their bounds at most; noise adds its bound of a usual value.

    Downward: 1 - .025 and 1 - .1 at strength .5, 1 - .05 and 1 - .2 at strength 1, and never below 0. Slope and
    elevation come out as they went in, but for the rounding of the interpolation.
    """
    least = (0.975 * 0.9 if strength == 0.5 else 0.95 * 0.8) * value
    image, mask = np.full((*SIZE, N_BANDS), value, "float32"), np.zeros(SIZE, "uint8")
    augment = Augmentation(AugmentConfig(strength=strength), SIZE, SENSOR)
    seen = []
    for index in range(100):
        changed, _ = augment(image, mask, seed=0, epoch=1, index=index)
        optical = changed[..., OPTICAL]
        assert (optical >= np.maximum(0, least - added * TYPICAL) * (1 - 1e-5)).all()
        assert (optical <= (value * gain + added * TYPICAL) * (1 + 1e-5)).all()
        np.testing.assert_allclose(changed[..., TERRAIN], value, rtol=1e-5)
        seen.append(optical.mean())
    # Light alone spreads a hundred patches over nearly twice its bound.
    assert np.ptp(seen) > (gain - 1) * value


def test_gaps_hold_the_means_of_their_patch() -> None:
    """What changes has the band's mean before, in the same pixels of all optical bands; all else keeps every bit.

    On 40 by 20 pixels at .25, sides are up to 10 and 5, so that 8 gaps hide 400 of the 800 at most.
    """
    image = (np.random.default_rng(0).random((40, 20, N_BANDS)) * 14).astype("float32")
    means = image.mean((0, 1), dtype="float64").astype("float32")
    hidden = []
    for seed in range(300):
        changed = _changed(_gaps, image, 0.25, seed)
        inside = (changed != image).any(-1)
        np.testing.assert_array_equal(
            changed[inside][:, OPTICAL], np.broadcast_to(means[OPTICAL], (inside.sum(), len(OPTICAL)))
        )
        np.testing.assert_array_equal(changed[~inside], image[~inside])
        hidden.append(inside.mean())
    # 4.5 gaps of 5.5 by 3 pixels on average: 74 of 800, some less for overlaps. The deviation is
    # sqrt(4.5 * 151 + 5.25 * 16.5²) = 46 pixels (variance of a gap's area, of the number of gaps): over 300 patches
    # four standard errors are .0133.
    assert 0.85 * 0.0928 - 0.0133 < np.mean(hidden) < 0.0928 + 0.0133
    assert max(hidden) <= 0.5


@pytest.mark.parametrize("largest", [0.001, 0.02])
def test_the_smallest_gap_is_a_pixel(largest: float) -> None:
    """A gap of less than a pixel is one."""
    image = np.arange(32 * 32 * N_BANDS, dtype="float32").reshape(32, 32, N_BANDS)
    sizes = {int((_changed(_gaps, image, largest, seed) != image).any(-1).sum()) for seed in range(50)}
    assert min(sizes) == 1
    assert max(sizes) <= 8


def test_elastic_distortion_displaces_by_its_deviation() -> None:
    """On a patch whose bands are its pixels' places, read off the middle: .02 of 128 pixels, less for interpolation.

    At the grid's points, of which one is the centre, the standard deviation is 2.56; neighbours move together.
    """
    rows, columns = np.indices((128, 128), dtype="float32")
    image = np.repeat(rows[..., None], N_BANDS, axis=2)
    image[..., 1] = columns
    mask, elastic, moved = (columns < 60).astype("uint8"), _Elastic(0.02, p=1.0), []
    for seed in range(300):
        elastic.set_random_seed(seed)
        changed, changed_mask = np.empty_like(image), np.empty_like(mask)
        Warp((128, 128)).write([elastic], (image, mask), (changed, changed_mask))
        shift = np.stack([changed[..., 0] - rows, changed[..., 1] - columns])[:, 32:96, 32:96]
        # Cubic interpolation between points 43 pixels apart: from pixel to pixel, nearly the same.
        assert np.abs(np.diff(shift, axis=2)).max() < 0.5
        moved.append(shift[:, 32, 32])
        # The mask goes where the image does, to within the rounding of the nearest pixel.
        sure = np.abs(changed[..., 1] - 59.5) > 0.6
        np.testing.assert_array_equal(changed_mask[sure], changed[..., 1][sure] < 59.5)
    # 600 draws know a standard deviation to 2.9 %: four are 12 %.
    assert np.std(moved) == pytest.approx(2.56, rel=0.12)
    assert abs(np.mean(moved)) < 0.42


def _batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches 16 by 16 whose every pixel says which patch it is from, and where it was; truth is their parity."""
    place = np.arange(256, dtype="float32").reshape(16, 16)
    images = np.stack(
        [np.stack([np.full((16, 16), patch, "float32")] * (N_BANDS - 1) + [place], -1) for patch in range(count)]
    )
    return images, (images[..., :1] + place[..., None]) % 2


def test_cutmix_takes_image_and_truth_from_one_patch_at_one_place() -> None:
    """Each pixel and its truth are those of one patch where they were; foreign is one rectangle of one other."""
    images, masks = _batch(6)
    before, truth_before = images.copy(), masks.copy()
    areas = []
    for seed in range(200):
        mixed, truth = _cut_mix(images, masks, largest=1.0, chance=1.0, random=np.random.default_rng(seed))
        assert (mixed.shape, mixed.dtype, truth.shape, truth.dtype) == (images.shape, "float32", masks.shape, "float32")
        np.testing.assert_array_equal(mixed[..., -1], images[..., -1])
        np.testing.assert_array_equal(truth, (mixed[..., :1] + mixed[..., -1:]) % 2)
        for patch in range(6):
            foreign = mixed[patch, ..., 0] != patch
            assert len(set(mixed[patch][foreign][:, :-1].ravel())) == int(foreign.any())
            inside = np.ix_(foreign.any(1), foreign.any(0))
            assert foreign[inside].all()
            areas.append(foreign.mean())
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(masks, truth_before)
    # With u even in 0..1 a side is v = sqrt(u) of the patch's, of which v - v²/4 stays inside on average: the mean of
    # (v - v²/4)² is 1/2 - 2/5 * 1/2 + 1/3 / 16 = .3208, as E[v²] = 1/2, E[v³] = 2/5, E[v⁴] = 1/3. Five standard
    # errors of 1,200 areas with a deviation below .25 are .036.
    assert np.mean(areas) == pytest.approx(0.3208, abs=0.036)


def test_cutmix_happens_by_its_chance_and_up_to_its_area() -> None:
    """At strength .8 and share .5 some .4 of the patches change, each by up to .8 of its area; the others keep all."""
    images, masks = _batch(8)
    augment = Augmentation(AugmentConfig(strength=0.8, cutmix=0.5), SIZE, SENSOR)
    mixed = [augment.mix(images, masks, seed=0, epoch=1, step=step)[0] for step in range(100)]
    shares = np.stack([(batch != images).any(-1).mean((1, 2)) for batch in mixed])
    # Four standard deviations of a share over 800 draws are .069; rectangles of less than a pixel change nothing:
    # where the area is below 1 / 256 / .8 of the patch, hardly ever.
    assert (shares > 0).mean() == pytest.approx(0.4, abs=0.069)
    # The sides of .8 of 256 pixels are 14.3, which rounds to 15 at the most.
    assert 0.5 < shares.max() <= 15 * 15 / 256
    again = augment.mix(images, masks, seed=0, epoch=1, step=7)[0]
    assert again.tobytes() == mixed[7].tobytes()
    for other in ({"seed": 1}, {"epoch": 2}, {"step": 8}):
        key = {"seed": 0, "epoch": 1, "step": 7} | other
        assert augment.mix(images, masks, **key)[0].tobytes() != again.tobytes()


def test_mixup_lays_one_other_patch_over_all_of_a_patch() -> None:
    """Patch i of six, or as many as there are bands, holds 1 in the i-th of the last bands and 0 elsewhere.

    So the bands of the outcome say whose share is how large.

    The patch keeps .5 or more, one other patch has the rest, in every pixel alike, in slope and elevation too.
    """
    patches = min(6, N_BANDS)
    bands = np.eye(patches, N_BANDS, N_BANDS - patches, dtype="float32")
    images = np.broadcast_to(bands[:, None, None], (patches, 8, 8, N_BANDS)).copy()
    before, veils, partners = images.copy(), [], set()
    for seed in range(200):
        mixed = _mix_up(images, largest=0.5, chance=1.0, random=np.random.default_rng(seed))
        assert (mixed.shape, mixed.dtype) == (images.shape, np.float32)
        np.testing.assert_array_equal(mixed, np.broadcast_to(mixed[:, :1, :1], mixed.shape))
        shares = mixed[:, 0, 0, -patches:]
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
        assert (shares.diagonal() >= 0.5).all()
        assert ((shares > 0).sum(1) == 2).all()
        veils += (1 - shares.diagonal()).tolist()
        partners |= {tuple(np.flatnonzero(row)) for row in shares}
    np.testing.assert_array_equal(images, before)
    assert len(partners) == patches * (patches - 1) / 2
    # Even in 0 to .5, so .25 on average with a deviation of .144; four standard errors, .0167 of 1,200.
    assert np.mean(veils) == pytest.approx(0.25, abs=4 * 0.144 / len(veils) ** 0.5)
    assert max(veils) > 0.49


def test_mixup_happens_by_its_chance_and_up_to_half_its_strength() -> None:
    """At strength .8 and share .5 some .4 of the patches change, each by up to .4 of another; truth keeps every bit."""
    images = np.stack([np.full((4, 4, N_BANDS), patch, "float32") for patch in (0.0, 1.0)])
    masks = np.arange(32, dtype="float32").reshape(2, 4, 4, 1) % 2
    augment = Augmentation(AugmentConfig(strength=0.8, mixup=0.5), (4, 4), SENSOR)
    batches = [augment.mix(images, masks, seed=0, epoch=1, step=step) for step in range(400)]
    # Of two patches, 0 and 1, the change is the other's share itself.
    shares = np.abs(np.stack([mixed[:, 0, 0, 0] for mixed, _ in batches]) - [0, 1])
    # Four standard deviations of a share over 800 draws are .069.
    assert (shares > 0).mean() == pytest.approx(0.4, abs=0.069)
    assert 0.35 < shares.max() <= 0.4 + 1e-6
    assert all(truth.tobytes() == masks.tobytes() for _, truth in batches)
    assert augment.mix(images, masks, seed=0, epoch=1, step=7)[0].tobytes() == batches[7][0].tobytes()
    for other in ({"seed": 1}, {"epoch": 2}):
        key = {"seed": 0, "epoch": 1} | other
        again = [augment.mix(images, masks, **key, step=step)[0] for step in range(5)]
        assert any(one.tobytes() != two.tobytes() for one, (two, _) in zip(again, batches, strict=False))


def test_mixup_and_cutmix_do_not_touch_each_others_draws() -> None:
    """With both, rectangles are those of CutMix alone, and outside of them patches are those of mix-up alone."""
    images, masks = _batch(6)
    outcomes = {
        names: Augmentation(AugmentConfig(strength=1.0, **dict.fromkeys(names, 1.0)), SIZE, SENSOR).mix(
            images, masks, seed=0, epoch=1, step=0
        )
        for names in (("mixup",), ("cutmix",), ("mixup", "cutmix"))
    }
    (veiled, _), (cut, cut_truth), (both, both_truth) = outcomes.values()
    assert both_truth.tobytes() == cut_truth.tobytes()
    outside = (cut == images).all(-1)
    assert 0.1 < outside.mean() < 0.9
    np.testing.assert_array_equal(both[outside], veiled[outside])


def test_a_batch_of_one_is_not_mixed() -> None:
    """There is no other patch."""
    images, masks = _batch(1)
    assert _mix_up(images, largest=0.5, chance=1.0, random=np.random.default_rng(0)).tobytes() == images.tobytes()
    mixed, truth = _cut_mix(images, masks, largest=1.0, chance=1.0, random=np.random.default_rng(0))
    assert mixed.tobytes() == images.tobytes()
    assert truth.tobytes() == masks.tobytes()


def _gains(change: _Change, largest: float, draws: int) -> np.ndarray:
    """What one change makes of ones: `(draws, C)` at the first pixel."""
    ones = np.ones((2, 2, N_BANDS), "float32")
    return np.stack([_changed(change, ones, largest, seed)[0, 0] for seed in range(draws)])


def test_bands_share_the_light_and_nothing_else() -> None:
    """Light multiplies all optical bands alike; gains and noise of two bands have nothing to do with each other."""
    light = _gains(_illumination, 0.2, 50)[:, OPTICAL]
    np.testing.assert_array_equal(light, np.repeat(light[:, :1], len(OPTICAL), axis=1))
    assert np.unique(light).size == 50
    # Of 1,000 independent draws a correlation has a standard deviation of 1 / sqrt(1,000) = .032; five are .16.
    for change, largest in ((_band_gain, 0.05), (_noise, 0.03)):
        correlation = np.corrcoef(_gains(change, largest, 1000)[:, OPTICAL], rowvar=False)
        assert np.abs(correlation - np.eye(len(OPTICAL))).max() < 0.16


def test_gains_are_the_same_everywhere_and_noise_nowhere() -> None:
    """A gain is one number a band; noise in a pixel says nothing of its neighbours, nor of its other bands."""
    image = np.ones((64, 64, N_BANDS), "float32")
    for change, largest in ((_illumination, 0.2), (_band_gain, 0.05)):
        changed = _changed(change, image, largest, 0)
        np.testing.assert_array_equal(changed, np.broadcast_to(changed[0, 0], changed.shape))
    added = (_changed(_noise, image, 0.03, 0)[..., OPTICAL] - 1) / TYPICAL
    # Even in -+ .03, so a standard deviation of .03 / sqrt(3) = .01732; that of 16,384 values is known to .4 %.
    assert added.std() == pytest.approx(0.01732, rel=0.01)
    neighbours = np.mean(added[:, 1:] * added[:, :-1]), np.mean(added[1:] * added[:-1])
    bands = np.mean(added[..., 1:] * added[..., :-1])
    # Means of so many products or more, whose standard deviation is .01732² = 3e-4: five standard errors.
    assert np.abs([*neighbours, bands]).max() < 5 * 3e-4 / (64 * 64 * (len(OPTICAL) - 1)) ** 0.5


def test_photometric_changes_keep_the_mean() -> None:
    """Over many draws a value is on average what it was, at full strength and close to 0 too."""
    for value in (0.02, 1.0, 14.0):
        image = np.full((8, 8, N_BANDS), value, "float32")
        means = {
            change: np.mean([_changed(change, image, largest, seed)[..., OPTICAL] for seed in range(1000)])
            for change, largest in ((_illumination, 0.2), (_band_gain, 0.05), (_noise, 0.03))
        }
        # Four standard errors. Light: .2 / sqrt(3) / sqrt(1,000) = .00365 of the value. Gains: .05 / sqrt(3) over
        # 12,000 draws = .00026 of it. Noise: at most .03 / sqrt(3) over 768,000 draws = .00002.
        assert means[_illumination] == pytest.approx(value, abs=0.0146 * value)
        assert means[_band_gain] == pytest.approx(value, abs=0.00106 * value)
        assert means[_noise] == pytest.approx(value, abs=0.00008)


def test_a_patch_depends_on_seed_epoch_and_index_alone() -> None:
    """Whatever was drawn before, and in whatever thread, the same key gives the same patch."""
    expected = [_augment(0.8, LATER, index=index) for index in range(24)]
    used = Augmentation(AugmentConfig(strength=0.8, **LATER), SIZE, SENSOR)
    for index in reversed(range(24)):
        again = used(*_patch(), seed=0, epoch=1, index=index)
        np.testing.assert_array_equal(again[0], expected[index][0])
        np.testing.assert_array_equal(again[1], expected[index][1])
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda index: _augment(0.8, LATER, index=index), range(24)))
    for (image, mask), (expected_image, expected_mask) in zip(threaded, expected, strict=True):
        np.testing.assert_array_equal(image, expected_image)
        np.testing.assert_array_equal(mask, expected_mask)


def digest() -> str:
    """Of twelve augmented patches and their masks, one by one and mixed, with every operation."""
    found = hashlib.sha256()
    pairs = [_augment(0.8, LATER, index=index) for index in range(12)]
    images, masks = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    config = AugmentConfig(strength=0.8, **LATER)
    mixed = Augmentation(config, SIZE, SENSOR).mix(images, masks[..., None], seed=0, epoch=1, step=0)
    for array in (images, masks, *mixed):
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
    )
    assert child.stdout.split()[-1] == digest()


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 2}, {"index": 1}])
def test_every_part_of_the_key_counts(other: dict[str, int]) -> None:
    """Another seed, epoch or index gives another patch, in its optical bands and in its terrain."""
    image, changed = _augment(1.0)[0], _augment(1.0, **other)[0]
    assert not np.array_equal(image[..., TERRAIN], changed[..., TERRAIN])
    constant = np.ones((*SIZE, N_BANDS), "float32"), np.zeros(SIZE, "uint8")
    augment, key = Augmentation(AugmentConfig(strength=1.0), SIZE, SENSOR), {"seed": 0, "epoch": 1, "index": 0}
    assert not np.array_equal(augment(*constant, **key)[0], augment(*constant, **key | other)[0])


@pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no folder of real patches")
def test_real_patches_stay_plausible() -> None:
    """A real patch keeps its terrain's range and its masks' values, and no band leaves its bounds."""
    from lsml.data.formats import read_image, read_mask

    root = Path(os.environ["LSML_REAL_DATA"]) / "landslide4sense"
    paths = sorted((root / "img").glob("*.h5"))[:4]
    augment = Augmentation(AugmentConfig(strength=1.0), (128, 128), SENSOR)
    for index, path in enumerate(paths):
        image = read_image(path, SENSOR).astype("float32")
        mask = read_mask(root / "mask" / path.name.replace("image", "mask"), SENSOR)
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
