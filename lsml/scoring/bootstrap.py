"""How far a pooled score would move had other patches been drawn: intervals by resampling whole patches.

Pixels of one patch are alike, so a patch, not a pixel, is what is drawn again (a cluster bootstrap: Davison & Hinkley
1997, "Bootstrap Methods and their Application", 3.8). Scores are functions of sums over patches, so no inference is
repeated: a draw is a vector of weights times a table of counts. Where the same patches were predicted several times, by
trainings with other seeds, those repeats are drawn again too, independently of the patches (Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics 1:386).

The percentiles of draws are too close together where there are few patches: draws vary as if by n patches where n - 1
tell of it, and by a known variance where it is estimated. Their distances from the score are stretched for both, by
sqrt(n / (n - 1)) and by the ratio of Student's quantile to the normal one (Hesterberg 2015, "What teachers should know
about the bootstrap", The American Statistician 69:371): 1.17 times at 12 patches, 1.01 at 245.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

DRAWS = 2000
LEVEL = 0.95

MIN_PATCHES = 60
"""Below this many patches an interval holds the truth less often than it says (`bench/coverage.py`)."""

_DRAWS_AT_ONCE = 250

_REPEATS_STREAM = 1
"""Keeps the draws of repeats apart from those of patches with the same seed."""

_Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums over patches, float64 `(D, K)`, to a score of each draw, `(D,)`, 0..1."""


class Interval(NamedTuple):
    """The middle 95 % of the scores of resampled patches (the percentile interval of Efron 1979), wider for few."""

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

    @property
    def is_ahead(self) -> bool:
        """Whether the first is higher beyond the interval: all of it lies above 0."""
        return self.interval.low > 0

    @property
    def standard_error(self) -> float:
        """As the interval tells it: its width over that of a normal distribution of standard deviation 1."""
        # Here, because it takes as long to load as all else that `lsml study list` needs.
        from scipy.special import ndtri

        return (self.interval.high - self.interval.low) / (2 * float(ndtri((1 + LEVEL) / 2)))

    def describe(self, digits: int = 4) -> str:
        """`+0.0123 (95 % interval -0.0012 to +0.0260)`, with so many digits behind the point."""
        low, high = self.interval
        return f"{self.value:+.{digits}f} (95 % interval {low:+.{digits}f} to {high:+.{digits}f})"


def intervals(counts: np.ndarray, statistics: Mapping[str, _Statistic], *, seed: int = 0) -> dict[str, Interval]:
    """The interval of each statistic of the sums of `counts` over resampled patches; of one patch, all of 0..1.

    Args:
        counts: one row of K numbers a patch, `(N, K)`, of which the statistics are functions of the sums; or of R
            repeats of the same patches, `(R, N, K)`, which are then resampled too.
        seed: of the draws.

    Raises:
        ValueError: there is no patch.
    """
    sums, patches = _resampled(counts, seed), counts.shape[-2]
    return {
        name: interval_of(_whole(counts, statistic), statistic(sums), patches, lowest=0.0)
        for name, statistic in statistics.items()
    }


def difference(first: np.ndarray, second: np.ndarray, statistic: _Statistic, *, seed: int = 0) -> Difference:
    """How one statistic differs between two tables of counts of the same patches, and repeats, in the same order.

    Args:
        first: `(N, K)` or `(R, N, K)`, as of `intervals`.
        second: likewise; K may differ where the statistic takes that.

    Raises:
        ValueError: there is no patch, or the tables differ in patches or repeats.
    """
    if first.shape[:-1] != second.shape[:-1]:
        raise ValueError(f"counts of shape {first.shape} and {second.shape} are not of the same patches")
    drawn = statistic(_resampled(first, seed)) - statistic(_resampled(second, seed))
    higher = float(np.mean(drawn > 0) + np.mean(drawn == 0) / 2)
    value = _whole(first, statistic) - _whole(second, statistic)
    return Difference(value, interval_of(value, drawn, first.shape[-2], lowest=-1.0), higher)


def _whole(counts: np.ndarray, statistic: _Statistic) -> float:
    """The statistic of all patches and repeats, each once."""
    return float(statistic(counts.reshape(-1, counts.shape[-1]).sum(axis=0, keepdims=True, dtype=np.float64))[0])


def patch_weights(patches: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of N patches is in each draw of as many, with replacement: parts `(D, N)`, of `DRAWS` in all.

    In parts: for 800 patches all weights together would be 13 MB, for 100,000 more than a gigabyte.
    """
    random = np.random.default_rng(seed)
    for start in range(0, DRAWS, _DRAWS_AT_ONCE):
        yield random.multinomial(patches, np.full(patches, 1 / patches), size=min(_DRAWS_AT_ONCE, DRAWS - start))


def _resampled(counts: np.ndarray, seed: int) -> np.ndarray:
    """Sums over each draw of as many patches and repeats as there are, with replacement, float64 `(DRAWS, K)`."""
    table = (counts[None] if counts.ndim == 2 else counts).astype(np.float64)
    repeats, patches, _ = table.shape
    if not patches:
        raise ValueError("no patches to resample")
    sums = np.concatenate([np.tensordot(weights, table, (1, 1)) for weights in patch_weights(patches, seed)])
    random = np.random.default_rng((seed, _REPEATS_STREAM))
    drawn = random.multinomial(repeats, np.full(repeats, 1 / repeats), size=DRAWS)
    return np.einsum("dr,drk->dk", drawn, sums)


def interval_of(value: float, drawn: np.ndarray, patches: int, *, lowest: float) -> Interval:
    """The middle of a statistic's draws `(D,)`, stretched about its value for few patches, within `lowest`..1."""
    from scipy.special import ndtri, stdtrit

    if patches == 1:
        return Interval(lowest, 1.0)
    upper = (1 + LEVEL) / 2
    stretch = np.sqrt(patches / (patches - 1)) * stdtrit(patches - 1, upper) / ndtri(upper)
    low, high = np.clip(value + stretch * (np.quantile(drawn, [1 - upper, upper]) - value), lowest, 1.0)
    return Interval(float(low), float(high))


def with_interval(value: float, interval: Interval | None, sign: str = "") -> str:
    """A score or a difference with its interval in brackets, where it has one."""
    return f"{value:{sign}.4f}" + (f" ({interval.describe(sign)})" if interval else "")
