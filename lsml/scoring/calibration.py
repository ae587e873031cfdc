"""Temperature scaling: one number that makes probabilities mean what they say, and leaves the order of pixels as it is.

Guo et al. 2017, "On calibration of modern neural networks", 4.2: logits are divided by a temperature T > 0 before the
sigmoid, and T is what minimises cross-entropy on patches that were not trained on. It is fitted to `PooledCounts`,
which hold pixels by probability, so that no patch is predicted again.
"""

import math
from typing import NamedTuple

import numpy as np

from lsml.scoring.metrics import THRESHOLDS, PooledCounts, grid_index

LOWEST, HIGHEST = 0.1, 5.0
"""T is fitted within these. Where logits separate landslide from background, cross-entropy falls for ever as T does;
where they say next to nothing it falls as T rises, until all probabilities crowd into a few steps of the grid."""

STEEPEST = 8.0
"""The highest logit, of either sign, that a threshold is moved to: farther out float32 tells so few probabilities apart
that pixels beside the threshold would change sides."""


class Calibration(NamedTuple):
    """What dividing a network's logits does.

    Attributes:
        temperature: what they are divided by; 1 changes nothing.
        threshold: float32's number that calls the same pixels landslide as the threshold before.
        error: expected calibration error of the pixels that it was fitted to, after it.
    """

    temperature: float
    threshold: float
    error: float


def calibrate(counts: PooledCounts, threshold: float) -> Calibration:
    """The temperature of the least cross-entropy over the pixels of `counts`, and where it moves `threshold`.

    The temperature is 1 where all pixels are of one class, as it would only tell how sure to be of that, and where the
    threshold is 0 or 1, which no temperature moves.

    Args:
        threshold: the probability from which a pixel counts as landslide.
    """
    if not counts.pixels.any(axis=1).all() or not 0 < threshold < 1:
        return Calibration(1.0, threshold, counts.calibration_error())
    temperature = _fitted(counts, lowest=min(max(LOWEST, abs(_logit(threshold)) / STEEPEST), 1.0))
    return Calibration(
        temperature, rescale_threshold(threshold, temperature), _at_temperature(counts, temperature).calibration_error()
    )


def rescale_threshold(threshold: float, temperature: float) -> float:
    """The threshold that calls the same pixels landslide once their logits are divided by `temperature`.

    Args:
        threshold: 0..1; 0 and 1 stay.
    """
    if temperature == 1 or not 0 < threshold < 1:
        return threshold
    return float(np.float32(1 / (1 + math.exp(-_logit(threshold) / temperature))))


def _fitted(counts: PooledCounts, *, lowest: float) -> float:
    # Here, because the command line must not wait for it.
    from scipy.optimize import minimize_scalar

    background, landslide = counts.pixels
    logits = _logits()

    def cross_entropy(log_temperature: float) -> float:
        divided = logits / math.exp(log_temperature)
        return float(landslide @ np.logaddexp(0, -divided) + background @ np.logaddexp(0, divided))

    # Convex in 1/T, as that of a logistic regression in its weight, so with a single minimum in log T.
    minimum = minimize_scalar(cross_entropy, bounds=(math.log(lowest), math.log(HIGHEST)), method="bounded")
    return math.exp(minimum.x)


def _at_temperature(counts: PooledCounts, temperature: float) -> PooledCounts:
    """The same pixels by the probabilities that they have then, to a step of the grid."""
    after = PooledCounts()
    index = grid_index((1 / (1 + np.exp(-_logits() / temperature))).astype(np.float32))
    for side, pixels in zip(after.pixels, counts.pixels, strict=True):
        np.add.at(side, index, pixels)
    return after


def _logits() -> np.ndarray:
    """Of the middle of each step of the grid; beyond the grid's ends, where float32 is coarse, those of the ends."""
    low = THRESHOLDS.astype(np.float64)
    middle = (low + np.append(low[1:], 1.0)) / 2
    return np.array([_logit(probability) for probability in np.clip(middle, low[1], low[-2])])


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
