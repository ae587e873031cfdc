"""Model files: networks written to `.keras` archives, read back from checked ones and tried, and what they cost."""

import hashlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lsml.data.sensor import Sensor
from lsml.errors import ModelError, first_line
from lsml.models.archive import FIX, read_bytes, read_network
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
    network = read_network(content, len(sensor), name)
    _try_out(network, len(sensor), name)
    return network


def _refused(name: str, why: str) -> ModelError:
    return ModelError(name, why, FIX)


_TRIAL_SIDE = 64
"""Pixels, which the stride of any network divides."""


def _try_out(network: "keras.Model", bands: int, name: str) -> None:
    """Refuses a network whose weights are not finite, or that gives no probabilities of two patches."""
    if not all(np.isfinite(weights).all() for weights in network.get_weights()):
        raise _refused(name, "its weights are not all finite")
    dark_and_bright = np.zeros((2, _TRIAL_SIDE, _TRIAL_SIDE, bands), np.float32)
    dark_and_bright[1] = 1
    _check_cost(network, dark_and_bright.shape, name)
    try:
        answer = _applied_once(network, dark_and_bright)
    except Exception as error:  # noqa: BLE001 - a backend raises whatever its operations raise
        raise _refused(name, f"it fails on a trial patch: {type(error).__name__}") from None
    check_probabilities(answer, dark_and_bright, name)


def _applied_once(network: "keras.Model", images: np.ndarray) -> object:
    """What it gives of images `(B, H, W, C)` that no others of their size follow.

    TensorFlow takes longer to trace a network than to compute it once, JAX to compile each operation by itself.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return keras.ops.convert_to_numpy(network(images, training=False))
    return network.predict_on_batch(images)


_MOST_VALUES = 1 << 27
"""That the layers of a network make of the trial patches together, half a gigabyte: Keras keeps them until it ends.

The largest of lsml's own, a U-Net of 128 filters and depth 5, makes 2**25.4."""

_MOST_WORK, _WORK_A_WEIGHT = 1 << 32, 1 << 17
"""Multiplications, a second or so, and how many more for each weight of the file: one is used at most once at each of
the 2**13 pixels of the trial patches, and eight times as often where a network is the mean of its orientations."""


class _Cost:
    """What a network takes to compute, as far as its layers' shapes tell, without computing it.

    Attributes:
        values: that are held at once.
        work: multiplications, at least one a value, and as many as its window or its weights are.
    """

    def __init__(self, name: str, most_work: int) -> None:
        self.values = self.work = 0
        self._name, self._most_work = name, most_work

    def of(self, network: "keras.Model", inputs: Any) -> Any:
        """Adds a network's; gives what its outputs are.

        Raises:
            ModelError: it is more than a model may take, or a layer makes nothing.
        """
        import keras

        before, made = self.values, network._run_through_graph(inputs, operation_fn=self._counting)
        # Of what is within a network only its answer is left.
        self.values = before + sum(math.prod(tensor.shape) for tensor in keras.tree.flatten(made))
        return made

    def _counting(self, operation: Any) -> Callable[..., Any]:
        import keras

        def spec(*arguments: Any, **options: Any) -> Any:
            if isinstance(operation, keras.Model):
                return self.of(operation, arguments[0])
            made = operation.compute_output_spec(*arguments, **options)
            self._add(operation, [tensor.shape for tensor in keras.tree.flatten(made)])
            return made

        return spec

    def _add(self, operation: Any, shapes: list[tuple[int, ...]]) -> None:
        named = str(operation.name)[:60]
        if any(size < 1 for shape in shapes for size in shape):
            raise _refused(self._name, f"{named} makes {shapes[0]} of a trial patch")
        made = sum(map(math.prod, shapes))
        self.values += made
        self.work += made * math.prod(getattr(operation, "pool_size", ()))
        self.work += sum(math.prod(shape[:-1]) for shape in shapes) * _weights(operation)
        if self.values > _MOST_VALUES:
            why = f"{self.values:,} values of a trial patch are made up to {named}, limit {_MOST_VALUES:,}"
            raise _refused(self._name, why)
        if self.work > self._most_work:
            why = f"{self.work:,} multiplications for a trial patch up to {named}, limit {self._most_work:,}"
            raise _refused(self._name, why)


def _weights(operation: Any) -> int:
    """How many numbers a layer multiplies with at each place of what it makes; a table is looked up in."""
    import keras

    looked_up = isinstance(operation, keras.layers.Embedding)
    return 0 if looked_up else sum(math.prod(weights.shape) for weights in getattr(operation, "weights", ()))


def _check_cost(network: "keras.Model", shape: tuple[int, ...], name: str) -> None:
    """Refuses a network that takes too much memory or time for inputs of a shape: nothing is computed for that."""
    import keras

    most_work = _MOST_WORK + _WORK_A_WEIGHT * network.count_params()
    try:
        _Cost(name, most_work).of(network, [keras.KerasTensor(shape, "float32")])
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - keras raises whatever its parts raise
        raise _refused(name, f"its layers do not fit a trial patch: {first_line(error)}") from None


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
