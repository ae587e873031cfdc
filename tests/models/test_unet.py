"""The U-Net's own proportions; what holds for every network is in `tests/contracts/test_models.py`."""

import keras
import numpy as np

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.archive import read_network
from lsml.models.export import export
from lsml.models.unet import build_model, build_network, build_networks
from tests.bands import N_BANDS, SENSOR


def test_filters_double_with_depth(statistics: BandStatistics) -> None:
    """The deepest level of depth 2 has four times the filters of the first, at a quarter of the resolution."""
    values = {"model.filters": 4, "model.depth": 2, "model.normalization": "none", "model.dropout": 0.0}
    network = build_network(with_values(TrainConfig(), values), statistics)
    assert network.get_layer("encoder2_conv2").output.shape == (None, None, None, 16)
    # 3x3 kernels and biases, encoder: C>4 36 C + 4, 4>4 148, 4>8 296, 8>8 584, 8>16 1168, 16>16 2320;
    # decoder: up 16>8 520, 16>8 1160, 8>8 584, up 8>4 132, 8>4 292, 4>4 148; logits 4>1 5
    assert (
        network.count_params()
        == 9 * N_BANDS * 4 + 4 + 148 + 296 + 584 + 1168 + 2320 + 520 + 1160 + 584 + 132 + 292 + 148 + 5
    )


SMALL = {"model.filters": 4, "model.depth": 2, "model.dropout": 0.0}


def test_a_downscaled_network_sees_means_and_gives_logits_in_between(statistics: BandStatistics) -> None:
    """Of 2 x 2 pixels one; across a row whose logits are a, b, b, … there are a, .75 a + .25 b, .25 a + .75 b, b, …"""
    plain, half = (
        build_network(with_values(TrainConfig(), SMALL | {"input.downscale": n}), statistics) for n in (1, 2)
    )
    half.set_weights(plain.get_weights())
    images = np.random.default_rng(0).uniform(0.1, 0.3, (2, 16, 24, N_BANDS)).astype(np.float32)
    means = images.reshape(2, 8, 2, 12, 2, N_BANDS).mean(axis=(2, 4))
    coarse = keras.ops.convert_to_numpy(plain(means))
    # Between the middles of two squares, a quarter and three quarters of the way; beyond the outer ones as they are.
    across = np.stack([(3 * coarse + left) / 4 for left in (_beside(coarse, 2, -1), _beside(coarse, 2, 1))], axis=3)
    across = across.reshape(2, 8, 24, 1)
    both = np.stack([(3 * across + above) / 4 for above in (_beside(across, 1, -1), _beside(across, 1, 1))], axis=2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(half(images)), both.reshape(2, 16, 24, 1), atol=2e-5)


def _beside(logits: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Each pixel's neighbour before (-1) or after it (1); at the edge itself."""
    length = logits.shape[axis]
    return np.take(logits, (np.arange(length) + step).clip(0, length - 1), axis=axis)


def test_a_downscaled_network_is_supervised_at_every_level_and_exported(statistics: BandStatistics) -> None:
    """Logits of two levels for each pixel of a patch; the file, read back, gives the same probabilities."""
    config = with_values(TrainConfig(), SMALL | {"input.downscale": 4, "model.deep_supervision": True})
    networks, images = build_networks(config, statistics), np.full((1, 32, 64, N_BANDS), 0.2, np.float32)
    assert networks.training_model(images).shape == (1, 32, 64, 2)
    model = build_model(config, statistics)
    read = read_network(export(model, SENSOR).content, N_BANDS, "model")
    first, second = (keras.ops.convert_to_numpy(each(images)) for each in (model, read))
    np.testing.assert_array_equal(first, second)
