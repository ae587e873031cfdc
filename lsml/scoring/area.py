"""How right a map is and how much area is landslide, of a stratified random sample of its places that people looked at.

After Olofsson et al. 2014, "Good practices for estimating area and assessing accuracy of land change", Remote Sensing
of Environment 148:42 (https://doi.org/10.1016/j.rse.2014.02.015), whose equations are named here. Strata are the map's
classes. A map's own share of landslide is biased by its errors; the estimate from the sample is not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_WIDTH = 1.96
"""Standard errors on each side of an estimate, of a 95 % interval."""


class Estimate(NamedTuple):
    """A number with its standard error."""

    value: float
    error: float

    @property
    def margin(self) -> float:
        """Half of the 95 % interval: 1.96 standard errors."""
        return _WIDTH * self.error

    def record(self) -> dict[str, float | None]:
        """Plain data, with the ends of the interval; None where there is no number."""
        numbers = {"value": self.value, "low": self.value - self.margin, "high": self.value + self.margin}
        return {name: number if np.isfinite(number) else None for name, number in numbers.items()}

    def describe(self, digits: int = 3) -> str:
        """`0.945 +- 0.018`, the margin being that of the 95 % interval; a dash where there is no number."""
        if np.isnan(self.value):
            return "-"
        return f"{self.value:,.{digits}f} +- {self.margin:,.{digits}f}"


class MapAccuracy(NamedTuple):
    """Of a map of K classes; all but areas in 0..1.

    Attributes:
        overall: share of the area that the map has right.
        users: by class of the map, the share of its area that is right (1 less commission).
        producers: by class on the ground, the share of its area that the map has (1 less omission).
        shares: by class on the ground, its share of the area.
        areas: by class on the ground, in the unit of the strata's areas.
    """

    overall: Estimate
    users: tuple[Estimate, ...]
    producers: tuple[Estimate, ...]
    shares: tuple[Estimate, ...]
    areas: tuple[Estimate, ...]


def assess(counts: np.ndarray, areas: Sequence[float]) -> MapAccuracy:
    """Accuracy of a map and areas of its classes, of a stratified random sample.

    Args:
        counts: points of the sample by class of the map (rows) and class on the ground (columns), `(K, K)`; each row
            has two points at least.
        areas: of the map's classes, in any unit, `(K,)`, above 0.

    Returns:
        Estimates by equations 1 to 4 and 9, their standard errors by 5 to 7 and 10. Where nothing on the ground is of
        a class, its producer's accuracy is NaN.
    """
    counts, mapped = np.asarray(counts, np.float64), np.asarray(areas, np.float64)
    points, weights = counts.sum(axis=1), mapped / mapped.sum()
    within = counts / points[:, None]
    spread = within * (1 - within) / (points - 1)[:, None]
    users, user_variance = within.diagonal(), spread.diagonal()
    shares = weights @ within
    share_errors = np.sqrt(weights**2 @ spread)
    return MapAccuracy(
        Estimate(float(weights @ users), float(np.sqrt(weights**2 @ user_variance))),
        _estimates(users, np.sqrt(user_variance)),
        _estimates(*_producers(mapped, within, spread)),
        _estimates(shares, share_errors),
        _estimates(shares * mapped.sum(), share_errors * mapped.sum()),
    )


def _producers(mapped: np.ndarray, within: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Producer's accuracies by equation 3, and their standard errors by equation 7."""
    own, own_spread = within.diagonal(), spread.diagonal()
    on_the_ground = mapped @ within
    with np.errstate(invalid="ignore", divide="ignore"):
        producers = mapped * own / on_the_ground
        others = mapped**2 @ spread - mapped**2 * own_spread
        variance = (mapped**2 * (1 - producers) ** 2 * own_spread + producers**2 * others) / on_the_ground**2
    return producers, np.sqrt(variance)


def _estimates(values: np.ndarray, errors: np.ndarray) -> tuple[Estimate, ...]:
    return tuple(Estimate(float(value), float(error)) for value, error in zip(values, errors, strict=True))


def sample_size(areas: Sequence[float], users: Sequence[float], standard_error: float) -> int:
    """How many points give the overall accuracy a standard error: equation 13, without its correction for small maps.

    Args:
        areas: of the map's classes, in any unit.
        users: the user's accuracies that are expected of them, 0..1.
        standard_error: of the overall accuracy, above 0.
    """
    weights = np.asarray(areas, np.float64) / np.sum(areas)
    deviations = np.sqrt(np.asarray(users) * (1 - np.asarray(users)))
    return int(np.ceil((weights @ deviations / standard_error) ** 2))


FEWEST = 75
"""Points in the smaller class of a map, as in the example of Olofsson et al. 2014, section 5.1.2."""


def allocate(total: int, areas: tuple[float, float]) -> tuple[int, int]:
    """Points for each of two classes: by area, but `FEWEST` for the smaller one, or half of all where that is less."""
    smaller = int(np.argmin(areas))
    share = round(total * areas[smaller] / sum(areas))
    points = max(share, min(FEWEST, total // 2))
    return (points, total - points) if smaller == 0 else (total - points, points)
