"""Networks in formats that run where Keras is not installed: ONNX, and TensorFlow's SavedModel."""

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lsml.data.sensor import Sensor
from lsml.errors import ConfigError, ModelError, in_one_line

if TYPE_CHECKING:
    import keras

Format = Literal["onnx", "savedmodel"]
Channels = Literal["last", "first"]

INPUT, OUTPUT = "stored_bands", "probability"
METADATA_FILE = "model.json"
"""Beside a SavedModel, which holds no metadata of its own."""

TOLERANCE = 1e-4
"""How far a probability of the written network may be from Keras's."""

_OPSET = 17
_SIDE = 64
_PERCENT_OVERLAP = 25


def write_onnx(
    network: "keras.Model", path: Path, sensor: Sensor, metadata: Mapping[str, object], *, channels: Channels = "last"
) -> float:
    """Writes a network as an ONNX file: stored bands to landslide probability, of images of any size that it takes.

    Args:
        metadata: kept in the file as JSON, by name.
        channels: `last` for float32 `(B, H, W, C)` as Keras has it; `first` for `(B, C, H, W)`, which ONNX tools for
            maps expect: then the file has the metadata that QGIS's plugin Deepness reads, too.

    Returns:
        How far its probabilities of a trial image are from Keras's, at most.

    Raises:
        ConfigError: a package is missing.
        ModelError: what was written computes something else.
    """
    _need("onnx", "tf2onnx", "onnxruntime", "tensorflow")
    import onnxruntime
    import tf2onnx.convert
    import tf2onnx.tf_loader
    from onnx import helper, save_model

    with tempfile.TemporaryDirectory(prefix="lsml-export-") as folder, _quietly():
        _save(network, Path(folder), len(sensor))
        graph, inputs, outputs = tf2onnx.tf_loader.from_saved_model(
            folder, None, None, tag="serve", signatures=["serving_default"]
        )
        first = {"inputs_as_nchw": inputs, "outputs_as_nchw": outputs} if channels == "first" else {}
        names = dict(zip([*inputs, *outputs], [INPUT, OUTPUT], strict=True))
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=inputs, output_names=outputs, opset=_OPSET, tensors_to_rename=names, **first
        )
    told = dict(metadata) | (_of_deepness(sensor, metadata) if channels == "first" else {})
    helper.set_model_props(model, {name: json.dumps(value) for name, value in told.items()})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def predict(images: np.ndarray) -> np.ndarray:
        given = np.moveaxis(images, -1, 1) if channels == "first" else images
        (answer,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(given)})
        return np.moveaxis(answer, 1, -1) if channels == "first" else answer

    differs = _checked(network, predict, sensor)
    _written(lambda: save_model(model, str(path)), path)
    return differs


def write_saved_model(network: "keras.Model", path: Path, sensor: Sensor, metadata: Mapping[str, object]) -> float:
    """Writes a network as a folder that TensorFlow loads and TensorFlow Serving serves; see `write_onnx`.

    The metadata stand in `model.json` in it.
    """
    _need("tensorflow")
    import keras

    with tempfile.TemporaryDirectory(prefix="lsml-export-") as folder:
        made = Path(folder) / "model"
        with _quietly():
            _save(network, made, len(sensor))
        (made / METADATA_FILE).write_text(json.dumps(metadata, indent=2), encoding="utf-8")
        loaded = keras.layers.TFSMLayer(str(made), call_endpoint="serving_default")

        def predict(images: np.ndarray) -> np.ndarray:
            (answer,) = loaded(images).values()
            return np.asarray(answer)

        differs = _checked(network, predict, sensor)
        _written(lambda: shutil.copytree(made, path), path)
    return differs


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice to developers that the libraries give of each other."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _save(network: "keras.Model", folder: Path, bands: int) -> None:
    import keras

    signature = keras.InputSpec(shape=(None, None, None, bands), dtype="float32", name=INPUT)
    network.export(folder, format="tf_saved_model", input_signature=[signature], verbose=False)


def _written(write: Callable[[], object], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise ConfigError(f"--out {path}", f"cannot be written ({error.strerror})", "name another place") from None


def _need(*names: str) -> None:
    """Raises ConfigError where a package is missing, or Keras computes on another one than TensorFlow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        why = f"Keras's {keras.backend.backend()} backend writes no such file"
        raise ConfigError("export", why, "run it with KERAS_BACKEND=tensorflow, where TensorFlow is installed")
    for name in names:
        try:
            import_module(name)
        except ImportError:
            raise ConfigError("export", f"needs the package {name}", "pip install 'lsml[onnx]'") from None


def _checked(network: "keras.Model", predict: Callable[[np.ndarray], np.ndarray], sensor: Sensor) -> float:
    """How far apart two networks are on a trial image of each band's typical values and some around them."""
    typical = np.array([band.typical for band in sensor.bands], np.float32)
    around = np.random.default_rng(0).uniform(0.5, 1.5, (1, _SIDE, 2 * _SIDE, 1)).astype(np.float32)
    images = around * typical
    try:
        answer = predict(images)
    except Exception as error:
        raise ModelError("export", f"what was written does not run: {in_one_line(error)}", "report it") from error
    expected = np.asarray(network.predict_on_batch(images))
    if answer.shape != expected.shape or not (differs := float(np.abs(answer - expected).max())) <= TOLERANCE:
        why = f"what was written does not give Keras's probabilities within {TOLERANCE:g}"
        raise ModelError("export", why, "report it, with the model's configuration")
    return differs


def _of_deepness(sensor: Sensor, metadata: Mapping[str, object]) -> dict[str, object]:
    """What QGIS's plugin Deepness takes from a file, by the names of its documentation ("Add metadata to a model")."""
    found: dict[str, object] = {
        "model_type": "Segmentor",
        "class_names": {"0": "landslide"},
        "seg_thresh": metadata["threshold"],
        "tiles_overlap": _PERCENT_OVERLAP,
    }
    if sensor.pixel_metres is not None:
        # In centimetres.
        found["resolution"] = 100 * sensor.pixel_metres
    return found
