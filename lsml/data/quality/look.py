"""What the rules of quality know of an image: a few numbers, measured once."""

import warnings
from typing import NamedTuple

import numpy as np

from lsml.data.sensor import BLUE, ELEVATION, RED, SLOPE, Sensor

_SAMPLE, _DISTINCT = 256, 8
"""So many values of a band are compared with the divisors; fewer different ones may fit another's by chance."""


class Look(NamedTuple):
    """What the rules know of an image; arrays have a number a band, NaN where it has no finite value.

    Attributes:
        name: the image's, for people.
        minimum, maximum, median: of the finite stored values.
        nonfinite: how many NaN and inf.
        outside: the share of finite values beyond the valid range, 0..1.
        on_grid: whether the values are integers over the bands' divisors.
        order: whose values each band has, told by the divisor over which they are integers: its own index, or another.
        terrain: Pearson's r of slope with elevation's steepness, and the reverse; 0 without them.
        dark_red: red less blue on the darkest tenth, of their mean brightness; NaN without them.
        bare_red: the same difference on landslides less that elsewhere; NaN without both.
    """

    name: str
    minimum: np.ndarray
    maximum: np.ndarray
    median: np.ndarray
    nonfinite: np.ndarray
    outside: np.ndarray
    on_grid: bool
    order: tuple[int, ...]
    terrain: tuple[float, float]
    dark_red: float
    bare_red: float

    @classmethod
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def of(cls, name: str, stored: np.ndarray, sensor: Sensor, mask: np.ndarray | None = None) -> "Look":
        """The look of an image `(H, W, C)` of stored values, finite or not, with its mask `(H, W)` where it has one."""
        # NumPy is fast along rows, not along a few bands.
        bands = np.ascontiguousarray(stored.reshape(-1, len(sensor)).T, np.float64)
        finite = np.isfinite(bands)
        known = bands if finite.all() else np.where(finite, bands, np.nan)
        with warnings.catch_warnings():
            # A band may have no values.
            warnings.simplefilter("ignore", RuntimeWarning)
            least, median, most = (of(known, axis=1) for of in (np.nanmin, _medians, np.nanmax))
        on_grid = not sensor.published or sensor.as_integers(np.where(np.isfinite(stored), stored, 0)) is not None
        order = tuple(n if on_grid else _owner(n, row[np.isfinite(row)], sensor) for n, row in enumerate(known))
        dark, bare = _redness(stored, sensor, mask)
        outside = _outside(known, finite, sensor)
        return cls(
            name, least, most, median, (~finite).sum(1), outside, on_grid, order, _terrain(stored, sensor), dark, bare
        )


def _medians(known: np.ndarray, axis: int) -> np.ndarray:
    # Where all is finite NumPy takes a third of the time.
    return np.median(known, axis=axis) if np.isfinite(known).all() else np.nanmedian(known, axis=axis)


def _owner(place: int, values: np.ndarray, sensor: Sensor) -> int:
    """The only band over whose divisor the values `(N,)` of a band are integers; its own, where they are too few."""
    some = np.unique(values[:: max(len(values) // _SAMPLE, 1)])
    fits = sensor.over_divisors(some[some != 0])
    return int(np.argmax(fits)) if fits.sum() == 1 and len(some) > _DISTINCT else place


def _outside(known: np.ndarray, finite: np.ndarray, sensor: Sensor) -> np.ndarray:
    """float64 `(C,)`, of stored values `(C, N)`."""
    limits = np.array([band.valid or (-np.inf, np.inf) for band in sensor.bands])
    physical = sensor.physical(known.T).T
    beyond = (physical < limits[:, :1]) | (physical > limits[:, 1:])
    return beyond.sum(1) / np.maximum(finite.sum(1), 1)


def _redness(stored: np.ndarray, sensor: Sensor, mask: np.ndarray | None) -> tuple[float, float]:
    """`dark_red` and `bare_red` of a `Look`; pixels that are black were not measured."""
    if not sensor.has(RED, BLUE) or not sensor.optical[[sensor.place(RED), sensor.place(BLUE)]].all():
        return np.nan, np.nan
    red, blue = np.moveaxis(sensor.physical(stored, RED, BLUE), -1, 0)
    bright = (red + blue) / 2
    seen = np.isfinite(bright) & (bright > 0)
    if not seen.any():
        return np.nan, np.nan
    redder, level = red - blue, bright[seen].mean()
    dark = seen & (bright <= np.percentile(bright[seen], 10))
    bare = np.nan
    if mask is not None and mask.shape == seen.shape and (seen & (mask == 1)).any() and (seen & (mask == 0)).any():
        bare = (redder[seen & (mask == 1)].mean() - redder[seen & (mask == 0)].mean()) / level
    return float(np.median(redder[dark]) / level), float(bare)


def _terrain(stored: np.ndarray, sensor: Sensor) -> tuple[float, float]:
    """`terrain` of a `Look`: the steepness of the elevation has to follow the slope."""
    if not sensor.has(SLOPE, ELEVATION):
        return 0.0, 0.0
    slope, elevation = stored[..., sensor.place(SLOPE)], stored[..., sensor.place(ELEVATION)]
    return _correlation(slope, _steepness(elevation)), _correlation(elevation, _steepness(slope))


def _steepness(height: np.ndarray) -> np.ndarray:
    """NaN beside what is lacking: taken for 0 it would be a cliff."""
    down, right = np.gradient(height.astype(np.float64))
    return np.hypot(down, right)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's where both are finite, 0 where either is constant there."""
    finite = np.isfinite(one) & np.isfinite(other)
    if not finite.any():
        return 0.0
    a, b = (values - values.mean() for values in (one[finite].astype(np.float64), other[finite]))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0
