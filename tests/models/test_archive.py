"""Crafted model files: none runs code, gets what it declares, or is used; each is one line, exit code 5."""

import ast
import io
import json
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import lsml
from lsml.errors import ModelError
from lsml.models.archive import load_weights
from lsml.models.export import export, load_bytes
from tests.bands import N_BANDS, SENSOR

PACKAGE = Path(lsml.__file__).parent


def _bands() -> Any:
    return keras.Input((None, None, N_BANDS), name="bands")


def _network(last: Callable[[Any], Any] | None = None, **options: Any) -> keras.Model:
    """A convolution of the bands to a sigmoid, and what `last` makes of it."""
    bands = _bands()
    said = layers.Conv2D(1, 1, activation="sigmoid", name="conv", **options)(bands)
    return keras.Model(bands, last(said) if last else said)


@pytest.fixture(scope="module")
def good() -> bytes:
    """The file of the smallest network."""
    return export(_network(), SENSOR).content


Members = dict[str, bytes]


def _members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _archive(members: Members, change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            if change:
                change(entry)
            archive.writestr(entry, data)
    return held.getvalue()


def _described(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """With another config.json."""
    members = _members(content)
    tree = json.loads(members["config.json"])
    change(tree)
    return _archive(members | {"config.json": json.dumps(tree).encode()})


def _weighed(content: bytes, change: Callable[[h5py.File], object]) -> bytes:
    """With other weights."""
    members = _members(content)
    held = io.BytesIO(members["model.weights.h5"])
    with h5py.File(held, "r+") as file:
        change(file)
    return _archive(members | {"model.weights.h5": held.getvalue()})


def _conv(tree: dict[str, Any]) -> dict[str, Any]:
    return next(layer for layer in tree["config"]["layers"] if layer["config"]["name"] == "conv")


def _replaced(content: bytes, **node: Any) -> bytes:
    """With something else in the place of the convolution."""
    return _described(content, lambda tree: _conv(tree).update(node))


def _activated(content: bytes, activation: Any) -> bytes:
    return _described(content, lambda tree: _conv(tree)["config"].update(activation=activation))


def _flag(bit: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = bit << 16

    return change


def _encrypted(content: bytes) -> bytes:
    """The flag in the local header and in the directory of each member."""
    data = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(signature, place + 1)
    return bytes(data)


def _deflated(members: Members) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def _twice(content: bytes) -> bytes:
    held = io.BytesIO(content)
    with zipfile.ZipFile(held, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")
    return held.getvalue()


def _nested(depth: int) -> bytes:
    return b'{"class_name": "Functional", "a": ' + b"[" * depth + b"]" * depth + b"}"


def _within(tree: dict[str, Any]) -> None:
    """Puts the network in another, and that in another, 150 deep."""
    inner = json.loads(json.dumps(tree))
    for _ in range(150):
        outer = json.loads(json.dumps(tree))
        _conv(outer).update(class_name="Functional", module=tree["module"], config=inner["config"] | {"name": "conv"})
        inner = outer
    tree.update(inner)


def _filled(value: float) -> keras.Model:
    model = _network()
    kernel, bias = model.get_weights()
    model.set_weights([kernel, np.full_like(bias, value)])
    return model


def _nan_out() -> keras.Model:
    """NaN of finite weights: 0 / 0."""
    return _network(lambda x: ops.true_divide(x - x, x - x))


def _within_itself(x: Any) -> Any:
    """A network of its own in the network, whose last size is that of the patch."""
    inner = keras.Input((None, None, 1))
    large = layers.UpSampling2D(8)(layers.UpSampling2D(64)(inner))
    return keras.Model(inner, layers.MaxPooling2D(8)(layers.MaxPooling2D(64)(large)))(x)


def _saved(model: keras.Model) -> bytes:
    return export(model, SENSOR).content


def _link(file: h5py.File, link: Any) -> None:
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = link


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((1, 1, N_BANDS, 1), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (1, 1, N_BANDS, 1))
    del file["layers/conv2d/vars/0"]
    file.create_virtual_dataset("layers/conv2d/vars/0", layout)


def _external(file: h5py.File) -> None:
    del file["layers/conv2d/vars/0"]
    shape = (1, 1, N_BANDS, 1)
    file.create_dataset("layers/conv2d/vars/0", shape, "f4", external=[("/etc/passwd", 0, 4 * N_BANDS)])


def _huge(file: h5py.File) -> None:
    """Twenty gigabytes that nobody wrote."""
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", (5_000_000_000,), "f4", chunks=(1024,))


FUNCTION = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}
LAMBDA = {"class_name": "__lambda__", "module": "builtins", "config": {"value": "YQ==", "defaults": None}}
RAN = "import pathlib; pathlib.Path('ran').touch()"

Crafted = Callable[[bytes], bytes]
CRAFTED: dict[str, tuple[Crafted, str]] = {
    # Classes and functions that are none of lsml's.
    "lambda": (lambda _: _saved(_network(layers.Lambda(lambda x: x))), "Lambda of module"),
    "lambda inside": (
        lambda _: _saved(_network(layers.TimeDistributed(layers.Lambda(lambda x: x)))),
        "of module keras.layers is not one of lsml's",
    ),
    "a lambda by name": (lambda good: _activated(good, LAMBDA), "__lambda__ of module builtins"),
    "a lambda of a trusted module": (lambda good: _activated(good, LAMBDA | {"module": "keras.layers"}), "__lambda__"),
    "a function": (lambda good: _activated(good, FUNCTION), "function of module keras.utils"),
    "a function of a trusted module": (
        lambda good: _replaced(good, module="keras.layers", class_name="deserialize", registered_name="deserialize"),
        "deserialize of module keras.layers",
    ),
    "a function of the operations": (
        lambda good: _replaced(good, module="keras.src.ops.numpy", class_name="any_symbolic_tensors"),
        "any_symbolic_tensors of module keras.src.ops.numpy",
    ),
    "system": (lambda good: _replaced(good, module="os", class_name="system", config=RAN), "system of module os"),
    "exec": (lambda good: _replaced(good, module="builtins", class_name="exec", config=RAN), "exec of module builtins"),
    "a registered class": (lambda good: _replaced(good, registered_name="evil>Conv2D"), "Conv2D of module"),
    "no module": (lambda good: _replaced(good, module=None), "Conv2D of module None"),
    "a class that is a list": (lambda good: _replaced(good, class_name=["Conv2D"]), "by something else than text"),
    "a module that is a map": (lambda good: _replaced(good, module={}), "by something else than text"),
    "look-alike letters": (lambda good: _replaced(good, class_name="\u0421onv2D"), "is not one of lsml's layers"),
    "a vocabulary": (
        lambda good: _replaced(good, class_name="StringLookup", config={"vocabulary": "/etc/passwd", "name": "conv"}),
        "StringLookup of module keras.layers",
    ),
    "text": (lambda good: _replaced(good, class_name="TextVectorization"), "TextVectorization of module"),
    "a saved model": (
        lambda good: _replaced(good, class_name="TFSMLayer", config={"filepath": "/tmp", "name": "conv"}),
        "TFSMLayer of module keras.layers",
    ),
    "a recurrent layer": (lambda good: _replaced(good, class_name="LSTM"), "LSTM of module keras.layers"),
    "a typespec": (
        lambda good: _activated(good, {"class_name": "__typespec__", "module": "os", "spec_name": "a", "config": []}),
        "__typespec__ of module os",
    ),
    "an unknown activation": (lambda good: _activated(good, "get_file"), "activation get_file is none of"),
    "a Sequential": (
        lambda good: _described(good, lambda tree: tree.update(class_name="Sequential")),
        "does not describe a network",
    ),
    # Sizes that are declared.
    "filters": (
        lambda good: _described(good, lambda tree: _conv(tree)["config"].update(filters=10**9)),
        "filters declares 1,000,000,000, limit 65,536",
    ),
    "a window": (
        lambda good: _described(good, lambda tree: _conv(tree)["config"].update(kernel_size=[4096, 4096])),
        "kernel_size declares 4,096, limit 64",
    ),
    "more weights than there are": (
        lambda good: _described(
            good, lambda tree: _conv(tree)["config"].update(filters=65_536, kernel_size=[64, 64], groups=1)
        ),
        rf"declares [\d,]+ weights and holds {N_BANDS + 1}",
    ),
    "weights of 20 GB": (lambda good: _weighed(good, _huge), "declares 5,000,000,000 numbers"),
    # Archives.
    "a config that is a list": (lambda good: _archive(_members(good) | {"config.json": b"[]"}), "does not describe"),
    "a config that is no JSON": (lambda good: _archive(_members(good) | {"config.json": b"{"}), "truncated or damaged"),
    "a config with NaN": (lambda good: _archive(_members(good) | {"config.json": b'{"a": NaN}'}), "holds NaN"),
    "a deep config": (lambda good: _archive(_members(good) | {"config.json": _nested(10_000)}), "truncated or damaged"),
    "networks within networks": (lambda good: _described(good, _within), "keras cannot load it"),
    "a large config": (
        lambda good: _archive(_members(good) | {"config.json": b" " * (17 << 20)}),
        "config.json is larger than",
    ),
    "a link": (lambda good: _archive(_members(good), _flag(stat.S_IFLNK | 0o777)), "is a link or no plain file"),
    "a device": (lambda good: _archive(_members(good), _flag(stat.S_IFCHR)), "is a link or no plain file"),
    "a member twice": (_twice, "not a .keras file: it holds"),
    "one more member": (lambda good: _archive(_members(good) | {"evil.py": RAN.encode()}), "it holds"),
    "a member outside": (lambda good: _archive(_members(good) | {"../evil": b""}), "it holds"),
    "an absolute member": (lambda good: _archive(_members(good) | {"/tmp/evil": b""}), "it holds"),
    "assets": (lambda good: _archive(_members(good) | {"assets/a.txt": b""}), "it holds"),
    "compressed": (lambda good: _deflated(_members(good)), "declares more than its"),
    "a bomb": (
        lambda good: _deflated(dict.fromkeys(_members(good), b"0" * 10_000_000)),
        "declares more than its",
    ),
    "encrypted": (_encrypted, "is compressed or encrypted"),
    "a folder's name": (lambda good: _archive({f"{name}/": b"" for name in _members(good)}), "it holds"),
    # Files of weights.
    "an external link": (
        lambda good: _weighed(good, lambda file: _link(file, h5py.ExternalLink("/etc/passwd", "/"))),
        "is a link or too deep",
    ),
    "a soft link": (lambda good: _weighed(good, lambda file: _link(file, h5py.SoftLink("/layers"))), "is a link"),
    "a loop": (lambda good: _weighed(good, lambda file: _link(file, file["layers"])), "stands in it twice"),
    "a virtual dataset": (lambda good: _weighed(good, _virtual), "its weights are refused"),
    "external storage": (lambda good: _weighed(good, _external), "its weights are refused"),
    "text for weights": (lambda good: _weighed(good, lambda file: _link(file, "text")), "declares 1 numbers of dtype"),
    "weights in chunks": (
        lambda good: _weighed(good, lambda file: file.create_dataset("more", data=[1.0, 2.0], chunks=(1,))),
        "'more' is stored in chunks, which Keras does not do",
    ),
    "no weights": (
        lambda good: _weighed(good, lambda file: file.pop("layers/conv2d/vars/0")),
        f"declares {N_BANDS + 1} weights and holds 1",
    ),
    "no HDF5": (lambda good: _archive(_members(good) | {"model.weights.h5": b"text"}), "not an HDF5 file"),
    "a pickle for weights": (
        lambda good: _archive(_members(good) | {"model.weights.h5": b"\x80\x04K\x00."}),
        "not an HDF5 file",
    ),
    # What layers make of the trial patches: 2 x (64 * 64 * 8)**2 values, of 2 x (64 * 64)**2, of 2 x 64**2.
    "upsampling twice": (
        lambda _: _saved(_network(lambda x: layers.UpSampling2D(8)(layers.UpSampling2D(64)(x)))),
        "2,181,046,272 values of a trial patch are made up to",
    ),
    "upsampling within": (
        lambda _: _saved(_network(_within_itself)),
        "2,181,046,272 values of a trial patch are made up to",
    ),
    # Networks that give no probabilities.
    "weights that are NaN": (lambda _: _saved(_filled(np.nan)), "its weights are not all finite"),
    "weights that are infinite": (lambda _: _saved(_filled(np.inf)), "its weights are not all finite"),
    "NaN": (lambda _: _saved(_nan_out()), "it gives nan to nan, which are no probabilities"),
    "a thousand million": (lambda _: _saved(_network(layers.Rescaling(1e9))), "which are no probabilities"),
    "below zero": (lambda _: _saved(_network(layers.Rescaling(-1.0))), "which are no probabilities"),
    "half the size": (
        lambda _: _saved(_network(layers.MaxPooling2D(2))),
        r"it gives float32 \(2, 32, 32, 1\), expected float32 \(2, 64, 64, 1\)",
    ),
    "two channels": (lambda _: _saved(_network(lambda x: layers.Concatenate()([x, x]))), "expected (B, H, W, 1)"),
    "no channels": (lambda _: _saved(_network(layers.GlobalAveragePooling2D())), "expected (B, H, W, 1)"),
    "float64": (lambda _: _saved(_network(dtype="float64")), "output of dtype float64"),
    "integers": (lambda _: _saved(_network(lambda x: ops.cast(x, "int32"))), "output of dtype int32"),
    "two inputs": (
        lambda _: _saved(keras.Model([keras.Input((1,)), bands := _bands()], layers.Conv2D(1, 1)(bands))),
        "2 inputs and 1 outputs",
    ),
    "one more band": (
        lambda _: _saved(
            keras.Model(more := keras.Input((None, None, N_BANDS + 1)), layers.Conv2D(1, 1, activation="sigmoid")(more))
        ),
        "expected (B, H, W,",
    ),
    "a fixed batch": (
        lambda _: _saved(
            keras.Model(fixed := keras.Input(batch_shape=(1, None, None, N_BANDS)), layers.Conv2D(1, 1)(fixed))
        ),
        "expected (B, H, W,",
    ),
}


def refusal(content: bytes, empty: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one line, of exit code 5, by which a file is refused in a folder where it leaves nothing."""
    monkeypatch.chdir(empty)
    with pytest.raises(ModelError) as error:
        load_bytes(content, SENSOR)
    line = str(error.value)
    assert error.value.exit_code == 5
    assert "\n" not in line
    assert list(empty.iterdir()) == []
    return line


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_in_one_line(
    name: str, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run or read that it names; what it declares is not allocated."""
    craft, why = CRAFTED[name]
    line = refusal(craft(good), tmp_path, monkeypatch)
    assert why in line or re.search(why, line), line
    assert "root:" not in line


def test_after_a_refused_file_a_good_one_loads(good: bytes) -> None:
    """What a refused network has declared is not made up for by the next one."""
    with pytest.raises(ModelError):
        load_bytes(CRAFTED["more weights than there are"][0](good), SENSOR)
    model = load_bytes(good, SENSOR)
    assert [weights.shape for weights in model.get_weights()] == [(1, 1, N_BANDS, 1), (1,)]


def test_files_of_weights_go_by_the_same_door(good: bytes, tmp_path: Path) -> None:
    """Of a network to start from: with a link out of the file nothing is read of it."""
    path = tmp_path / "a.weights.h5"
    for name in ("an external link", "a virtual dataset", "external storage", "a loop"):
        path.write_bytes(_members(CRAFTED[name][0](good))["model.weights.h5"])
        with pytest.raises(ModelError, match="its weights are refused"):
            load_weights(_network(), path, "weights")
    path.write_bytes(_members(good)["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [b"conv", b"more"]
        file.attrs["backend"] = "tensorflow"
    network = _network()
    load_weights(network, path, "weights")
    np.testing.assert_array_equal(network.get_weights()[0], load_bytes(good, SENSOR).get_weights()[0])


WAYS_IN = {"load_model", "load_weights", "deserialize_keras_object", "model_from_json", "from_config", "deserialize"}


def _ways_in(path: Path) -> Iterator[str]:
    """What a module calls, or names as an attribute, that makes networks or weights of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(value=value, attr=name) if name in WAYS_IN:
                yield f"{ast.unparse(value)}.{name}"
            case ast.Attribute(attr="pyfunc" | "saving" as name):
                yield name


def test_there_is_no_other_way_in() -> None:
    """Of lsml's modules one alone has Keras read files; KerasTuner's spaces are no networks."""
    found = {
        path.relative_to(PACKAGE).as_posix(): sorted(set(ways))
        for path in PACKAGE.rglob("*.py")
        if (ways := list(_ways_in(path)))
    }
    assert found == {
        "models/archive.py": ["keras.saving.deserialize_keras_object", "network.load_weights", "saving"],
        "study/oracles.py": ["keras_tuner.HyperParameters.from_config"],
        "tracking/models.py": ["pyfunc"],
    }
