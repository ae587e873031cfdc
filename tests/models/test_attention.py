"""Attention gates and squeeze-excitation against numbers worked out by hand."""

import itertools
import math

import keras
import numpy as np
import pytest

from lsml.config.schema import ModelConfig
from lsml.models.blocks import Blocks
from lsml.models.unet import _excite as excite
from lsml.models.unet import _gate as gate
from tests.bands import N_BANDS


def _blocks() -> Blocks:
    return Blocks(ModelConfig(normalization="none"), itertools.count(), "float32")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_gate_weighs_pixels() -> None:
    """Skip 2 and decoder 1 pass weighted by sigmoid(2), skip -2 and decoder 1 by sigmoid(-1), all channels alike."""
    skip, decoded = keras.Input((None, None, 2)), keras.Input((None, None, 2))
    model = keras.Model([skip, decoded], gate(skip, decoded, _blocks(), "gate"))
    model.get_layer("gate_theta").set_weights([np.array([1.0, 0.0]).reshape(1, 1, 2, 1), np.zeros(1)])
    model.get_layer("gate_phi").set_weights([np.array([1.0, 0.0]).reshape(1, 1, 2, 1), np.zeros(1)])
    model.get_layer("gate_psi").set_weights([np.ones((1, 1, 1, 1)), np.array([-1.0])])
    # relu(2 + 1) - 1 = 2, relu(-2 + 1) - 1 = -1
    skips = np.array([[2.0, 10.0], [-2.0, 20.0]], "float32").reshape(1, 1, 2, 2)
    found = np.asarray(model([skips, np.ones((1, 1, 2, 2), "float32")]))
    np.testing.assert_allclose(found[0, 0], skips[0, 0] * np.array([[_sigmoid(2)], [_sigmoid(-1)]]), rtol=1e-6)


def test_a_gate_starts_open() -> None:
    """Before any training the bias alone lets .95 of the skip through: sigmoid(3) = .9526."""
    skip, decoded = keras.Input((None, None, N_BANDS)), keras.Input((None, None, 8))
    model = keras.Model([skip, decoded], gate(skip, decoded, _blocks(), "gate"))
    weight = model.get_layer("gate_psi")(np.zeros((1, 2, 2, 4), "float32"))
    np.testing.assert_allclose(weight, 0.9526, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (4, 6)])
def test_excitation_weighs_channels(size: tuple[int, int]) -> None:
    """Two channels with means 1 and 3 are weighted by sigmoid(4) and sigmoid(-4), whatever the patch's size."""
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, excite(inputs, _blocks(), "se"))
    # In between are four channels, each the sum of the means, 1 + 3 = 4, of which the first alone counts.
    model.get_layer("se_reduce").set_weights([np.ones((2, 4)), np.zeros(4)])
    model.get_layer("se_excite").set_weights([np.array([[1.0, -1.0], *[[0.0, 0.0]] * 3]), np.zeros(2)])
    patch = np.zeros((1, *size, 2), "float32")
    patch[0, : size[0] // 2] = (2.0, 6.0)
    found = np.asarray(model(patch))
    np.testing.assert_allclose(found, patch * np.array([_sigmoid(4), _sigmoid(-4)]), rtol=1e-5)
