"""The classical rule for landslides, bare ground on a steep slope: two limits, chosen by F1 on training pixels."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from lsml.bands import CONSTANTS, NEAR_INFRARED, RED, SLOPE

_LIMITS = 201
_LEAST_SUM = 1.0
"""The least denominator of NDVI: one step of the published integers, a reflectance of .0001; below it all is dark."""


@dataclass(frozen=True)
class BareSlopeRule:
    """Landslide is where NDVI is at most one limit and the slope at least another.

    Attributes:
        ndvi: the limit of NDVI, -1..1.
        slope: the limit of the slope in degrees.
        ndvi_spread: standard deviation of NDVI over the training pixels.
        slope_spread: that of the slope in degrees.
    """

    ndvi: float
    slope: float
    ndvi_spread: float
    slope_spread: float

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores 0..1, float32 (B, H, W, 1), of stored bands (B, H, W, 14); no probabilities.

        A score is the sigmoid of how far inside both limits a pixel is, in standard deviations of the training
        pixels, by the nearer limit. So `score >= .5` is the rule itself, and any other threshold is the rule with both
        limits moved by the same number of standard deviations, inward above .5 and outward below.
        """
        index, slope = ndvi_and_slope(images)
        inside = np.minimum((self.ndvi - index) / self.ndvi_spread, (slope - self.slope) / self.slope_spread)
        return expit(inside).astype(np.float32)[..., None]


def fit_bare_slope(bands: np.ndarray, labels: np.ndarray) -> BareSlopeRule:
    """The limits of the highest F1 among 201 quantiles of either, both of landslide pixels.

    Between two landslide pixels a limit only takes in background: no other value can be better than a quantile of all.

    Args:
        bands: stored values of pixels (P, 14).
        labels: whether each is landslide, (P,), of both classes.
    """
    index, slope = ndvi_and_slope(bands)
    landslide = labels.astype(bool)
    shares = np.linspace(0, 1, _LIMITS)
    lowest, steepest = (
        np.unique(np.quantile(values[landslide], shares, method="inverted_cdf")) for values in (index, slope)
    )
    hits = _called(index[landslide], slope[landslide], lowest, steepest)
    called = hits + _called(index[~landslide], slope[~landslide], lowest, steepest)
    f1 = 2 * hits / (called + landslide.sum())
    row, column = np.unravel_index(np.argmax(f1), f1.shape)
    return BareSlopeRule(float(lowest[row]), float(steepest[column]), _spread(index), _spread(slope))


def ndvi_and_slope(bands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NDVI, -1..1 (Rouse et al. 1974), and slope in degrees, float64 (...), of stored bands (..., 14)."""
    red, infrared, slope = (
        bands[..., band].astype(np.float64) * CONSTANTS[band] for band in (RED, NEAR_INFRARED, SLOPE)
    )
    return (infrared - red) / np.maximum(infrared + red, _LEAST_SUM), slope


def _called(index: np.ndarray, slope: np.ndarray, lowest: np.ndarray, steepest: np.ndarray) -> np.ndarray:
    """How many pixels each pair of limits calls landslide, int64 (limits of NDVI, limits of slope)."""
    rows = np.searchsorted(lowest, index, side="left")
    columns = np.searchsorted(steepest, slope, side="right")
    # A pixel meets the limits of NDVI from its row on, and those of the slope before its column.
    shape = (len(lowest) + 1, len(steepest) + 1)
    table = np.bincount(np.ravel_multi_index((rows, columns), shape), minlength=shape[0] * shape[1]).reshape(shape)
    below = table.cumsum(axis=0)[:-1]
    return below[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def _spread(values: np.ndarray) -> float:
    """The standard deviation, or 1 where all values are the same."""
    return float(values.std()) or 1.0
