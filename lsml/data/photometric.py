"""Random changes of light, calibration, noise and gaps in a patch's optical bands; slope and elevation stay.

A slope or an elevation that is brightened is another place. Stored values average about 1 a band and go up to 50,
and albumentations' own photometric transforms would cut them off at 1.
"""

from collections.abc import Callable

import numpy as np

from lsml.bands import ELEVATION, N_BANDS, SLOPE
from lsml.data.operation import Operation

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
