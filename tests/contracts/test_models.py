"""What holds for every network that lsml can build, whatever its encoder and normalisation."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config import LossConfig, Scalar, TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.losses import CompoundLoss
from lsml.models.build import build_model, build_network
from lsml.models.files import export_bytes
from tests.processes import WITHOUT_LSML

SMALL: dict[str, Scalar] = {"model.filters": 4, "model.depth": 3, "model.dropout": 0.1}


def _resnet(encoder: str, **values: Scalar) -> dict[str, Scalar]:
    small = SMALL | {"model.architecture": "resnet_unet", "model.encoder": encoder}
    return small | {f"model.{name}": value for name, value in values.items()}


NETWORKS = {
    "unet": SMALL,
    "unet-group-minmax": SMALL | {"model.normalization": "group", "model.filters": 6, "input.scaling": "minmax"},
    "unet-none": SMALL | {"model.normalization": "none"},
    "resnet18": _resnet("resnet18"),
    "resnet34-group": _resnet("resnet34", normalization="group", filters=6),
    "resnet34-none": _resnet("resnet34", normalization="none", filters=8),
    "resnet50": _resnet("resnet50", depth=5),
}

STRANGER = """
import sys
import keras, numpy as np

bands = np.load("bands.npy")
for name in sys.argv[1:]:
    np.save(name + ".npy", np.asarray(keras.saving.load_model(name + ".keras")(bands)))
assert "lsml" not in sys.modules
"""


@pytest.fixture(params=NETWORKS)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    """One configuration of each network."""
    return with_values(TrainConfig(), NETWORKS[request.param])


def _bands(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (*size, 14)).astype("float32")


def test_probabilities_have_the_shape_of_the_patches(config: TrainConfig, statistics: BandStatistics) -> None:
    """Any height and width that 2**depth divides give as many float32 probabilities in 0..1."""
    model = build_model(config, statistics)
    for size in ((2, 64, 64), (1, 32, 96)):
        probability = np.asarray(model(_bands(*size)))
        assert probability.shape == (*size, 1)
        assert probability.dtype == np.float32
        assert 0 <= probability.min() < probability.max() <= 1


def test_gradient_steps_lower_the_loss(config: TrainConfig, statistics: BandStatistics) -> None:
    """Eight steps on one batch, whose landslide is a brighter square, take off a tenth of the loss or more."""
    network = build_network(with_values(config, {"model.dropout": 0.0}), statistics)
    network.compile(keras.optimizers.AdamW(5e-3), CompoundLoss(LossConfig()), run_eagerly=True)
    truth = np.zeros((2, 32, 32, 1), "float32")
    truth[:, 8:24, 8:24] = 1
    bands = _bands(2, 32, 32) + 2 * truth
    losses = []
    for _ in range(8):
        network.reset_metrics()
        losses.append(float(network.train_on_batch(bands, truth)))
    assert losses[-1] < 0.9 * losses[0], losses


def test_files_load_where_lsml_cannot_be_imported(statistics: BandStatistics, tmp_path: Path) -> None:
    """Every network's file gives the same finite output to 1e-6 without lsml, also of NaN and infinite bands."""
    bands = _bands(2, 32, 32)
    bands[0, 0, 0, :3], bands[0, :4, :, 3], bands[1, 5, 5] = (np.nan, np.inf, -np.inf), np.nan, np.inf
    np.save(tmp_path / "bands.npy", bands)
    expected = {}
    for name, values in NETWORKS.items():
        model = build_model(with_values(TrainConfig(), values), statistics)
        (tmp_path / f"{name}.keras").write_bytes(export_bytes(model))
        expected[name] = np.asarray(model(bands))
        assert np.isfinite(expected[name]).all(), name
    subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_LSML + STRANGER, *expected], cwd=tmp_path, check=True, timeout=300
    )
    for name, probability in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), probability, rtol=0, atol=1e-6, err_msg=name)


def test_bfloat16_ends_in_float32_logits(config: TrainConfig, statistics: BandStatistics) -> None:
    """Under mixed bfloat16 all convolutions but the last compute in it, and the output is the float32 network's.

    The tolerance is that of bfloat16's 8 bits in some dozen layers; networks of other weights lie .3 apart.
    """
    network = build_network(config, statistics, precision="mixed_bfloat16")
    *convolutions, last = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
    assert last.name == network.layers[-1].name == "logits"
    assert keras.config.dtype_policy().name == "float32"

    logits = np.asarray(network(_bands(1, 32, 32)))
    assert logits.dtype == np.float32
    model = build_model(config, statistics)
    model.set_weights(network.get_weights())
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), model(_bands(1, 32, 32)), rtol=0, atol=0.05)


def test_weights_derive_from_the_seed_alone(config: TrainConfig, statistics: BandStatistics) -> None:
    """Equal seeds give equal weights whatever was built in between, another seed gives others; no two layers share."""
    first = build_network(config, statistics).get_weights()
    keras.utils.set_random_seed(99)
    again = build_network(config, statistics).get_weights()
    other = build_network(config.model_copy(update={"seed": 1}), statistics).get_weights()
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    drawn = [index for index, array in enumerate(first) if array.ndim == 4 and array.any()]
    assert not any(np.array_equal(first[index], other[index]) for index in drawn)
    starts = [first[index].ravel()[:8].tobytes() for index in drawn]
    assert len(set(starts)) == len(starts)
