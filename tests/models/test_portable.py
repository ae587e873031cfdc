"""Networks as ONNX and as SavedModel: the same probabilities, of images of any size, and the metadata of the files."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.errors import ConfigError, ModelError
from lsml.models import portable
from lsml.models.portable import TOLERANCE, write_onnx, write_saved_model
from lsml.models.unet import build_model
from tests.bands import N_BANDS, SENSOR

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow alone writes these files")

METADATA = {"threshold": 0.25, "bands": ["a", "b"]}
SMALL = {"model.filters": 4, "model.depth": 2}
KINDS = {
    "attention": {"model.attention": "gate", "model.upsampling": "bilinear", "input.scaling": "minmax"},
    "squeeze": {"model.attention": "squeeze_excitation", "model.normalization": "group", "input.clip_percentile": 1.0},
    "indices": {"input.indices": "all", "model.normalization": "none", "input.terrain": False},
    "resnet": {"model.architecture": "resnet_unet", "model.encoder": "resnet18"},
    "efficientnet": {"model.architecture": "efficientnet_unet"},
    "downscale": {"input.downscale": 4, "model.deep_supervision": True},
    "trees": {"model.tree_weight": 0.5},
    "members": {"model.members": 2},
}


def _network(statistics: BandStatistics, **fields: object) -> keras.Model:
    """With weights that are not those it starts with: the moving means and variances among them."""
    keras.utils.set_random_seed(3)
    network = build_model(with_values(TrainConfig(), SMALL | fields), statistics)
    generator = np.random.default_rng(1)
    for weight in network.weights:
        if "float" in str(weight.dtype):
            weight.assign(np.asarray(weight) * generator.uniform(0.9, 1.1, weight.shape))
    return network


def _answer(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(["probability"], {"stored_bands": images})
    return answer


def test_an_onnx_file_gives_the_probabilities_of_any_size(statistics: BandStatistics, tmp_path: Path) -> None:
    """Of one image of 32 x 32 and two of 48 x 80 pixels, within 1e-5; the metadata are JSON."""
    import onnx

    network, path = _network(statistics), tmp_path / "model.onnx"
    assert write_onnx(network, path, SENSOR, METADATA) <= TOLERANCE
    for shape in ((1, 32, 32), (2, 48, 80)):
        images = np.random.default_rng(0).uniform(0, 3, (*shape, N_BANDS)).astype(np.float32)
        np.testing.assert_allclose(_answer(path, images), np.asarray(network(images)), rtol=0, atol=1e-5)
    told = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert told == METADATA
    with pytest.raises(ConfigError, match=r"--out .*/model\.onnx/below: cannot be written"):
        write_onnx(network, path / "below", SENSOR, METADATA)


def test_channels_come_first_for_tools_of_maps(statistics: BandStatistics, tmp_path: Path) -> None:
    """`(B, C, H, W)` in and out, with what Deepness reads: a pixel of 10 m is one of 1,000 cm."""
    import onnx

    network, path = _network(statistics), tmp_path / "model.onnx"
    write_onnx(network, path, SENSOR, METADATA, channels="first")
    images = np.random.default_rng(0).uniform(0, 3, (1, 32, 48, N_BANDS)).astype(np.float32)
    answer = _answer(path, np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    assert answer.shape == (1, 1, 32, 48)
    np.testing.assert_allclose(np.moveaxis(answer, 1, -1), np.asarray(network(images)), rtol=0, atol=1e-5)
    told = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert (told["model_type"], told["class_names"]) == ("Segmentor", {"0": "landslide"})
    assert told["seg_thresh"] == METADATA["threshold"]
    assert told.get("resolution") == (SENSOR.pixel_metres and 100 * SENSOR.pixel_metres)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind_are_the_same_in_both_formats(
    kind: str, statistics: BandStatistics, tmp_path: Path
) -> None:
    network = _network(statistics, **KINDS[kind])
    assert write_onnx(network, tmp_path / "model.onnx", SENSOR, METADATA) <= TOLERANCE
    assert write_saved_model(network, tmp_path / "saved", SENSOR, METADATA) <= TOLERANCE
    assert json.loads((tmp_path / "saved" / "model.json").read_text()) == METADATA


@pytest.mark.parametrize("write", [write_saved_model, pytest.param(write_onnx, marks=pytest.mark.full)])
def test_a_file_that_computes_something_else_is_not_written(
    write: Callable[..., float], statistics: BandStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No probability is within less than nothing of another, so none is near enough."""
    monkeypatch.setattr(portable, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="does not give Keras's probabilities"):
        write(_network(statistics), tmp_path / "model", SENSOR, METADATA)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(
    statistics: BandStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    with pytest.raises(ConfigError, match=r"needs the package tf2onnx; pip install 'lsml\[onnx\]'"):
        write_onnx(_network(statistics), tmp_path / "model.onnx", SENSOR, METADATA)
