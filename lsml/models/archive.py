"""The one way in for files of weights and networks: nothing of them reaches Keras before all of it has been checked."""

import io
import json
import math
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsml.data.formats.hdf5 import count_weights
from lsml.errors import DataError, ModelError, first_line

if TYPE_CHECKING:
    import keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = frozenset({"metadata.json", _CONFIG, _WEIGHTS})
_MAX_BYTES = 4 << 30
_MAX_CONFIG_BYTES = 16 << 20
_ENCRYPTED = 1

_CLASSES = {
    "keras": {"DTypePolicy"},
    "keras.initializers": {"Constant", "GlorotUniform", "HeNormal", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {
        *("Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Conv2DTranspose"),
        *("Dense", "DepthwiseConv2D", "Dropout", "Embedding", "GlobalAveragePooling2D", "GroupNormalization"),
        *("InputLayer", "MaxPooling2D", "Multiply", "Normalization", "ReLU", "Rescaling", "SpatialDropout2D"),
        *("UpSampling2D", "ZeroPadding2D"),
    },
    "keras.src.models.functional": {"Functional"},
    "keras.src.ops.core": {"Cast"},
    "keras.src.ops.math": {"Logsumexp"},
    "keras.src.ops.nn": {"LogSigmoid"},
    "keras.src.ops.numpy": {
        *("Add", "BitwiseAnd", "Clip", "Concatenate", "Digitize", "Flip", "Floor", "Greater", "Isfinite", "Log2"),
        *("Max", "Maximum", "Minimum", "Multiply", "Negative", "Pad", "Round", "Split", "Subtract", "Sum", "Take"),
        *("Transpose", "TrueDivide", "Where"),
    },
}
"""What lsml's own networks are made of, by module: a model file may name nothing else."""

_PLAIN = frozenset({"__keras_tensor__", "__numpy__"})
"""Values in a configuration that are written like classes and are data."""

_ACTIVATIONS = frozenset({"linear", "relu", "sigmoid", "silu", "swish"})

_WINDOWS = frozenset(
    ("kernel_size", "strides", "pool_size", "size", "padding", "pad_width", "dilation_rate", "depth_multiplier")
)
_IDENTITIES = frozenset({"seed", "shared_object_id"})
_MAX_WINDOW, _MAX_CHANNELS = 64, 1 << 16
"""Of pixels, and of anything else but identities, that a layer may be given as a whole number."""

_FIX = "give a model that lsml exported"


def read_network(content: bytes, bands: int, name: str) -> "keras.Model":
    """The network in the bytes of a `.keras` file, uncompiled: `(B, H, W, bands)` to probability `(B, H, W, 1)`.

    Args:
        name: what the file is called in an error.

    Raises:
        ModelError: it is no `.keras` file, damaged, too large, holds something else than lsml's networks do, is of
            another shape, or gives no probabilities of a trial patch.
    """
    config, weights = _unpacked(content, name)
    _check_tree(config, name)
    with tempfile.TemporaryDirectory(prefix="lsml-model-") as folder:
        path = Path(folder) / _WEIGHTS
        path.write_bytes(weights)
        network = _built(config, path, _stored(path, name), name)
    _check_shape(network, bands, name)
    _try_out(network, bands, name)
    return network


def load_weights(network: "keras.Model", path: Path, name: str) -> None:
    """Brings the weights of a file of Keras's (`.weights.h5`, `.keras`, or a whole model's `.h5`) into a network.

    Raises:
        ModelError: the file cannot be read, or leads out of itself.
        Exception: Keras finds that it does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="lsml-weights-") as folder:
        weights = path
        if zipfile.is_zipfile(path):
            weights = Path(folder) / _WEIGHTS
            weights.write_bytes(_unpacked(read_bytes(path, name), name)[1])
        _stored(weights, name)
        network.load_weights(weights)


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a file that is not larger than a model may be.

    Raises:
        ModelError: it is larger, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(name, f"cannot be read: {error.strerror}", "check the path") from None
    if len(content) > _MAX_BYTES:
        raise _refused(name, f"larger than {_MAX_BYTES:,} bytes")
    return content


def _refused(name: str, why: str) -> ModelError:
    return ModelError(name, why, _FIX)


def _unpacked(content: bytes, name: str) -> tuple[Any, bytes]:
    """The tree in config.json of an archive that is whole, and its file of weights."""
    if not content.startswith(b"PK"):
        raise _refused(name, f"not a .keras file: {_kind(content)}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive, len(content), name)
            damaged = archive.testzip()
            if damaged is not None:
                raise _refused(name, f"damaged: the checksum of {damaged} differs")
            return json.loads(archive.read(_CONFIG), parse_constant=_no_number), archive.read(_WEIGHTS)
    except (zipfile.BadZipFile, struct.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise _refused(name, f"truncated or damaged: {first_line(error)}") from None


def _check_members(archive: zipfile.ZipFile, size: int, name: str) -> None:
    entries = archive.infolist()
    if {entry.filename for entry in entries} != _MEMBERS or len(entries) != len(_MEMBERS):
        raise _refused(name, f"not a .keras file: it holds {_listed(entries)}")
    # Keras stores without compression, so an archive unpacks to no more than itself.
    if sum(entry.file_size for entry in entries) > size:
        raise _refused(name, f"declares more than its {size:,} bytes hold")
    if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG_BYTES:
        raise _refused(name, f"{_CONFIG} is larger than {_MAX_CONFIG_BYTES:,} bytes")
    for entry in entries:
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _refused(name, f"{entry.filename} is a link or no plain file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise _refused(name, f"{entry.filename} is compressed or encrypted, which Keras does not do")


def _no_number(constant: str) -> None:
    raise ValueError(f"{_CONFIG} holds {constant}")


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


def _check_tree(config: Any, name: str) -> None:
    """Every class that a configuration names, at any depth, is one of `_CLASSES`, and every size is a possible one."""
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise _refused(name, f"{_CONFIG} does not describe a network")
    for key, node in _nodes(config):
        if isinstance(node, dict):
            _check_class(node, name)
        elif key == "activation" and isinstance(node, str) and node not in _ACTIVATIONS:
            raise _refused(name, f"activation {node[:60]} is none of lsml's networks")
        elif type(node) is int and key not in _IDENTITIES:
            limit = _MAX_WINDOW if key in _WINDOWS else _MAX_CHANNELS
            if abs(node) > limit:
                raise _refused(name, f"{key} declares {node:,}, limit {limit:,}")


def _nodes(config: Any) -> Iterator[tuple[str, Any]]:
    """Every value of a tree, each with the key that it or the lists around it stand under; data arrays are left out."""
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        key, node = pending.pop()
        yield key, node
        if isinstance(node, list):
            pending.extend((key, item) for item in node)
        elif isinstance(node, dict) and node.get("class_name") != "__numpy__":
            pending.extend(node.items())


def _check_class(node: dict[str, Any], name: str) -> None:
    if "class_name" not in node:
        return
    class_name, module = node["class_name"], node.get("module")
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        raise _refused(name, f"{_CONFIG} names a class by something else than text")
    if module is None and class_name in _PLAIN:
        return
    # A name under which somebody has registered a class of theirs comes before the module's.
    if class_name not in _CLASSES.get(module or "", ()) or node.get("registered_name") not in (None, class_name):
        raise _refused(name, f"{class_name[:60]} of module {str(module)[:60]} is not one of lsml's layers")


def _stored(path: Path, name: str) -> int:
    """How many weights a file holds that holds nothing else."""
    try:
        return count_weights(path)
    except DataError as error:
        raise _refused(name, f"its weights are refused: {error.why}") from None


def _built(config: dict[str, Any], path: Path, stored: int, name: str) -> "keras.Model":
    """The network of a configuration that has been checked, with the weights of a file that has been."""
    import keras
    from keras.src.backend.common.global_state import set_global_attribute
    from keras.src.backend.common.variables import initialize_all_variables

    try:
        # Where variables wait for their values, what a file declares takes no memory.
        with keras.StatelessScope(initialize_variables=False):
            network = keras.saving.deserialize_keras_object(config, safe_mode=True)
            declared = network.count_params()
        if declared > stored:
            raise _refused(name, f"declares {declared:,} weights and holds {stored:,}")
        initialize_all_variables()
        network.load_weights(path)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - keras raises whatever its parts raise
        raise _refused(name, f"keras cannot load it: {first_line(error)}") from None
    finally:
        # Keras would make those of a network that is refused with the next one's.
        set_global_attribute("uninitialized_variables", [])
    return network


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
    _check_growth(network, dark_and_bright.shape, name)
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
"""That a layer may make of the trial patches, half a gigabyte; lsml's networks with 64 filters make 2**20 at most."""


def _check_growth(network: "keras.Model", shape: tuple[int, ...], name: str) -> None:
    """Refuses a network of which a layer makes more of inputs of a shape than fits: nothing is computed for that."""
    import keras

    def sized(operation: Any) -> Callable[..., Any]:
        def spec(*arguments: Any, **options: Any) -> Any:
            if isinstance(operation, keras.Model):
                return operation._run_through_graph(arguments[0], operation_fn=sized)
            made = operation.compute_output_spec(*arguments, **options)
            values = sum(math.prod(tensor.shape) for tensor in keras.tree.flatten(made))
            if values > _MOST_VALUES:
                why = f"{str(operation.name)[:60]} makes {values:,} values of a trial patch, limit {_MOST_VALUES:,}"
                raise _refused(name, why)
            return made

        return spec

    try:
        network._run_through_graph([keras.KerasTensor(shape, "float32")], operation_fn=sized)
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
