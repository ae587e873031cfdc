"""Model files: networks written to `.keras` archives and read back from checked ones, and what they cost."""

import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsml.data.sensor import Sensor
from lsml.errors import ModelError
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


def load_file(path: Path, sensor: Sensor) -> "keras.Model":
    """The network in a `.keras` file; see `load_bytes`."""
    name = f"model file {path}"
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
    network = read_network(content, name)
    _check_shape(network, len(sensor), name)
    _try_out(network, len(sensor), name)
    return network


def _refused(name: str, why: str) -> ModelError:
    return ModelError(name, why, "give a model that lsml exported")


def _check_shape(model: "keras.Model", bands: int, name: str) -> None:
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise _refused(name, f"{len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    shape, output = tuple(inputs[0].shape), tuple(outputs[0].shape)
    if shape != (None, None, None, bands):
        raise _refused(name, f"input {shape}, expected (B, H, W, {bands})")
    if len(output) != 4 or output[-1] != 1:
        raise _refused(name, f"output {output}, expected (B, H, W, 1)")
    for what, tensor in (("input", inputs[0]), ("output", outputs[0])):
        if tensor.dtype != "float32":
            raise _refused(name, f"{what} of dtype {tensor.dtype}, expected float32")


_TRIAL_SIDE = 64
"""Pixels, which 2**depth divides whatever the depth."""


def _try_out(network: "keras.Model", bands: int, name: str) -> None:
    """Refuses a network whose weights are not finite, or that gives no probabilities of two patches."""
    if not all(np.isfinite(weights).all() for weights in network.get_weights()):
        raise _refused(name, "its weights are not all finite")
    dark_and_bright = np.zeros((2, _TRIAL_SIDE, _TRIAL_SIDE, bands), np.float32)
    dark_and_bright[1] = 1
    try:
        answer = network.predict_on_batch(dark_and_bright)
    except Exception as error:  # noqa: BLE001 - a backend raises whatever its operations raise
        raise _refused(name, f"it fails on a trial patch: {type(error).__name__}") from None
    check_probabilities(answer, dark_and_bright, name)


def check_probabilities(answer: object, images: np.ndarray, name: str) -> np.ndarray:
    """What a network says of images `(B, H, W, C)`, where that are probabilities float32 `(B, H, W, 1)`.

    Raises:
        ModelError: they are of another shape or type, not finite, or not in 0..1.
    """
    shape = (*images.shape[:3], 1)
    if not isinstance(answer, np.ndarray) or answer.shape != shape or answer.dtype != np.float32:
        found = f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise _refused(name, f"of images {images.shape} it gives {found}, expected float32 {shape}")
    if not (np.isfinite(answer).all() and answer.min() >= 0 and answer.max() <= 1):
        raise _refused(name, f"it gives {answer.min():.4g} to {answer.max():.4g}, which are no probabilities")
    return answer


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
