"""The ResNet encoders: those of the paper, and what becomes of them at other widths and depths."""

import itertools

import keras
import numpy as np
import pytest

from lsml.config.schema import ModelConfig
from lsml.models.blocks import Blocks
from lsml.models.encoders import encoder_of
from tests.bands import N_BANDS

PUBLISHED = 64
"""Filters of the stem in the paper."""


def _encoder(bands: int, **values: object) -> keras.Model:
    """The encoder alone, `(B, H, W, bands)` to the features of all levels."""
    config = ModelConfig.model_validate({"architecture": "resnet_unet", "depth": 5} | values)
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, encoder_of(config).encode(inputs, Blocks(config, itertools.count(), "float32")))


@pytest.mark.parametrize(
    ("encoder", "published"),
    # torchvision's documented totals less those of the final layer of 1,000 classes:
    # 11,689,512 - 513 * 1000, 21,797,672 - 513 * 1000, 25,557,032 - 2049 * 1000
    [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032)],
)
def test_at_64_filters_they_have_the_published_parameters(encoder: str, published: int) -> None:
    """With three bands, 64 filters and all five levels, the trainable parameters are those of the published ResNet."""
    model = _encoder(3, encoder=encoder, filters=PUBLISHED)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == published


def test_resnet50_takes_the_weights_of_keras_applications() -> None:
    """With the weights of keras.applications' ResNet-50, found by name, the features of every level are the same."""
    bands = keras.Input((None, None, N_BANDS))
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=bands)
    ours = _encoder(N_BANDS, encoder="resnet50", filters=PUBLISHED)
    generator = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As trained ones have: variances far below one, where the epsilon counts.
            gamma, beta, mean, variance = ((0.5, 1), (-0.1, 0.1), (-0.1, 0.1), (0.01, 1))
            layer.set_weights(
                [generator.uniform(*limits, layer.gamma.shape) for limits in (gamma, beta, mean, variance)]
            )
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(generator.uniform(-0.1, 0.1, layer.bias.shape))
    _transfer(theirs, ours)

    last = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    patch = generator.normal(size=(1, 32, 64, N_BANDS)).astype("float32")
    expected = keras.Model(bands, [theirs.get_layer(name).output for name in last])(patch)
    for found, features in zip(ours(patch)[1:], map(np.asarray, expected), strict=True):
        np.testing.assert_allclose(found, features, rtol=0, atol=1e-4 * features.max())


def _transfer(theirs: keras.Model, ours: keras.Model) -> None:
    """Ours has no bias before a normalisation: what it adds is taken off the mean that is subtracted next."""
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            name = layer.name.removesuffix("_conv")
            gamma, beta, mean, variance = theirs.get_layer(f"{name}_bn").get_weights()
            ours.get_layer(layer.name).set_weights([kernel])
            ours.get_layer(f"{name}_norm").set_weights([gamma, beta, mean - bias, variance])


@pytest.mark.parametrize(("encoder", "expansion"), [("resnet18", 1), ("resnet34", 1), ("resnet50", 4)])
def test_depth_takes_that_many_levels(encoder: str, expansion: int) -> None:
    """Depth 4 ends with conv4 at a sixteenth of the resolution; level 0 is the bands themselves."""
    model = _encoder(N_BANDS, encoder=encoder, filters=8, depth=4)
    features = model(np.ones((1, 32, 64, N_BANDS), "float32"))
    # stem 8 filters, conv2 8, conv3 16, conv4 32; a bottleneck gives four times as many
    channels = [N_BANDS, 8, 8 * expansion, 16 * expansion, 32 * expansion]
    assert [tuple(level.shape) for level in features] == [
        (1, 32 // 2**k, 64 // 2**k, count) for k, count in enumerate(channels)
    ]
    assert not any(layer.name.startswith("conv5") for layer in model.layers)


@pytest.mark.parametrize("encoder", ["resnet34", "resnet50"])
def test_without_normalisation_a_block_starts_as_its_shortcut(encoder: str) -> None:
    """Before any training the second block of conv2 gives what the first gives it."""
    model = _encoder(N_BANDS, encoder=encoder, filters=8, depth=2, normalization="none")
    outputs = [model.get_layer(f"conv2_block{number}_out").output for number in (1, 2)]
    patch = np.random.default_rng(0).normal(size=(1, 16, 16, N_BANDS)).astype("float32")
    first, second = map(np.asarray, keras.Model(model.input, outputs)(patch))
    assert first.any()
    np.testing.assert_array_equal(second, first)
