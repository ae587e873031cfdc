"""Model files: what lsml exports loads back, and nothing else than lsml's own is let in."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.errors import ModelError
from lsml.models.export import export, load_bytes, load_file
from lsml.models.unet import build_model
from tests.bands import N_BANDS, SENSOR

SMALL = {"model.filters": 4, "model.depth": 1}


@pytest.fixture(scope="module")
def model(statistics: BandStatistics) -> keras.Model:
    """A small network."""
    return build_model(with_values(TrainConfig(), SMALL), statistics)


@pytest.fixture(scope="module")
def exported(model: keras.Model) -> bytes:
    """Its file."""
    return export(model, SENSOR).content


def test_an_exported_file_is_uncompiled_and_loads_back(exported: bytes, model: keras.Model, tmp_path: Path) -> None:
    """From bytes and from a file comes the same network, without a loss or an optimizer."""
    path = tmp_path / "model.keras"
    path.write_bytes(exported)
    bands = np.random.default_rng(0).uniform(0, 4, (1, 8, 8, N_BANDS)).astype("float32")
    for loaded in (load_bytes(exported, SENSOR), load_file(path, SENSOR)):
        assert not loaded.compiled
        np.testing.assert_allclose(loaded(bands), model(bands), rtol=0, atol=1e-6)


def _rewritten(content: bytes, change: Callable[[dict], None]) -> bytes:
    """The archive with its config.json changed."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(result, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            target.writestr(entry.filename, data)
    return result.getvalue()


def _layer(config: dict, index: int = -1) -> dict:
    return config["config"]["layers"][index]


def _saved(model: keras.Model, path: Path) -> bytes:
    model.save(path)
    return path.read_bytes()


def test_files_that_are_no_keras_archives_are_refused(exported: bytes, model: keras.Model, tmp_path: Path) -> None:
    """Nothing, text, a pickle, the legacy format, a foreign zip and a zip bomb each get one line and exit code 5."""
    foreign, bomb = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"0" * 1_000_000)
    refused = {
        "empty": b"",
        "no zip archive": b"hello",
        "a pickle": pickle.dumps({"weights": 1}),
        "legacy .h5": _saved(model, tmp_path / "model.h5"),
        "it holds readme.txt": foreign.getvalue(),
        "declares more than": bomb.getvalue(),
    }
    for reason, content in refused.items():
        with pytest.raises(ModelError, match=reason) as error:
            load_bytes(content, SENSOR)
        assert error.value.exit_code == 5
        assert "\n" not in str(error.value)


def test_truncated_and_damaged_files_are_refused(exported: bytes) -> None:
    """A file cut off anywhere, or with one byte of its weights turned, does not load."""
    for share in (0.01, 0.2, 0.5, 0.8, 0.99, 0.9999):
        with pytest.raises(ModelError, match="truncated or damaged"):
            load_bytes(exported[: int(len(exported) * share)], SENSOR)
    turned = bytearray(exported)
    turned[len(turned) // 2] ^= 0xFF
    with pytest.raises(ModelError, match="damaged"):
        load_bytes(bytes(turned), SENSOR)


def test_layers_that_can_run_code_are_refused(exported: bytes, tmp_path: Path) -> None:
    """A Lambda layer, a class of another module and a function by name are refused before keras sees them."""
    bands = keras.Input((None, None, N_BANDS))
    with_lambda = keras.Model(bands, keras.layers.Lambda(lambda x: x[..., :1])(bands))
    with pytest.raises(ModelError, match=r"Lambda of module keras\.layers is not one of lsml's layers"):
        load_bytes(_saved(with_lambda, tmp_path / "lambda.keras"), SENSOR)

    foreign = _rewritten(exported, lambda config: _layer(config).update(module="os", class_name="system"))
    with pytest.raises(ModelError, match="system of module os is not one of lsml's layers"):
        load_bytes(foreign, SENSOR)

    function = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
    hidden = _rewritten(exported, lambda config: _layer(config)["config"].update(activation=function))
    with pytest.raises(ModelError, match=r"function of module keras\.utils"):
        load_bytes(hidden, SENSOR)


def test_networks_of_other_shapes_are_refused(tmp_path: Path) -> None:
    """Six input bands, two classes and two outputs are said to be what they are."""
    six, bands = keras.Input((None, None, 6)), keras.Input((None, None, N_BANDS))
    one, two = keras.layers.Conv2D(1, 1), keras.layers.Conv2D(2, 1)
    refused = {
        rf"input \(None, None, None, 6\), expected \(B, H, W, {N_BANDS}\)": keras.Model(
            six, keras.layers.Conv2D(1, 1)(six)
        ),
        r"output \(None, None, None, 2\)": keras.Model(bands, two(bands)),
        "1 inputs and 2 outputs": keras.Model(bands, [one(bands), two(bands)]),
    }
    for reason, network in refused.items():
        with pytest.raises(ModelError, match=reason):
            load_bytes(_saved(network, tmp_path / "model.keras"), SENSOR)


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    """A path without a file is named in the error."""
    with pytest.raises(ModelError, match=r"absent\.keras: cannot be read"):
        load_file(tmp_path / "absent.keras", SENSOR)
