"""The input layers: stored band values to scaled ones, inside the graph and saved with it."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import KerasTensor, ops

from lsml.config import InputConfig
from lsml.data.statistics import BandStatistics

LIMITS = {"standard": (-10.0, 10.0), "minmax": (-1.0, 2.0)}
"""Scaled values beyond these are cut off. Ten standard deviations, or one range beyond either end, hold every
value of the real patches but the brightest cirrus; a damaged pixel can't drown its neighbours."""


def replace_nonfinite(stored: KerasTensor, median: Sequence[float]) -> KerasTensor:
    """Stored bands `(B, H, W, C)` with NaN and infinities replaced by their band's train median."""
    return ops.where(ops.isfinite(stored), stored, np.asarray(median, dtype="float32"))


def scale(stored: KerasTensor, config: InputConfig, statistics: BandStatistics) -> KerasTensor:
    """Finite stored bands `(B, H, W, C)` to float32 values of about one, by statistics of the train split.

    `standard` gives zero mean and unit variance; `minmax` gives 0..1 between the train split's extremes. A band
    that is constant in the train split is only shifted. Values are cut off at `LIMITS`.
    """
    if config.scaling == "standard":
        offset, spread = np.asarray(statistics.mean), np.asarray(statistics.std)
    else:
        offset = np.asarray(statistics.minimum)
        spread = np.asarray(statistics.maximum) - offset
    spread = np.where(spread > 0, spread, 1.0)
    scaled = keras.layers.Normalization(
        mean=offset.tolist(), variance=np.square(spread).tolist(), dtype="float32", name=f"scale_{config.scaling}"
    )(stored)
    low, high = LIMITS[config.scaling]
    return ops.clip(scaled, low, high)
