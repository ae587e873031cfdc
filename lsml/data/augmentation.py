"""Random changes of training patches, geometric, photometric and between patches, drawn from (seed, epoch, place)."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from lsml.config.schema import AugmentConfig
from lsml.data.sensor import ELEVATION, N_BANDS, SLOPE

# Without this, importing albumentations asks a server for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

_STREAM = 2
"""Keeps these random numbers apart from others that derive from the same seed (weights 0, patch order 1)."""

_MAX_ROTATION = 45.0
_MAX_ZOOM = 0.25
_MAX_STRETCH = 0.2
_SMALLEST_CROP = 0.5


class _Operation(ABC):
    """A change of a patch that happens by chance.

    Args:
        p: its chance, 0..1.
    """

    def __init__(self, *, p: float) -> None:
        self.p = p
        self._random = np.random.default_rng()

    def set_random_seed(self, seed: int) -> None:
        """Everything drawn from here on follows from `seed`."""
        self._random = np.random.default_rng(seed)

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """`image` float32 `(H, W, 14)` and `mask` uint8 `(H, W)` as they are or changed; neither is written to."""
        if self._random.random() < self.p:
            image, mask = self._change(image, mask)
        return {"image": image, "mask": mask}

    @abstractmethod
    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, changed by what `self._random` draws."""


_ELASTIC = 0.02
"""Largest standard deviation of the displacement, as a share of the patch's side: Ronneberger et al. 2015 move tiles
of 512 pixels by 10."""

_GRID = 3
"""Displacements are drawn on 3 x 3 points and interpolated between them, as there."""


class _Elastic(_Operation):
    """A distortion that happens by chance.

    Not albumentations' `ElasticTransform`: it smooths noise with its borders repeated, so that corners move by six
    times as much as the centre (measured at sigma 8 on 128 pixels), and takes nine times as long.

    Args:
        deviation: standard deviation of the displacement at the grid's points, as a share of the side.
        p: its chance, 0..1.
    """

    def __init__(self, deviation: float, *, p: float) -> None:
        super().__init__(p=p)
        self._deviation = deviation

    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves the image with linear interpolation, the mask with the nearest; outside lies the mirror image."""
        height, width = mask.shape
        drawn = self._random.normal(0, self._deviation, (_GRID, _GRID, 2)) * (width, height)
        moved = cv2.resize(drawn.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        # OpenCV wants its arrays contiguous, which a transposed patch is not.
        places = columns + moved[..., 0], rows + moved[..., 1]
        return (
            _remap(np.ascontiguousarray(image), *places, cv2.INTER_LINEAR),
            _remap(np.ascontiguousarray(mask), *places, cv2.INTER_NEAREST),
        )


def _remap(array: np.ndarray, columns: np.ndarray, rows: np.ndarray, interpolation: int) -> np.ndarray:
    return np.asarray(cv2.remap(array, columns, rows, interpolation, borderMode=cv2.BORDER_REFLECT_101))


_OPTICAL = np.array([band not in (SLOPE, ELEVATION) for band in range(N_BANDS)])
"""bool `(14,)`: the bands that hold reflectance."""

_ILLUMINATION = 0.2
"""Largest relative change of the light that all optical bands share. Level-1C reflectance is corrected for the sun's
height over flat ground only: with the sun 35 degrees from the zenith, ground tilted by 15 degrees towards it gets
cos 20 / cos 35 = 1.15 of that light, tilted away cos 50 / cos 35 = .78."""

_BAND_GAIN = 0.05
"""Largest relative change of one band. Sentinel-2's radiometric accuracy is specified as better than 5 % (goal 3 %)."""

_NOISE = 0.03
"""Largest change of one pixel in one band, in stored units. Evenly distributed, it has a standard deviation of .017,
which is a signal-to-noise ratio of 58 where a band has its usual value of about 1: Sentinel-2's is specified as 89 to
174 at reference radiance in the bands used here, 50 in B10. Beside what B10's values spread (1.9) it is nothing."""

_GAP = 0.25
"""Largest side of a gap, as a share of the patch's."""

_GAPS = 8
"""The most gaps in a patch: at full strength they hide half of it at most, and some 7 % on average."""

_Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def _illumination(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """All optical bands times one gain, even in 1 -+ `largest`."""
    return _times(image, 1 + largest * random.uniform(-1, 1, 1))


def _band_gain(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Each optical band times a gain of its own, even in 1 -+ `largest`."""
    return _times(image, 1 + largest * random.uniform(-1, 1, N_BANDS))


def _noise(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Each optical value plus a number of its own, even in -+ `largest`, or in -+ the value where that is smaller.

    So no value changes its sign, and none is cut off, which would shift the mean.
    """
    rows = image.reshape(len(image), -1)
    bounds = np.abs(rows)
    np.minimum(bounds, _along_rows(np.where(_OPTICAL, largest, 0), image), out=bounds)
    changed = random.random(rows.shape, np.float32)
    changed *= 2
    changed -= 1
    changed *= bounds
    changed += rows
    return changed.reshape(image.shape)


def _gaps(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """One to eight rectangles in which every optical band has its mean over the patch, as where clouds were cut out.

    Sides are even in one pixel to `largest` of the patch's, each its own. Terrain is known whatever the weather, and
    what is true on the ground stays true: a network may tell what it does not see by what lies around it.
    """
    changed = image.copy()
    means = image.mean((0, 1), dtype=np.float64).astype(np.float32)[_OPTICAL]
    for _ in range(random.integers(1, _GAPS, endpoint=True)):
        rows, columns = (_gap(length, largest, random) for length in image.shape[:2])
        changed[rows, columns, _OPTICAL] = means
    return changed


def _gap(length: int, largest: float, random: np.random.Generator) -> slice:
    side = int(random.integers(1, max(1, round(largest * length)), endpoint=True))
    start = int(random.integers(0, length - side, endpoint=True))
    return slice(start, start + side)


def _times(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    rows = image.reshape(len(image), -1)
    return (rows * _along_rows(np.where(_OPTICAL, gains, 1), image)).reshape(image.shape)


def _along_rows(bands: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`(14,)` repeated to float32 `(W * 14,)`: NumPy is fast along long rows, not along fourteen bands."""
    return np.tile(bands.astype(np.float32), image.shape[1])


class _Photometric(_Operation):
    """A change of the optical bands that happens by chance; the mask stays as it is.

    Args:
        change: `_illumination`, `_band_gain`, `_noise` or `_gaps`.
        largest: passed on to it.
        p: its chance, 0..1.
    """

    def __init__(self, change: _Change, largest: float, *, p: float) -> None:
        super().__init__(p=p)
        self._of_bands, self._largest = change, largest

    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._of_bands(image, self._largest, self._random), mask


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
        images: stored bands `(B, H, W, 14)`, not written to; a batch of one stays as it is.
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
        images: stored bands `(B, H, W, 14)`, not written to.
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


def _operations_of(
    config: AugmentConfig, size: tuple[int, int]
) -> Iterator[tuple[int, albumentations.DualTransform | _Operation]]:
    """What a strength s above 0 does to a patch, in the order in which it applies, each with its number.

    | operation | at strength s | chance |
    |---|---|---|
    | flip left-right, flip up-down, transpose | together all eight symmetries of the square | min(.5, s) flips each |
    | rotation and zoom about the centre | within 45 s degrees, zoom 1 -+ .25 s; the border is a mirror | s rotation |
    | crop, resized back | 1 - .5 s to all of the area, sides stretched by up to .2 s | s crop |
    | elastic distortion | displaced by .02 s of the side (standard deviation) | s elastic |
    | light on all optical bands | times 1 -+ .2 s | s light |
    | gain of each optical band | times 1 -+ .05 s, each its own | s gain |
    | noise in each optical value | plus -+ .03 s, each its own | s noise |
    | gaps in all optical bands | 1 to 8 rectangles of up to .25 s of the side, filled with means | s dropout |
    | mix-up, in `Augmentation.mix` | up to .5 s of another patch of the batch over all of it | s mixup |
    | CutMix, in `Augmentation.mix` | a rectangle of up to s of the area from another patch of the batch | s cutmix |

    flips, rotation, ... are the shares of `AugmentConfig`. The geometric operations alter values only by interpolation
    between pixels. The photometric ones come after them, in the order in which light, sensor and noise act: noise
    belongs to the pixels that the network sees, and interpolation would smooth it. Slope and elevation are no light
    and stay out of them.

    An operation's random numbers derive from its number, wherever it stands: a new one takes the next that is free.
    """
    s = config.strength
    symmetry = min(0.5, s) * config.flips
    yield 0, albumentations.HorizontalFlip(p=symmetry)
    yield 1, albumentations.VerticalFlip(p=symmetry)
    yield 2, albumentations.Transpose(p=symmetry)
    yield 3, _rotation(s, chance=s * config.rotation)
    yield 4, _crop(s, size, chance=s * config.crop)
    yield 8, _Elastic(_ELASTIC * s, p=s * config.elastic)
    yield 5, _Photometric(_illumination, _ILLUMINATION * s, p=s * config.light)
    yield 6, _Photometric(_band_gain, _BAND_GAIN * s, p=s * config.gain)
    yield 7, _Photometric(_noise, _NOISE * s, p=s * config.noise)
    yield 9, _Photometric(_gaps, _GAP * s, p=s * config.dropout)


_CUT_MIX, _MIX_UP = 10, 11
"""Their numbers."""


def _rotation(strength: float, *, chance: float) -> albumentations.Affine:
    return albumentations.Affine(
        rotate=(-_MAX_ROTATION * strength, _MAX_ROTATION * strength),
        scale=(1 - _MAX_ZOOM * strength, 1 + _MAX_ZOOM * strength),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        p=chance,
    )


def _crop(strength: float, size: tuple[int, int], *, chance: float) -> albumentations.RandomResizedCrop:
    stretch = 1 + _MAX_STRETCH * strength
    return albumentations.RandomResizedCrop(
        size,
        scale=(1 - _SMALLEST_CROP * strength, 1.0),
        ratio=(1 / stretch, stretch),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=chance,
    )


class Augmentation:
    """Augments patches of one size; what comes out depends on (seed, epoch, index) and on nothing drawn before.

    An object holds the operations' state and serves one thread.

    Args:
        config: strength 0 leaves every patch as it is; see `_operations_of`.
        size: height and width of the patches, equal.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int]) -> None:
        # A patch is too small to share among cores: OpenCV's threads only take them from the network.
        cv2.setNumThreads(1)
        self._config = config
        found = _operations_of(config, size) if config.strength > 0 else ()
        self._operations = [(number, operation) for number, operation in found if operation.p > 0]

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, *, seed: int, epoch: int, index: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A patch float32 `(H, W, 14)` and its mask uint8 `(H, W)`, moved alike; neither is written to.

        Args:
            seed: of the training run.
            epoch: which epoch, from 1.
            index: the patch's place in the split; where it comes more than once in an epoch, the length of the split
                more for each time before.
        """
        for number, operation in self._operations:
            # One seed for all, as `Compose` gives, would flip both ways together or not at all.
            operation.set_random_seed(int(_sequence(seed, epoch, index, number).generate_state(1)[0]))
            changed = operation(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return image, mask

    def mix(
        self, images: np.ndarray, masks: np.ndarray, *, seed: int, epoch: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch of augmented patches float32 `(B, H, W, 14)` and masks `(B, H, W, 1)`, mixed.

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


def _sequence(seed: int, epoch: int, place: int, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_STREAM, epoch, place, number))
