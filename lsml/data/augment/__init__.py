"""Random changes of training patches, geometric, photometric and between patches, drawn from (seed, epoch, place)."""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from lsml.config.schema import AugmentConfig
from lsml.data.augment.warp import Operation, Patch, Warp, geometric
from lsml.data.sensor import Sensor

_STREAM = 2
"""Keeps these random numbers apart from others that derive from the same seed (weights 0, patch order 1)."""


_ILLUMINATION = 0.2
"""Largest relative change of the light that all optical bands share. Level-1C reflectance is corrected for the sun's
height over flat ground only: with the sun 35 degrees from the zenith, ground tilted by 15 degrees towards it gets
cos 20 / cos 35 = 1.15 of that light, tilted away cos 50 / cos 35 = .78."""

_BAND_GAIN = 0.05
"""Largest relative change of one band. Sentinel-2's radiometric accuracy is specified as better than 5 % (goal 3 %)."""

_NOISE = 0.03
"""Largest change of one pixel in one band, as a share of the band's typical value. Evenly distributed, it has a
standard deviation of .017, which is a signal-to-noise ratio of 58 where a band has that value, in Landslide4Sense 1:
Sentinel-2's is specified as 89 to
174 at reference radiance in the bands used here, 50 in B10. Beside what B10's values spread (1.9) it is nothing."""

_GAP = 0.25
"""Largest side of a gap, as a share of the patch's."""

_GAPS = 8
"""The most gaps in a patch: at full strength they hide half of it at most, and some 7 % on average."""

_Change = Callable[[np.ndarray, float, Sensor, np.random.Generator], None]
"""Writes to an image float32 `(H, W, C)`, contiguous; NumPy is fast along its rows, not along a few bands."""


def _illumination(image: np.ndarray, largest: float, sensor: Sensor, random: np.random.Generator) -> None:
    """All optical bands times one gain, even in 1 -+ `largest`."""
    _multiply(image, 1 + largest * random.uniform(-1, 1, 1), sensor)


def _band_gain(image: np.ndarray, largest: float, sensor: Sensor, random: np.random.Generator) -> None:
    """Each optical band times a gain of its own, even in 1 -+ `largest`."""
    _multiply(image, 1 + largest * random.uniform(-1, 1, len(sensor)), sensor)


def _noise(image: np.ndarray, largest: float, sensor: Sensor, random: np.random.Generator) -> None:
    """Each optical value plus a number of its own, even in -+ `largest` of the typical, or -+ the value if smaller.

    So no value changes its sign, and none is cut off, which would shift the mean. Of each range 65,536 steps are drawn.
    """
    rows = image.reshape(len(image), -1)
    bounds = np.abs(rows)
    bounds *= 1 / _STEPS
    np.minimum(bounds, _along_row(np.where(sensor.optical, largest / _STEPS * sensor.typical, 0), image), out=bounds)
    steps = random.bit_generator.random_raw(-(-rows.size // 4)).view(np.int16)[: rows.size].reshape(rows.shape)
    bounds *= steps
    rows += bounds


_STEPS = 1 << 15
"""On either side of zero."""


def _gaps(image: np.ndarray, largest: float, sensor: Sensor, random: np.random.Generator) -> None:
    """One to eight rectangles in which every optical band has its mean over the patch, as where clouds were cut out.

    Sides are even in one pixel to `largest` of the patch's, each its own. Terrain is known whatever the weather, and
    what is true on the ground stays true: a network may tell what it does not see by what lies around it.
    """
    means = image.mean((0, 1), dtype=np.float64).astype(np.float32)[sensor.optical]
    for _ in range(random.integers(1, _GAPS, endpoint=True)):
        rows, columns = (_gap(length, largest, random) for length in image.shape[:2])
        image[rows, columns, sensor.optical] = means


def _gap(length: int, largest: float, random: np.random.Generator) -> slice:
    side = int(random.integers(1, max(1, round(largest * length)), endpoint=True))
    start = int(random.integers(0, length - side, endpoint=True))
    return slice(start, start + side)


def _multiply(image: np.ndarray, gains: np.ndarray, sensor: Sensor) -> None:
    rows = image.reshape(len(image), -1)
    rows *= _along_row(np.where(sensor.optical, gains, 1), image)


def _along_row(bands: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`(C,)` repeated to float32 `(W * C,)`."""
    return np.tile(bands.astype(np.float32), image.shape[1])


class _Photometric(Operation):
    """A change of the optical bands that happens by chance.

    Args:
        change: `_illumination`, `_band_gain`, `_noise` or `_gaps`.
        largest: passed on to it.
        sensor: says which bands are optical.
        p: its chance, 0..1.
    """

    def __init__(self, change: _Change, largest: float, sensor: Sensor, *, p: float) -> None:
        super().__init__(p=p)
        self._of_bands, self._largest, self._sensor = change, largest, sensor

    def apply(self, image: np.ndarray) -> None:
        """Writes the change to an image float32 `(H, W, C)`, if it happens."""
        if self.should_apply():
            self._of_bands(image, self._largest, self._sensor, self._random)


_FADING = 0.5
"""Largest share that mix-up gives to the other patch: above it the truth would be that of the lesser part."""

_CUTTING = 1.0
"""Largest share of a patch that a rectangle replaces; even in 0 to 1 is what Yun et al. 2019 use (Beta(1, 1))."""


def _mix_up(images: np.ndarray, *, largest: float, chance: float, random: np.random.Generator) -> np.ndarray:
    """Mix-up (Zhang et al. 2018) in which each patch has its chance and its own share, and keeps its truth.

    A patch becomes (1 - a) times itself plus a times another, as that was before mixing, a even in 0 to `largest`.
    Zhang et al. mix one-hot truth alike; here it stays that of the patch, which is the greater part, since losses over
    regions and hard examples are defined for masks of 0 and 1. So the other patch is a veil that the network has to
    see through. At `largest` .5, 1 - a is as the greater of the two shares under their Beta(1, 1).

    All bands are mixed, slope and elevation too: what is between two patches is no place, in its bands no more than in
    its terrain, and terrain of one patch under the light of two would teach the network to believe the terrain.

    Args:
        images: stored bands `(B, H, W, C)`, not written to; a batch of one stays as it is.
        largest: 0.. .5.
        chance: that a patch is mixed, 0..1.
    """
    mixed = images.copy()
    for patch in range(len(images)):
        other = _other(patch, len(images), chance, random)
        if other is not None:
            share = np.float32(random.uniform(0, largest))
            mixed[patch] = (1 - share) * images[patch] + share * images[other]
    return mixed


def _cut_mix(
    images: np.ndarray, masks: np.ndarray, *, largest: float, chance: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """CutMix (Yun et al. 2019), in which each patch, not each batch, has its chance and its own rectangle.

    The rectangle has the patch's proportions, an area even in 0 to `largest` of it and a centre anywhere; what lies
    outside is cut off. Image and truth inside are those of another patch at the same place, as it was before mixing.
    For each pixel has one truth, masks stay 0 and 1; a batch of one stays as it is.

    Args:
        images: stored bands `(B, H, W, C)`, not written to.
        masks: `(B, H, W, 1)`, not written to.
        largest: 0..1.
        chance: that a patch is given a rectangle, 0..1.
    """
    mixed, truth = images.copy(), masks.copy()
    for patch in range(len(images)):
        other = _other(patch, len(images), chance, random)
        if other is not None:
            side = math.sqrt(random.uniform(0, largest))
            inside = tuple(_range(side, length, random) for length in images.shape[1:3])
            mixed[patch][inside], truth[patch][inside] = images[other][inside], masks[other][inside]
    return mixed, truth


def _other(patch: int, count: int, chance: float, random: np.random.Generator) -> int | None:
    """Which of the `count` patches of a batch is mixed with `patch`; None where none is, or there is no other."""
    if count == 1 or random.random() >= chance:
        return None
    return (patch + int(random.integers(1, count))) % count


def _range(side: float, length: int, random: np.random.Generator) -> slice:
    """`side` of a `length` around a centre anywhere in it."""
    half, centre = side * length / 2, random.uniform(0, length)
    return slice(max(0, round(centre - half)), min(length, round(centre + half)))


def _photometric(config: AugmentConfig, sensor: Sensor) -> Iterator[tuple[int, _Photometric]]:
    """The photometric changes in their order, that in which light, sensor and noise act, each with its number.

    They come after the geometric ones: noise belongs to the pixels that the network sees, and interpolation would
    smooth it. Slope and elevation are no light and stay out of them.
    """
    s = config.strength
    yield 5, _Photometric(_illumination, _ILLUMINATION * s, sensor, p=s * config.light)
    yield 6, _Photometric(_band_gain, _BAND_GAIN * s, sensor, p=s * config.gain)
    yield 7, _Photometric(_noise, _NOISE * s, sensor, p=s * config.noise)
    yield 9, _Photometric(_gaps, _GAP * s, sensor, p=s * config.dropout)


_CUT_MIX, _MIX_UP = 10, 11
"""Their numbers."""


class Augmentation:
    """Augments patches of one size; what comes out depends on (seed, epoch, index) and on nothing drawn before.

    An object holds the operations' state and serves one thread. At a strength s these apply, in this order:

    | operation | at strength s | chance |
    |---|---|---|
    | flip left-right, flip up-down, transpose | together all eight symmetries of the square | min(.5, s) flips each |
    | rotation and zoom about the centre | within 45 s degrees, zoom 1 -+ .25 s; the border is a mirror | s rotation |
    | crop, resized back | 1 - .5 s to all of the area, sides stretched by up to .2 s | s crop |
    | elastic distortion | displaced by .02 s of the side (standard deviation) | s elastic |
    | light on all optical bands | times 1 -+ .2 s | s light |
    | gain of each optical band | times 1 -+ .05 s, each its own | s gain |
    | noise in each optical value | plus -+ .03 s of its typical one, each its own | s noise |
    | gaps in all optical bands | 1 to 8 rectangles of up to .25 s of the side, filled with means | s dropout |
    | mix-up, in `mix` | up to .5 s of another patch of the batch over all of it | s mixup |
    | CutMix, in `mix` | a rectangle of up to s of the area from another patch of the batch | s cutmix |

    flips, rotation, ... are the shares of `AugmentConfig`. The geometric ones are one `lsml.data.augment.warp.Warp`. An
    operation's random numbers derive from its number, wherever it stands: a new one takes the next that is free.

    Args:
        config: strength 0 leaves every patch as it is.
        size: height and width of the patches, equal.
        sensor: of their bands.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int], sensor: Sensor) -> None:
        # A patch is too small to share among cores: OpenCV's threads only take them from the network.
        cv2.setNumThreads(1)
        self._config, self._warp = config, Warp(size)
        self._geometric = [found for found in geometric(config, size) if config.strength and found[1].p]
        self._photometric = [found for found in _photometric(config, sensor) if config.strength and found[1].p]

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, *, seed: int, epoch: int, index: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A patch float32 `(H, W, C)` and its mask uint8 `(H, W)`, changed as `write` does it."""
        target = np.empty(image.shape, np.float32), np.empty(mask.shape, np.uint8)
        self.write((image, mask), target, seed=seed, epoch=epoch, index=index)
        return target

    def write(self, source: Patch, target: Patch, *, seed: int, epoch: int, index: int) -> None:
        """Writes a patch to where it is to stand, changed.

        Args:
            source: not written to.
            target: contiguous arrays of the same shapes and types.
            seed: of the training run.
            epoch: which epoch, from 1.
            index: the patch's place in the split; where it comes more than once in an epoch, the length of the split
                more for each time before.
        """
        seeds = _sequence(seed, epoch, index).generate_state(_CUT_MIX).tolist()
        for number, operation in (*self._geometric, *self._photometric):
            # One seed for all, as `Compose` gives, would flip both ways together or not at all.
            operation.set_random_seed(seeds[number])
        self._warp.write([operation for _, operation in self._geometric], source, target)
        for _, operation in self._photometric:
            operation.apply(target[0])

    def mix(
        self, images: np.ndarray, masks: np.ndarray, *, seed: int, epoch: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch of augmented patches float32 `(B, H, W, C)` and masks `(B, H, W, 1)`, mixed.

        Args:
            seed: of the training run.
            epoch: which epoch, from 1.
            step: the batch's place in the epoch.
        """
        s = self._config.strength
        if chance := s * self._config.mixup:
            random = np.random.default_rng(_sequence(seed, epoch, step, _MIX_UP))
            images = _mix_up(images, largest=_FADING * s, chance=chance, random=random)
        if chance := s * self._config.cutmix:
            random = np.random.default_rng(_sequence(seed, epoch, step, _CUT_MIX))
            images, masks = _cut_mix(images, masks, largest=_CUTTING * s, chance=chance, random=random)
        return images, masks


def _sequence(seed: int, *place: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_STREAM, *place))
