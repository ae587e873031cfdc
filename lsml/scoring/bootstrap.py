"""How far a pooled score would move had other patches been drawn: intervals by resampling whole patches.

Pixels of one patch are alike, so a patch, not a pixel, is what is drawn again (a cluster bootstrap: Davison & Hinkley
1997, "Bootstrap Methods and their Application", 3.8). Scores are functions of sums over patches, so no inference is
repeated: a draw is a vector of weights times a table of counts.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

DRAWS = 2000
LEVEL = 0.95

MIN_PATCHES = 60
"""Below this many patches an interval holds the truth less often than it says (`bench/coverage.py`)."""

_DRAWS_AT_ONCE = 250

_Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums over patches, float64 `(D, K)`, to a score of each draw, `(D,)`."""


class Interval(NamedTuple):
    """The middle 95 % of the scores of resampled patches (the percentile interval of Efron 1979)."""

    low: float
    high: float

    def describe(self, sign: str = "") -> str:
        """`0.4321 to 0.5432`; with `+` as sign, both ends have one."""
        return f"{self.low:{sign}.4f} to {self.high:{sign}.4f}"


class Difference(NamedTuple):
    """How much higher the first of two scores on the same patches is.

    Attributes:
        value: first less second.
        interval: of the difference, both resampled by the same patches.
        first_higher: share of the draws in which the first is higher; ties count half.
    """

    value: float
    interval: Interval
    first_higher: float

    def describe(self, digits: int = 4) -> str:
        """`+0.0123 (95 % interval -0.0012 to +0.0260)`, with so many digits behind the point."""
        low, high = self.interval
        return f"{self.value:+.{digits}f} (95 % interval {low:+.{digits}f} to {high:+.{digits}f})"


def intervals(counts: np.ndarray, statistics: Mapping[str, _Statistic], *, seed: int = 0) -> dict[str, Interval]:
    """The interval of each statistic of the sums of `counts` over resampled patches.

    Args:
        counts: one row of K numbers a patch, `(N, K)`, of which the statistics are functions of the sums.
        seed: of the draws.

    Raises:
        ValueError: there is no patch.
    """
    sums = _resampled(counts, seed)
    return {name: _interval(statistic(sums)) for name, statistic in statistics.items()}


def difference(first: np.ndarray, second: np.ndarray, statistic: _Statistic, *, seed: int = 0) -> Difference:
    """How one statistic differs between two tables of counts `(N, K)` of the same patches in the same order.

    K may differ where the statistic takes that.

    Raises:
        ValueError: there is no patch, or the tables differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"counts of shape {first.shape} and {second.shape} are not of the same patches")
    drawn = statistic(_resampled(first, seed)) - statistic(_resampled(second, seed))
    higher = float(np.mean(drawn > 0) + np.mean(drawn == 0) / 2)
    return Difference(_whole(first, statistic) - _whole(second, statistic), _interval(drawn), higher)


def _whole(counts: np.ndarray, statistic: _Statistic) -> float:
    """The statistic of all patches, each once."""
    return float(statistic(counts.sum(axis=0, keepdims=True, dtype=np.float64))[0])


def _resampled(counts: np.ndarray, seed: int) -> np.ndarray:
    """Sums over each draw of as many patches as there are, with replacement, float64 `(DRAWS, K)`."""
    n = len(counts)
    if not n:
        raise ValueError("no patches to resample")
    random = np.random.default_rng(seed)
    table = counts.astype(np.float64)
    # In parts: for 800 patches all weights together would be 13 MB, for 100,000 more than a gigabyte.
    parts = [
        random.multinomial(n, np.full(n, 1 / n), size=min(_DRAWS_AT_ONCE, DRAWS - start)) @ table
        for start in range(0, DRAWS, _DRAWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _interval(drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def with_interval(value: float, interval: Interval | None, sign: str = "") -> str:
    """A score or a difference with its interval in brackets, where it has one."""
    return f"{value:{sign}.4f}" + (f" ({interval.describe(sign)})" if interval else "")
