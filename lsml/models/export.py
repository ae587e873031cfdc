"""Model files: `.keras` archives of Keras's own layers, written without and read with suspicion, and what they cost."""

import hashlib
import io
import json
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lsml.data.sensor import Sensor
from lsml.errors import ModelError
from lsml.names import Metric

if TYPE_CHECKING:
    import keras

_MEMBERS = frozenset({"metadata.json", "config.json", "model.weights.h5"})
_MAX_CONFIG_BYTES = 16 << 20

_TRUSTED: dict[str, set[str] | None] = {
    "keras": {"DTypePolicy", "Functional"},
    "keras.src.models.functional": {"Functional"},
    "keras.initializers": None,
    "keras.layers": None,
    "keras.src.ops.core": {"Cast"},
    "keras.src.ops.math": {"Logsumexp"},
    "keras.src.ops.numpy": None,
    "keras.src.ops.nn": None,
}
"""What a model file may name: modules of keras, and the classes allowed there, or None for all."""

_RUNS_CODE = frozenset({"Lambda", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"})
"""Layers of Keras that run code or read files named in the model file."""

_PLAIN = frozenset({"__keras_tensor__", "__numpy__", "__tuple__"})
"""Values in a configuration that are written like classes and are data."""

_FIX = "give a model that lsml exported"


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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model file {path}", f"cannot be read: {error.strerror}", "check the path") from None
    return load_bytes(content, sensor, name=f"model file {path}")


def load_bytes(content: bytes, sensor: Sensor, *, name: str = "model file") -> "keras.Model":
    """The network in the bytes of a `.keras` file: stored bands `(B, H, W, C)` to probability `(B, H, W, 1)`.

    The archive is looked through before keras sees it, and keras loads it in safe mode.

    Args:
        sensor: what the bands are that it takes.
        name: what the file is called in an error.

    Raises:
        ModelError: not a `.keras` file, truncated or damaged, with layers that are not Keras's own or run code,
            or of another shape.
    """
    import keras

    _refuse_foreign(_architecture(content, name), name)
    with tempfile.TemporaryDirectory(prefix="lsml-model-") as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # noqa: BLE001 - keras raises whatever its parts raise
            raise _refused(name, f"keras cannot load it: {_first_line(error)}") from None
    _check_shape(model, len(sensor), name)
    return model


def _refused(name: str, why: str) -> ModelError:
    return ModelError(name, why, _FIX)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _architecture(content: bytes, name: str) -> Any:
    """The tree in config.json of an archive that is whole."""
    if not content.startswith(b"PK"):
        raise _refused(name, f"not a .keras file: {_kind(content)}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if {entry.filename for entry in entries} != _MEMBERS or len(entries) != len(_MEMBERS):
                raise _refused(name, f"not a .keras file: it holds {_listed(entries)}")
            # Keras stores without compression, so an archive unpacks to no more than itself.
            if sum(entry.file_size for entry in entries) > len(content):
                raise _refused(name, f"declares more than its {len(content):,} bytes hold")
            if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise _refused(name, f"config.json is larger than {_MAX_CONFIG_BYTES:,} bytes")
            damaged = archive.testzip()
            if damaged is not None:
                raise _refused(name, f"damaged: the checksum of {damaged} differs")
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RecursionError) as error:
        raise _refused(name, f"truncated or damaged: {_first_line(error)}") from None


def _kind(content: bytes) -> str:
    if not content:
        return "empty"
    if content.startswith(b"\x89HDF"):
        return "an HDF5 file (the legacy .h5 format)"
    if content.startswith(b"\x80"):
        return "a pickle"
    return "no zip archive"


def _listed(entries: list[zipfile.ZipInfo]) -> str:
    names = [entry.filename[:60] for entry in entries]
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "") if names else "nothing"


def _refuse_foreign(config: Any, name: str) -> None:
    """Every class that a configuration names, at any depth, has to be one of `_TRUSTED`."""
    pending = [config]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        if not isinstance(node, dict):
            continue
        pending.extend(node.values())
        if "class_name" not in node:
            continue
        class_name, module = node["class_name"], node.get("module")
        if module is None and class_name in _PLAIN:
            continue
        if not isinstance(class_name, str) or class_name in _RUNS_CODE:
            raise _refused(name, f"layer {class_name} can run code of its author's")
        if not isinstance(module, str) or module not in _TRUSTED:
            raise _refused(name, f"{class_name} of module {module} is not one of Keras's own layers")
        allowed = _TRUSTED[module]
        if allowed is not None and class_name not in allowed:
            raise _refused(name, f"{class_name} of module {module} is not one of Keras's own layers")


def _check_shape(model: "keras.Model", bands: int, name: str) -> None:
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise _refused(name, f"{len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    shape, output = tuple(inputs[0].shape), tuple(outputs[0].shape)
    if len(shape) != 4 or shape[-1] != bands:
        raise _refused(name, f"input {shape}, expected (B, H, W, {bands})")
    if len(output) != 4 or output[-1] != 1:
        raise _refused(name, f"output {output}, expected (B, H, W, 1)")


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
