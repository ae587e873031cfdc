"""The U-Net: shapes, arithmetic, determinism."""

import keras
import numpy as np
import pytest

from lsml.config import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.build import build_model, build_network


def _config(**values: object) -> TrainConfig:
    small = {"model.filters": 4, "model.depth": 2}
    return with_values(TrainConfig(), small | {f"model.{name}": value for name, value in values.items()})


def _bands(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (*size, 14)).astype("float32")


@pytest.mark.parametrize("normalization", ["batch", "group", "none"])
def test_probabilities_have_the_shape_of_the_patches(normalization: str, statistics: BandStatistics) -> None:
    """Any height and width that 2**depth divides give as many float32 probabilities in 0..1."""
    model = build_model(_config(normalization=normalization, filters=6), statistics)
    for size in ((2, 16, 16), (1, 12, 20)):
        probability = np.asarray(model(_bands(*size)))
        assert probability.shape == (*size, 1)
        assert probability.dtype == np.float32
        assert 0 < probability.min() < probability.max() < 1


def test_the_network_ends_in_float32_logits(statistics: BandStatistics) -> None:
    """Under bfloat16 the logits are float32, and their sigmoid is the float32 network's to two digits."""
    network = build_network(_config(), statistics, precision="mixed_bfloat16")
    model = build_model(_config(), statistics)
    model.set_weights(network.get_weights())
    assert network.layers[-1].name == "logits"
    logits = np.asarray(network(_bands(1, 16, 16)))
    assert logits.dtype == np.float32
    assert network.get_layer("encoder0_conv1").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), model(_bands(1, 16, 16)), atol=0.03)


def test_weights_derive_from_the_seed_alone(statistics: BandStatistics) -> None:
    """Equal seeds give equal weights whatever was built in between, another seed gives others."""
    first = build_network(_config(), statistics).get_weights()
    keras.utils.set_random_seed(99)
    again = build_network(_config(), statistics).get_weights()
    other = build_network(_config().model_copy(update={"seed": 1}), statistics).get_weights()
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    kernels = [array.ravel()[:100].tobytes() for array in first if array.ndim == 4]
    assert len(set(kernels)) == len(kernels)


def test_filters_double_with_depth(statistics: BandStatistics) -> None:
    """The deepest level of depth 2 has four times the filters of the first, at a quarter of the resolution."""
    network = build_network(_config(normalization="none", dropout=0.0), statistics)
    assert network.get_layer("encoder2_conv2").output.shape == (None, None, None, 16)
    # 3x3 kernels and biases, encoder: 14>4 508, 4>4 148, 4>8 296, 8>8 584, 8>16 1168, 16>16 2320;
    # decoder: up 16>8 520, 16>8 1160, 8>8 584, up 8>4 132, 8>4 292, 4>4 148; logits 4>1 5
    assert network.count_params() == 508 + 148 + 296 + 584 + 1168 + 2320 + 520 + 1160 + 584 + 132 + 292 + 148 + 5


def test_a_constant_band_and_nonfinite_values_do_not_spread(statistics: BandStatistics) -> None:
    """NaN and infinities in the input, and a band without spread, leave finite probabilities."""
    bands = _bands(1, 16, 16)
    bands[0, :4, :, 3], bands[0, 5, 5] = np.nan, np.inf
    assert np.isfinite(np.asarray(build_model(_config(), statistics)(bands))).all()
