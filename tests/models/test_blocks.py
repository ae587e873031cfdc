"""The decoder's ways to double the resolution."""

import itertools

import keras
import numpy as np
import pytest

from lsml.config.schema import ModelConfig
from lsml.models.blocks import Blocks


def _upsampling(way: str, channels: int, filters: int) -> keras.Model:
    config = ModelConfig.model_validate({"upsampling": way})
    inputs = keras.Input((None, None, channels))
    return keras.Model(inputs, Blocks(config, itertools.count(), "float32").upsample(inputs, filters, "up"))


def test_bilinear_upsampling_by_hand() -> None:
    """Between two pixels lie two new ones, a quarter and three quarters of the way; borders are repeated."""
    model = _upsampling("bilinear", 1, 1)
    model.get_layer("up_conv").set_weights([np.ones((1, 1, 1, 1))])
    # Rows 0 and 8 below each other, both columns alike but for 4 more: 0, 1, 3, 4 to the right;
    # downwards 0, (3 * 0 + 8) / 4 = 2, (0 + 3 * 8) / 4 = 6, 8
    patch = np.array([[0.0, 4.0], [8.0, 12.0]], "float32")
    expected = np.array([0.0, 2.0, 6.0, 8.0])[:, None] + np.array([0.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(model(patch[None, ..., None])[0, ..., 0], expected, atol=1e-6)


def test_bilinear_upsampling_agrees_with_keras() -> None:
    """Of random features it gives what convolving Keras's own interpolation gives: the order plays no part."""
    model = _upsampling("bilinear", 5, 3)
    features = np.random.default_rng(0).normal(size=(2, 6, 10, 5)).astype("float32")
    larger = keras.ops.image.resize(features, (12, 20), interpolation="bilinear")
    (kernel,) = model.get_layer("up_conv").get_weights()
    np.testing.assert_allclose(model(features), np.asarray(larger) @ kernel[0, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["transposed", "bilinear"])
def test_upsampling_trains_under_xla(way: str) -> None:
    """XLA, which GPUs train with, differentiates it: a step on a sum moves the weights."""
    model = _upsampling(way, 3, 2)
    before = model.get_weights()[0]
    model.compile(keras.optimizers.SGD(0.1), lambda truth, found: keras.ops.mean(found), jit_compile=True)
    model.train_on_batch(np.ones((1, 4, 4, 3), "float32"), np.zeros((1, 8, 8, 2), "float32"))
    assert (model.get_weights()[0] < before).all()
