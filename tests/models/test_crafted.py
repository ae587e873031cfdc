"""More crafted model files, by what they would cost or slip in: each is one line, exit code 5, within bounds."""

import copy
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.bands import N_BANDS
from tests.models.test_archive import (
    Crafted,
    _archive,
    _conv,
    _described,
    _link,
    _members,
    _network,
    _replaced,
    _saved,
    _weighed,
    good,
    refusal,
)

__all__ = ["good"]

KERNEL = "layers/conv2d/vars/0"


def _configured(**fields: Any) -> Crafted:
    """With other fields of the convolution."""
    return lambda good: _described(good, lambda tree: _conv(tree)["config"].update(fields))


def _written(**fields: Any) -> Crafted:
    """With other things beside the fields of the convolution."""
    return lambda good: _replaced(good, **fields)


def _with(last: Callable[[Any], Any]) -> Crafted:
    """A sound network with something of Keras's own behind it."""
    return lambda _: _saved(_network(last))


def _behind(last: Callable[[Any], Any], name: str, **fields: Any) -> Crafted:
    """The same, with other fields of the layers of that class than Keras lets anybody give them."""

    def change(tree: dict[str, Any]) -> None:
        for layer in tree["config"]["layers"]:
            if layer["class_name"] == name:
                layer["config"].update(fields)

    return lambda _: _described(_saved(_network(last)), change)


def _class(module: str, class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def _constant(value: object, dtype: object) -> Crafted:
    array = {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}
    return _configured(kernel_initializer=_class("keras.initializers", "Constant", value=array))


def _weights(data: object, **options: Any) -> Crafted:
    """With another array in the place of the kernel."""

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=data, **options)

    return lambda good: _weighed(good, change)


def _tensor(name: str, node: int) -> dict[str, Any]:
    history = {"shape": [None, None, None, 1], "dtype": "float32", "keras_history": [name, node, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def _doubling(levels: int) -> Crafted:
    """A network that calls a network twice that calls a network twice, and so on: 2**levels calls."""

    def change(tree: dict[str, Any]) -> None:
        (outermost,) = [layer for layer in tree["config"]["layers"] if layer["class_name"] == "Functional"]
        config = outermost["config"]
        (bands,) = [layer for layer in config["layers"] if layer["class_name"] == "InputLayer"]
        for level in range(levels):
            twice = [{"args": [_tensor(name, 0)], "kwargs": {}} for name in (bands["name"], config["name"])]
            called = outermost | {"config": config, "name": config["name"], "inbound_nodes": twice}
            ends = {"input_layers": [[bands["name"], 0, 0]], "output_layers": [[config["name"], 1, 0]]}
            config = {"name": f"level_{level}", "trainable": True, "layers": [bands, called], **ends}
        outermost["config"] = copy.deepcopy(config) | {"name": outermost["config"]["name"]}

    def craft(_: bytes) -> bytes:
        inner = keras.Input((None, None, 1))
        return _described(_saved(_network(keras.Model(inner, layers.ReLU(max_value=1.0)(inner)))), change)

    return craft


def _reversed(count: int) -> Crafted:
    """Layers of which each stands before the one that it waits for."""

    def last(x: Any) -> Any:
        for _ in range(count):
            x = layers.ReLU(max_value=1.0)(x)
        return x

    return lambda _: _described(_saved(_network(last)), lambda tree: tree["config"]["layers"].reverse())


def _pooled(large: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Something on maps of 2,048 x 2,048 pixels, of which the trial patches' size is made again."""
    return lambda x: layers.MaxPooling2D(32)(large(layers.UpSampling2D(32)(x)))


def _in_parallel(x: Any) -> Any:
    """Twenty maps of 2 x 2,048 x 2,048, each of which may be, and half a gigabyte as they are all kept."""
    return layers.Add()([_pooled(lambda y: y)(x) for _ in range(20)])


def _renamed(before: bytes, after: bytes) -> Crafted:
    """With other bytes in config.json."""

    def craft(good: bytes) -> bytes:
        members = _members(good)
        assert before in members["config.json"]
        return _archive(members | {"config.json": members["config.json"].replace(before, after)})

    return craft


def _directory(offset: int, number: int) -> Crafted:
    """With another number in each entry of the archive's directory."""

    def craft(good: bytes) -> bytes:
        data = bytearray(good)
        place = data.find(b"PK\x01\x02")
        while place >= 0:
            struct.pack_into("<I", data, place + offset, number)
            place = data.find(b"PK\x01\x02", place + 1)
        return bytes(data)

    return craft


DAMAGED = "keras cannot load it|do not fit a trial patch|fails on a trial patch|makes .* of a trial patch"
CRAFTED: dict[str, tuple[Crafted, str]] = {
    # What Keras makes of a name, or beside a network.
    "a regularizer by name": (_configured(kernel_regularizer="l2"), "kernel_regularizer is named l2"),
    "a constraint by name": (_configured(kernel_constraint="max_norm"), "kernel_constraint is named max_norm"),
    "an initializer by name": (_configured(bias_initializer="keras.utils.get_file"), "bias_initializer is named"),
    "a regularizer": (
        _configured(kernel_regularizer=_class("keras.regularizers", "L2", l2=1.0)),
        "L2 of module keras.regularizers",
    ),
    "a quantizer": (
        _configured(quantization_config=_class("keras.quantizers", "Int8QuantizationConfig")),
        "Int8QuantizationConfig of module keras.quantizers",
    ),
    "a quantized policy": (
        _configured(dtype=_class("keras.dtype_policies", "QuantizedDTypePolicy", mode="int8")),
        "QuantizedDTypePolicy of module keras.dtype_policies",
    ),
    "a policy of quantized numbers": (
        _configured(dtype=_class("keras", "DTypePolicy", name="int8_from_float32")),
        DAMAGED,
    ),
    "compiled": (
        lambda good: _described(good, lambda tree: tree.update(compile_config={"loss": "mse"})),
        "it is compiled",
    ),
    "compiled with a class": (
        lambda good: _described(
            good, lambda tree: tree.update(compile_config={"optimizer": _class("keras.optimizers", "Adam")})
        ),
        "it is compiled",
    ),
    "a network for an activation": (
        lambda good: _described(
            good, lambda tree: _conv(tree)["config"].update(activation=json.loads(json.dumps(tree)))
        ),
        "Functional stands in activation",
    ),
    "a layer for an activation": (
        _configured(activation=_class("keras.layers", "ReLU")),
        "ReLU stands in activation",
    ),
    "a cell within": (_written(class_name="RNN", config={"cell": _class("keras.layers", "LSTMCell")}), "RNN of module"),
    "a wrapper": (
        _written(class_name="Bidirectional", config={"layer": _class("keras.layers", "Lambda")}),
        "of module keras.layers is not one of",
    ),
    "weights of low rank": (_configured(lora_rank=60_000), r"declares [\d,]+ weights and holds"),
    "an array as a layer": (
        _written(class_name="__numpy__", module=None, config={"value": [1], "dtype": "float32"}),
        DAMAGED,
    ),
    # Arrays of which each word takes two gigabytes.
    "an array of text": (_constant(["a"] * 8, "S2000000000"), "an array of dtype S2000000000"),
    "an array of arrays": (_constant([0, 1], "(15000,15000)f8"), r"an array of dtype \(15000,15000\)f8"),
    "an array of objects": (_constant([{}], "object"), "an array of dtype object"),
    # Sizes that are none.
    "filters as a fraction": (_configured(filters=1e9), DAMAGED),
    "filters as text": (_configured(filters="1000000000"), DAMAGED),
    "no filters": (_configured(filters=0), DAMAGED),
    "a negative window": (_configured(kernel_size=[-1, -1]), DAMAGED),
    "no steps": (_configured(strides=[0, 0]), DAMAGED),
    "no groups": (_configured(groups=0), DAMAGED),
    "a window of nothing": (_behind(layers.MaxPooling2D(1), "MaxPooling2D", pool_size=[0, 0]), DAMAGED),
    "steps backwards": (_behind(layers.AveragePooling2D(1), "AveragePooling2D", strides=[-1, -1]), DAMAGED),
    "upsampling to nothing": (_behind(layers.UpSampling2D(1), "UpSampling2D", size=[0, 0]), DAMAGED),
    "upsampling backwards": (_behind(layers.UpSampling2D(1), "UpSampling2D", size=[-1, -1]), DAMAGED),
    "upsampling by a fraction": (_behind(layers.UpSampling2D(1), "UpSampling2D", size=[1e4, 1e4]), DAMAGED),
    "padding to nothing": (
        _behind(layers.ZeroPadding2D(1), "ZeroPadding2D", padding=[[-32, -32], [-32, -32]]),
        DAMAGED,
    ),
    # Networks that would take hours or all memory.
    "calls that double": (_doubling(40), "more than 100,000 times"),
    "layers in reverse": (_reversed(330), "wait for others, more than 100,000 times"),
    "many maps": (_with(_in_parallel), r"134,217,728|13\d,\d{3},\d{3} values of a trial patch"),
    "a large window on a large map": (
        _with(_pooled(layers.AveragePooling2D(64, 1, padding="same"))),
        "multiplications for a trial patch",
    ),
    "a large convolution of a large map": (
        _with(lambda x: layers.ReLU(max_value=1.0)(_pooled(layers.Conv2D(1, 64, padding="same"))(x))),
        "multiplications for a trial patch",
    ),
    "a network without end": (
        lambda good: _described(
            good,
            lambda tree: _conv(tree).update(
                inbound_nodes=json.loads(json.dumps(_conv(tree)["inbound_nodes"]).replace('"bands"', '"conv"'))
            ),
        ),
        DAMAGED,
    ),
    # Weights that are not those of the network.
    "weights of another layer": (
        lambda good: _weighed(good, lambda file: file.move("layers/conv2d", "layers/dense")),
        DAMAGED,
    ),
    "weights of another shape": (_weights(np.zeros((1, 1, 1, N_BANDS), np.float32)), DAMAGED),
    "weights packed": (
        _weights(np.zeros((1, 1, N_BANDS, 1), np.float32), chunks=(1, 1, N_BANDS, 1), compression="gzip"),
        "stored in chunks",
    ),
    "weights as records": (_weights(np.zeros(9, [("a", "f4")])), "its weights are refused"),
    "weights that are none": (_weights(h5py.Empty("f4")), f"declares {N_BANDS + 1} weights and holds"),
    "a soft link to a layer": (
        lambda good: _weighed(good, lambda file: _link(file, h5py.SoftLink("/layers/conv2d/vars/1"))),
        "is a link",
    ),
    # Texts.
    "a class that writes to the terminal": (_written(class_name="\x1b[31mEvil"), r"\?\[31mEvil of module"),
    "a layer's name on two lines": (_configured(name="a\nb"), r"name a\?b holds control characters"),
    "half a letter": (_renamed(b'"conv"', b'"\\ud800"'), "holds control characters"),
    "a name twice": (
        _renamed(b'"class_name": "Conv2D"', b'"class_name": "Conv2D", "class_name": "Lambda"'),
        "Lambda of module",
    ),
    "a number of 10,000 digits": (_renamed(b'"filters": 1', b'"filters": ' + b"9" * 10_000), "truncated or damaged"),
    "infinitely many filters": (_renamed(b'"filters": 1', b'"filters": 1e400'), DAMAGED),
    # Archives whose directory says something else than they hold.
    "a size that is elsewhere": (_directory(24, 0xFFFFFFFF), "truncated or damaged|declares more"),
    "members that share their bytes": (_directory(42, 0), "damaged"),
    "metadata that is none": (
        lambda good: _archive(_members(good) | {"metadata.json": b"\xff\xfe"}),
        "truncated or damaged",
    ),
    "metadata that is a list": (
        lambda good: _archive(_members(good) | {"metadata.json": b"[]"}),
        "metadata.json is none of Keras's",
    ),
    "large metadata": (
        lambda good: _archive(_members(good) | {"metadata.json": b" " * (17 << 20)}),
        "metadata.json is larger than",
    ),
    "something before it": (lambda good: b"PK\x03\x04" + bytes(100) + good, "holds more than its members"),
    "something behind it": (lambda good: good + b"#!/bin/sh", "holds more than its members|truncated or damaged"),
    "names in another order of reading": (
        lambda good: _archive({f"\u202e{name}": data for name, data in _members(good).items()}),
        r"it holds \?",
    ),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_in_one_line(
    name: str, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run that it names, and nothing computed or allocated that it declares."""
    craft, why = CRAFTED[name]
    line = refusal(craft(good), tmp_path, monkeypatch)
    assert re.search(why, line), line
    assert line.isprintable()
    assert len(line) < 600


def test_what_a_network_costs_is_what_its_shapes_say() -> None:
    """Of a 3 x 3 convolution of 2 patches of 64 x 64: their 8,192 pixels, and 9 N + 2 multiplications at each.

    One of these is for the value itself, as it is in the sum.
    """
    from lsml.models.export import _Cost

    bands = keras.Input((None, None, N_BANDS))
    inner = keras.Model(bands, layers.Conv2D(1, 3, padding="same")(bands))
    outer = keras.Model(bands, ops.add(inner(bands), inner(bands)))
    cost = _Cost("model", 1 << 60)
    cost.of(outer, [keras.KerasTensor((2, 64, 64, N_BANDS), "float32")])
    assert cost.work == 8192 * (2 * (9 * N_BANDS + 2) + 1)
    # What the last one gives.
    assert cost.values == 8192
