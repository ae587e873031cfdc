"""Statistics of each band over a split, gathered one patch at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsml.data.sensor import Sensor
from lsml.errors import DataError

_HALF = 1 << 16
_COLUMNS = ("mean", "std", "minimum", "maximum", "median")

_TAIL = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PERCENTS = (*_TAIL, *(float(percent) for percent in range(5, 100, 5)), *(100 - percent for percent in reversed(_TAIL)))
"""Where the quantiles are: close together in both tails, 0 and 100 the extremes."""


@dataclass(frozen=True)
class BandStatistics:
    """Of all finite stored values of a split, C numbers each, one for each band of `sensor`.

    `std` is that of the population (divided by n); `median` is the lower one, so always a value that occurs.
    `quantiles` has one row of C for each of `PERCENTS`: of integers exact, of other values to 1/128 of each, but for
    the extremes, which are exact too.
    """

    sensor: Sensor

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    median: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, patches: Callable[[], Iterable[np.ndarray]], sensor: Sensor) -> "BandStatistics":
        """Statistics over float32 patches `(H, W, C)`; NaN and inf do not count.

        `patches` is called twice and has to give the same patches both times: the median is found exactly in two
        passes over 16 of the 32 bits of a float each (a radix selection), with one patch in memory at a time.

        Raises:
            DataError: a band without any finite value.
        """
        moments = _Moments(len(sensor))
        upper = np.zeros((len(sensor), _HALF), np.int64)
        for patch in patches():
            values, finite = _columns(patch)
            moments.add(values, finite)
            upper += _histogram(_ordered(values) >> 16, finite)
        _require_values(moments.count, sensor)

        rank = (moments.count - 1) // 2
        below = np.cumsum(upper, axis=1)
        bucket, rank = _select(below, rank)
        lower = np.zeros_like(upper)
        for patch in patches():
            values, finite = _columns(patch)
            keys = _ordered(values)
            lower += _histogram(keys & 0xFFFF, finite & (keys >> 16 == bucket))
        rest, _ = _select(np.cumsum(lower, axis=1), rank)
        median = _unordered((bucket.astype(np.uint32) << np.uint32(16)) | rest.astype(np.uint32))
        quantiles = np.array([_quantile(below, percent) for percent in PERCENTS])
        return cls(
            sensor=sensor,
            mean=_tuple(moments.mean),
            std=_tuple(np.sqrt(moments.squares / moments.count)),
            minimum=_tuple(moments.minimum),
            maximum=_tuple(moments.maximum),
            median=_tuple(median),
            quantiles=tuple(_tuple(row) for row in np.clip(quantiles, moments.minimum, moments.maximum)),
        )

    @classmethod
    def of_integers(cls, counts: np.ndarray, sensor: Sensor) -> "BandStatistics":
        """Statistics over the stored values of a pack of integers.

        Args:
            counts: how often each integer occurs in each band, int64 `(C, 65536)`, as `IntegerCounts` gives them.

        Raises:
            DataError: a band without any value.
        """
        total = counts.sum(axis=1)
        _require_values(total, sensor)
        integers = np.repeat(np.arange(_HALF, dtype=np.uint16)[:, None], len(sensor), axis=1)
        levels = sensor.as_stored(integers).T.astype(np.float64)
        mean = (counts * levels).sum(axis=1) / total
        variance = (counts * np.square(levels - mean[:, None])).sum(axis=1) / total
        below, bands = np.cumsum(counts, axis=1), np.arange(len(sensor))
        shares = (*PERCENTS, 50.0)
        quantiles = [levels[bands, _select(below, (share / 100 * (total - 1)).astype(np.int64))[0]] for share in shares]
        return cls(
            sensor=sensor,
            mean=_tuple(mean),
            std=_tuple(np.sqrt(variance)),
            minimum=_tuple(quantiles[0]),
            maximum=_tuple(quantiles[len(PERCENTS) - 1]),
            median=_tuple(quantiles[-1]),
            quantiles=tuple(_tuple(row) for row in quantiles[:-1]),
        )

    def clipped(self, percent: float) -> "BandStatistics":
        """Of the values cut off at the `percent`-th and the (100 - `percent`)-th percentile of their band.

        Mean and standard deviation are those of the line through the quantiles.
        """
        table = np.array(self.quantiles)
        low, high = (np.array([np.interp(p, PERCENTS, band) for band in table.T]) for p in (percent, 100 - percent))
        cut = np.clip(table, low, high)
        share = np.diff(PERCENTS)[:, None] / 100
        left, right = cut[:-1], cut[1:]
        mean = (share * (left + right) / 2).sum(axis=0)
        # The mean square of a line from a to b is (a^2 + ab + b^2) / 3.
        a, b = left - mean, right - mean
        variance = (share * (a * a + a * b + b * b) / 3).sum(axis=0)
        constant = low == high
        return BandStatistics(
            sensor=self.sensor,
            mean=_tuple(np.where(constant, low, mean)),
            std=_tuple(np.where(constant, 0.0, np.sqrt(variance))),
            minimum=_tuple(low),
            maximum=_tuple(high),
            median=_tuple(np.clip(self.median, low, high)),
            quantiles=tuple(_tuple(row) for row in cut),
        )

    def to_dict(self) -> dict[str, object]:
        """Plain lists, for JSON, without the sensor."""
        columns = {name: list(getattr(self, name)) for name in _COLUMNS}
        return {**columns, "quantiles": [list(row) for row in self.quantiles]}

    @classmethod
    def from_dict(cls, tree: Any, sensor: Sensor) -> "BandStatistics":
        """The reverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: `tree` is not what `to_dict` gives.
        """
        columns = {name: _tuple(tree[name]) for name in _COLUMNS}
        quantiles = tuple(_tuple(row) for row in tree["quantiles"])
        if any(len(values) != len(sensor) for values in (*columns.values(), *quantiles)):
            raise ValueError(f"not {len(sensor)} values in each of {', '.join(columns)}, quantiles")
        if len(quantiles) != len(PERCENTS):
            raise ValueError(f"not {len(PERCENTS)} quantiles")
        return cls(sensor, **columns, quantiles=quantiles)


class IntegerCounts:
    """How often each integer occurs in each band, gathered one patch at a time."""

    def __init__(self, bands: int) -> None:
        # As wide as the largest integer so far lets it be.
        self._total = np.zeros((bands, 0), np.int64)

    def add(self, packed: np.ndarray) -> None:
        """Counts the integers of a patch, uint16 `(H, W, C)`."""
        self._total = _widened(self._total, int(packed.max()) + 1)
        for total, band in zip(self._total, packed.reshape(-1, len(self._total)).T, strict=True):
            counts = np.bincount(band)
            total[: len(counts)] += counts

    def merge(self, other: "IntegerCounts") -> None:
        """Counts what the other has counted too."""
        width = other._total.shape[1]
        self._total = _widened(self._total, width)
        self._total[:, :width] += other._total

    def less_zeros(self, zeros: np.ndarray) -> np.ndarray:
        """The counts, int64 `(C, 65536)`, less so many zeros of each band, `(C,)`."""
        counts = _widened(self._total, _HALF).copy()
        counts[:, 0] -= zeros
        return counts


class _Moments:
    """Count, mean, sum of squared differences and range of each band, merged patch by patch in float64.

    Source of the merging formula: Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm".
    """

    def __init__(self, bands: int) -> None:
        self.count = np.zeros(bands, np.int64)
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)
        self.minimum = np.full(bands, np.inf)
        self.maximum = np.full(bands, -np.inf)

    def add(self, values: np.ndarray, finite: np.ndarray) -> None:
        """Takes in `values` float32 `(n, C)` where `finite` is true."""
        count = finite.sum(axis=0)
        known = np.where(finite, values, np.float64(0))
        mean = known.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(finite, known - mean, 0.0) ** 2).sum(axis=0)
        total = self.count + count
        share = count / np.maximum(total, 1)
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.count * share
        self.mean += shift * share
        self.count = total
        self.minimum = np.minimum(self.minimum, np.where(finite, values, np.inf).min(axis=0))
        self.maximum = np.maximum(self.maximum, np.where(finite, values, -np.inf).max(axis=0))


def _columns(patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.ascontiguousarray(patch, np.float32).reshape(-1, patch.shape[-1])
    return values, np.isfinite(values)


def _widened(table: np.ndarray, width: int) -> np.ndarray:
    """With zeros at the end of each row up to that width, where it is not as wide."""
    return table if width <= table.shape[1] else np.pad(table, ((0, 0), (0, width - table.shape[1])))


def _require_values(count: np.ndarray, sensor: Sensor) -> None:
    for band, n in zip(sensor.bands, count, strict=True):
        if n == 0:
            raise DataError(f"band {band.name}", "no finite value in the whole split", "check how the files were made")


def _ordered(values: np.ndarray) -> np.ndarray:
    """uint32 keys in the order of the floats: negative ones have all bits turned, the others only their sign."""
    bits = values.view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _unordered(keys: np.ndarray) -> np.ndarray:
    return (keys ^ np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


def _histogram(keys: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """How often each of the 65,536 keys occurs in each band: int64 `(C, 65536)`."""
    bands = keys.shape[1]
    places = keys.astype(np.int64) + np.arange(bands) * _HALF
    return np.bincount(places[counted], minlength=bands * _HALF).reshape(bands, _HALF)


def _select(below: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The key that holds the value of `rank` (0-based) in each band, and its rank among that key's values.

    Args:
        below: how many values have each key or a lower one, `(C, 65536)`.
    """
    pairs = zip(below, rank, strict=True)
    key = np.array([np.searchsorted(counted, each, side="right") for counted, each in pairs])
    return key, rank - _before(below, key)


def _before(below: np.ndarray, key: np.ndarray) -> np.ndarray:
    return np.where(key > 0, below[np.arange(len(below)), key - 1], 0)


def _quantile(below: np.ndarray, percent: float) -> np.ndarray:
    """Of each band, the value below which `percent` of its values lie, from the upper 16 bits of all; float64 (C,).

    Values with the same upper bits count as evenly spread. The extremes are infinite.
    """
    if percent in (0.0, 100.0):
        return np.full(len(below), -np.inf if percent == 0 else np.inf)
    key, rank = _select(below, np.floor(percent / 100 * (below[:, -1] - 1)).astype(np.int64))
    place = (rank + 0.5) / (below[np.arange(len(below)), key] - _before(below, key))
    lowest, highest = (_unordered((key << 16 | rest).astype(np.uint32)).astype(np.float64) for rest in (0, 0xFFFF))
    return lowest + place * (highest - lowest)


def _tuple(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
