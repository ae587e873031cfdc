"""Statistics of each band over a split, gathered one patch at a time."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from lsml.bands import BANDS, N_BANDS
from lsml.errors import DataError

_HALF = 1 << 16


@dataclass(frozen=True)
class BandStatistics:
    """Of all finite stored values of a split, 14 numbers each, in the order of `lsml.bands.BANDS`.

    `std` is that of the population (divided by n); `median` is the lower one, so always a value that occurs.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    median: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for JSON."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, tree: Any) -> "BandStatistics":
        """The reverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: `tree` is not what `to_dict` gives.
        """
        columns = {field.name: tuple(float(value) for value in tree[field.name]) for field in fields(cls)}
        if any(len(values) != N_BANDS for values in columns.values()):
            raise ValueError(f"not {N_BANDS} values in each of {', '.join(columns)}")
        return cls(**columns)


class _Moments:
    """Count, mean, sum of squared differences and range of each band, merged patch by patch in float64.

    Source of the merging formula: Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm".
    """

    def __init__(self) -> None:
        self.count = np.zeros(N_BANDS, np.int64)
        self.mean = np.zeros(N_BANDS)
        self.squares = np.zeros(N_BANDS)
        self.minimum = np.full(N_BANDS, np.inf)
        self.maximum = np.full(N_BANDS, -np.inf)

    def add(self, values: np.ndarray, finite: np.ndarray) -> None:
        """Takes in `values` float32 `(n, 14)` where `finite` is true."""
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


def band_statistics(patches: Callable[[], Iterable[np.ndarray]]) -> BandStatistics:
    """Statistics over float32 patches `(H, W, 14)`; NaN and inf do not count.

    `patches` is called twice and has to give the same patches both times: the median is found exactly in two
    passes over 16 of the 32 bits of a float each (a radix selection), with one patch in memory at a time.

    Raises:
        DataError: a band without any finite value.
    """
    moments = _Moments()
    upper = np.zeros((N_BANDS, _HALF), np.int64)
    for patch in patches():
        values, finite = _columns(patch)
        moments.add(values, finite)
        upper += _histogram(_ordered(values) >> 16, finite)
    _require_values(moments.count)

    rank = (moments.count - 1) // 2
    bucket, rank = _select(upper, rank)
    lower = np.zeros((N_BANDS, _HALF), np.int64)
    for patch in patches():
        values, finite = _columns(patch)
        keys = _ordered(values)
        lower += _histogram(keys & 0xFFFF, finite & (keys >> 16 == bucket))
    rest, _ = _select(lower, rank)
    median = _unordered((bucket.astype(np.uint32) << np.uint32(16)) | rest.astype(np.uint32))
    return BandStatistics(
        mean=_tuple(moments.mean),
        std=_tuple(np.sqrt(moments.squares / moments.count)),
        minimum=_tuple(moments.minimum),
        maximum=_tuple(moments.maximum),
        median=_tuple(median),
    )


def _columns(patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.ascontiguousarray(patch, np.float32).reshape(-1, N_BANDS)
    return values, np.isfinite(values)


def _require_values(count: np.ndarray) -> None:
    for band, n in zip(BANDS, count, strict=True):
        if n == 0:
            raise DataError(f"band {band.name}", "no finite value in the whole split", "check how the files were made")


def _ordered(values: np.ndarray) -> np.ndarray:
    """uint32 keys in the order of the floats: negative ones have all bits turned, the others only their sign."""
    bits = values.view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _unordered(keys: np.ndarray) -> np.ndarray:
    return (keys ^ np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


def _histogram(keys: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """How often each of the 65,536 keys occurs in each band: int64 `(14, 65536)`."""
    places = keys.astype(np.int64) + np.arange(N_BANDS) * _HALF
    return np.bincount(places[counted], minlength=N_BANDS * _HALF).reshape(N_BANDS, _HALF)


def _select(histogram: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The key that holds the value of `rank` (0-based) in each band, and its rank among that key's values."""
    below = np.cumsum(histogram, axis=1)
    key = (below <= rank[:, None]).sum(axis=1)
    bands = np.arange(N_BANDS)
    return key, rank - (below[bands, key] - histogram[bands, key])


def _tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
