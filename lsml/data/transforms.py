"""Random changes of a patch of our own: elastic distortion, light, gain, noise and gaps in optical bands, mixing."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import cv2
import numpy as np

from lsml.data.sensor import ELEVATION, N_BANDS, SLOPE


class Operation(ABC):
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


ELASTIC = 0.02
"""Largest standard deviation of the displacement, as a share of the patch's side: Ronneberger et al. 2015 move tiles
of 512 pixels by 10."""

GRID = 3
"""Displacements are drawn on 3 x 3 points and interpolated between them, as there."""


class Elastic(Operation):
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
        drawn = self._random.normal(0, self._deviation, (GRID, GRID, 2)) * (width, height)
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


OPTICAL = np.array([band not in (SLOPE, ELEVATION) for band in range(N_BANDS)])
"""bool `(14,)`: the bands that hold reflectance."""

ILLUMINATION = 0.2
"""Largest relative change of the light that all optical bands share. Level-1C reflectance is corrected for the sun's
height over flat ground only: with the sun 35 degrees from the zenith, ground tilted by 15 degrees towards it gets
cos 20 / cos 35 = 1.15 of that light, tilted away cos 50 / cos 35 = .78."""

BAND_GAIN = 0.05
"""Largest relative change of one band. Sentinel-2's radiometric accuracy is specified as better than 5 % (goal 3 %)."""

NOISE = 0.03
"""Largest change of one pixel in one band, in stored units. Evenly distributed, it has a standard deviation of .017,
which is a signal-to-noise ratio of 58 where a band has its usual value of about 1: Sentinel-2's is specified as 89 to
174 at reference radiance in the bands used here, 50 in B10. Beside what B10's values spread (1.9) it is nothing."""

GAP = 0.25
"""Largest side of a gap, as a share of the patch's."""

GAPS = 8
"""The most gaps in a patch: at full strength they hide half of it at most, and some 7 % on average."""

Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def illumination(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """All optical bands times one gain, even in 1 -+ `largest`."""
    return _times(image, 1 + largest * random.uniform(-1, 1, 1))


def band_gain(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Each optical band times a gain of its own, even in 1 -+ `largest`."""
    return _times(image, 1 + largest * random.uniform(-1, 1, N_BANDS))


def noise(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Each optical value plus a number of its own, even in -+ `largest`, or in -+ the value where that is smaller.

    So no value changes its sign, and none is cut off, which would shift the mean.
    """
    rows = image.reshape(len(image), -1)
    bounds = np.abs(rows)
    np.minimum(bounds, _along_rows(np.where(OPTICAL, largest, 0), image), out=bounds)
    changed = random.random(rows.shape, np.float32)
    changed *= 2
    changed -= 1
    changed *= bounds
    changed += rows
    return changed.reshape(image.shape)


def gaps(image: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """One to eight rectangles in which every optical band has its mean over the patch, as where clouds were cut out.

    Sides are even in one pixel to `largest` of the patch's, each its own. Terrain is known whatever the weather, and
    what is true on the ground stays true: a network may tell what it does not see by what lies around it.
    """
    changed = image.copy()
    means = image.mean((0, 1), dtype=np.float64).astype(np.float32)[OPTICAL]
    for _ in range(random.integers(1, GAPS, endpoint=True)):
        rows, columns = (_gap(length, largest, random) for length in image.shape[:2])
        changed[rows, columns, OPTICAL] = means
    return changed


def _gap(length: int, largest: float, random: np.random.Generator) -> slice:
    side = int(random.integers(1, max(1, round(largest * length)), endpoint=True))
    start = int(random.integers(0, length - side, endpoint=True))
    return slice(start, start + side)


def _times(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    rows = image.reshape(len(image), -1)
    return (rows * _along_rows(np.where(OPTICAL, gains, 1), image)).reshape(image.shape)


def _along_rows(bands: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`(14,)` repeated to float32 `(W * 14,)`: NumPy is fast along long rows, not along fourteen bands."""
    return np.tile(bands.astype(np.float32), image.shape[1])


class Photometric(Operation):
    """A change of the optical bands that happens by chance; the mask stays as it is.

    Args:
        change: `illumination`, `band_gain`, `noise` or `gaps`.
        largest: passed on to it.
        p: its chance, 0..1.
    """

    def __init__(self, change: Change, largest: float, *, p: float) -> None:
        super().__init__(p=p)
        self._of_bands, self._largest = change, largest

    def _change(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._of_bands(image, self._largest, self._random), mask


FADING = 0.5
"""Largest share that mix-up gives to the other patch: above it the truth would be that of the lesser part."""

CUTTING = 1.0
"""Largest share of a patch that a rectangle replaces; even in 0 to 1 is what Yun et al. 2019 use (Beta(1, 1))."""


def mix_up(images: np.ndarray, *, largest: float, chance: float, random: np.random.Generator) -> np.ndarray:
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


def cut_mix(
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
