"""What a model costs: how many weights it has, and how long it takes for one patch."""

import statistics
import time

import keras
import numpy as np

from lsml.config import LATENCY, PARAMETERS

_WARM_UPS, _CALLS = 2, 11


def costs(model: keras.Model, patch: np.ndarray) -> dict[str, float]:
    """`parameters`, all weights of `model`, also those not trained, and `latency_ms`, a measurement.

    The latency is the median of a few calls of `predict_on_batch` after the first ones, which compile: milliseconds
    on what this process computes on, with the way of the patch to it and of the result back. Whoever else computes on
    the same machine at the same time makes it longer.

    Args:
        patch: stored bands of one patch, float32 `(1, H, W, 14)`.
    """
    for _ in range(_WARM_UPS):
        model.predict_on_batch(patch)
    seconds = [_seconds(model, patch) for _ in range(_CALLS)]
    return {PARAMETERS: float(model.count_params()), LATENCY: 1000 * statistics.median(seconds)}


def _seconds(model: keras.Model, patch: np.ndarray) -> float:
    started = time.perf_counter()
    model.predict_on_batch(patch)
    return time.perf_counter() - started
