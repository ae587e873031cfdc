"""The one way in for files of weights and networks: nothing of them reaches Keras before all of it has been checked."""

import io
import json
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsml.data.formats.hdf5 import count_weights
from lsml.data.formats.parts import printable
from lsml.errors import DataError, ModelError, first_line

if TYPE_CHECKING:
    import keras

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_MEMBERS = frozenset({_METADATA, _CONFIG, _WEIGHTS})
_MAX_BYTES = 4 << 30
_MAX_CONFIG_BYTES = 16 << 20
_ENCRYPTED = 1
_ENTRY_BYTES, _END_BYTES = 46, 22
"""Of the directory of a ZIP archive (PKWARE's APPNOTE 4.3.12, 4.3.16), without names and comments."""

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

_NUMBERS = frozenset({"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16"})
"""Types of arrays in a configuration; one of text may be told to take a gigabyte a word."""

_LAYERS = frozenset(module for module in _CLASSES if module.startswith("keras.src.")) | {"keras.layers"}
"""The modules of what stands among the layers of a network and nowhere else."""

_BY_NAME = ("_initializer", "_regularizer", "_constraint")
"""What lsml's networks have none of, or write as a class: Keras would take a name for it too."""

_ACTIVATIONS = frozenset({"linear", "relu", "sigmoid", "silu", "swish"})

_WINDOWS = frozenset(
    ("kernel_size", "strides", "pool_size", "size", "padding", "pad_width", "dilation_rate", "depth_multiplier")
)
_LONGEST_WHY = 400
_IDENTITIES = frozenset({"seed", "shared_object_id"})
_MAX_WINDOW, _MAX_CHANNELS = 64, 1 << 16
"""Of pixels, and of anything else but identities, that a layer may be given as a whole number."""

_MOST_CALLS = 100_000
"""Of layers, also of those of networks within a network, as often as these are called: the mean of sixteen of lsml's
largest networks in eight orientations each has 39,000."""

FIX = "give a model that lsml exported"


def read_network(content: bytes, bands: int, name: str) -> "keras.Model":
    """The network in the bytes of a `.keras` file, uncompiled and untried: `(B, H, W, bands)` to `(B, H, W, 1)`.

    Args:
        name: what the file is called in an error.

    Raises:
        ModelError: it is no `.keras` file, damaged, too large, holds something else than lsml's networks do, or is of
            another shape.
    """
    config, weights = _unpacked(content, name)
    _check_tree(config, name)
    with tempfile.TemporaryDirectory(prefix="lsml-model-") as folder:
        path = Path(folder) / _WEIGHTS
        path.write_bytes(weights)
        network = _built(config, path, _stored(path, name), name)
    _check_shape(network, bands, name)
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
    return ModelError(name, printable(why, _LONGEST_WHY), FIX)


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
            if not isinstance(json.loads(archive.read(_METADATA)), dict):
                raise _refused(name, f"{_METADATA} is none of Keras's")
            return json.loads(archive.read(_CONFIG), parse_constant=_no_number), archive.read(_WEIGHTS)
    except (zipfile.BadZipFile, struct.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise _refused(name, f"truncated or damaged: {first_line(error)}") from None


def _check_members(archive: zipfile.ZipFile, size: int, name: str) -> None:
    entries = archive.infolist()
    if {entry.filename for entry in entries} != _MEMBERS or len(entries) != len(_MEMBERS):
        raise _refused(name, f"not a .keras file: it holds {_listed(entries)}")
    if min(entry.header_offset for entry in entries) or archive.comment or size != archive.start_dir + _end(entries):
        raise _refused(name, "damaged: it holds more than its members")
    # Keras stores without compression, so an archive unpacks to no more than itself.
    if sum(entry.file_size for entry in entries) > size:
        raise _refused(name, f"declares more than its {size:,} bytes hold")
    for member in (_METADATA, _CONFIG):
        if archive.getinfo(member).file_size > _MAX_CONFIG_BYTES:
            raise _refused(name, f"{member} is larger than {_MAX_CONFIG_BYTES:,} bytes")
    for entry in entries:
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _refused(name, f"{entry.filename} is a link or no plain file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise _refused(name, f"{entry.filename} is compressed or encrypted, which Keras does not do")


def _end(entries: list[zipfile.ZipInfo]) -> int:
    """The bytes behind the members of an archive: its directory and the record that ends it."""
    return sum(_ENTRY_BYTES + len(entry.filename) + len(entry.extra) for entry in entries) + _END_BYTES


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
            if node is not config and str(node.get("module")) in _LAYERS and key != "layers":
                raise _refused(name, f"{node.get('class_name')} stands in {key[:60]}, not among a network's layers")
        elif isinstance(node, str):
            _check_text(key, node, name)
        elif type(node) is int and key not in _IDENTITIES:
            limit = _MAX_WINDOW if key in _WINDOWS else _MAX_CHANNELS
            if abs(node) > limit:
                raise _refused(name, f"{key} declares {node:,}, limit {limit:,}")
    _check_calls(config, name)


def _check_text(key: str, text: str, name: str) -> None:
    if key == "activation" and text not in _ACTIVATIONS:
        raise _refused(name, f"activation {text[:60]} is none of lsml's networks")
    if key.endswith(_BY_NAME):
        raise _refused(name, f"{key[:60]} is named {text[:60]}, which lsml's networks do not do")
    if not text.isprintable():
        raise _refused(name, f"{key[:60]} {text[:60]} holds control characters")


def _check_calls(config: dict[str, Any], name: str) -> None:
    """Refuses a network that Keras would build for hours: layers that wait for later ones, and calls that multiply."""
    calls, tries, pending = 0, 0, [(config, 1)]
    while pending and max(calls, tries) <= _MOST_CALLS:
        network, times = pending.pop()
        layers = _layers(network)
        places = {str(layer.get("name")): place for place, layer in enumerate(layers)}
        waiting = 0
        for place, layer in enumerate(layers):
            nodes = layer.get("inbound_nodes")
            if isinstance(nodes, list):
                waiting += sum(places.get(source, 0) >= place for source in _sources(nodes))
                calls += times * len(nodes)
                pending.append((layer, times * len(nodes)))
        # Each time that Keras goes through the layers, at least one that waited for another waits no more.
        tries += (waiting + 1) * len(layers)
    if max(calls, tries) > _MOST_CALLS:
        raise _refused(name, f"its layers are called, or wait for others, more than {_MOST_CALLS:,} times")


def _layers(network: dict[str, Any]) -> list[dict[str, Any]]:
    config = network.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _sources(nodes: list[Any]) -> Iterator[str]:
    """The names of the layers of whose answers something is made."""
    for key, node in _nodes(nodes):
        if key == "keras_history" and isinstance(node, str):
            yield node


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
        dtype = node["config"].get("dtype") if isinstance(node.get("config"), dict) else None
        if class_name == "__numpy__" and (not isinstance(dtype, str) or dtype not in _NUMBERS):
            raise _refused(name, f"an array of dtype {str(dtype)[:60]}")
        return
    if node.get("compile_config"):
        raise _refused(name, "it is compiled, which lsml's networks are not")
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
