"""Model files: networks written to `.keras` archives and read back from checked ones, and what they cost."""

import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsml.data.sensor import Sensor
from lsml.models.archive import read_bytes, read_network
from lsml.names import Metric

if TYPE_CHECKING:
    import keras


class ModelFile(NamedTuple):
    """Bytes of a `.keras` file that maps stored bands to landslide probability.

    Attributes:
        sha256: of the bytes, 64 hex digits.
        sensor: what the bands are.
    """

    content: bytes
    sha256: str
    sensor: Sensor


def export(model: "keras.Model", sensor: Sensor) -> ModelFile:
    """The `.keras` file of an uncompiled model of the bands of `sensor`."""
    with tempfile.TemporaryDirectory(prefix="lsml-model-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        content = path.read_bytes()
    return ModelFile(content, hashlib.sha256(content).hexdigest(), sensor)


def load_file(path: Path, sensor: Sensor, *, name: str = "") -> "keras.Model":
    """The network in a `.keras` file, which is called by its path where it has no other name; see `load_bytes`."""
    name = name or f"model file {path}"
    return load_bytes(read_bytes(path, name), sensor, name=name)


def load_bytes(content: bytes, sensor: Sensor, *, name: str = "model file") -> "keras.Model":
    """The network in the bytes of a `.keras` file: stored bands `(B, H, W, C)` to probability `(B, H, W, 1)`.

    Args:
        sensor: what the bands are that it takes.
        name: what the file is called in an error.

    Raises:
        ModelError: not a `.keras` file, truncated or damaged, of other layers than lsml's, of another shape, or one
            that gives no probabilities of a trial patch.
    """
    return read_network(content, len(sensor), name)


_WARM_UPS, _CALLS = 2, 11


def costs(model: "keras.Model", patch: np.ndarray) -> dict[str, float]:
    """`parameters`, all weights of `model`, also those not trained, and `latency_ms`, a measurement.

    The latency is the median of a few calls of `predict_on_batch` after the first ones, which compile: milliseconds
    on what this process computes on, with the way of the patch to it and of the result back. Whoever else computes on
    the same machine at the same time makes it longer.

    Args:
        patch: stored bands of one patch, float32 `(1, H, W, C)`.
    """
    for _ in range(_WARM_UPS):
        model.predict_on_batch(patch)
    seconds = [_seconds(model, patch) for _ in range(_CALLS)]
    return {Metric.PARAMETERS: float(model.count_params()), Metric.LATENCY: 1000 * statistics.median(seconds)}


def _seconds(model: "keras.Model", patch: np.ndarray) -> float:
    started = time.perf_counter()
    model.predict_on_batch(patch)
    return time.perf_counter() - started
