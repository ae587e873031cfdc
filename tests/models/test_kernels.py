"""The layers that train: the results, gradients and moments of Keras's own, which are exported in their place."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.kernels import FAST, OF_KERAS, Layers, trace_once
from lsml.models.unet import build_network, build_networks

ULP = 2.0**-8
"""A unit in the last place of bfloat16, of a number in 1..2."""


def _features(*shape: int, seed: int = 0) -> np.ndarray:
    """Channels of mean 3 and standard deviation 2."""
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype("float32")


def _twins(kind: str, precision: str, channels: int, **options: Any) -> tuple[keras.Model, keras.Model]:
    """A 1 x 1 convolution and behind it a layer, fast and Keras's own, with the same weights."""

    def build(kinds: Layers) -> keras.Model:
        inputs = keras.Input((None, None, channels))
        x = layers.Conv2D(channels, 1, kernel_initializer=keras.initializers.HeNormal(seed=0), dtype=precision)(inputs)
        return keras.Model(inputs, getattr(kinds, kind)(dtype=precision, name="layer", **options)(x))

    fast, own = build(FAST), build(OF_KERAS)
    generator = np.random.default_rng(1)
    own.set_weights([weight + generator.uniform(0.1, 0.5, weight.shape) for weight in own.get_weights()])
    fast.set_weights(own.get_weights())
    return fast, own


def _outputs(models: tuple[keras.Model, keras.Model], x: np.ndarray, training: bool) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(keras.ops.cast(model(x, training=training), "float32")) for model in models]


def _step(model: keras.Model, x: np.ndarray, truth: np.ndarray) -> list[np.ndarray]:
    """The weights after one step of gradient descent, moving moments among them."""
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(x, truth)
    return model.get_weights()


@pytest.mark.parametrize("trainable", [True, False], ids=["unfrozen", "frozen"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_normalisation_gives_what_keras_gives(training: bool, trainable: bool) -> None:
    """Float32 within 1e-4, bfloat16 within one unit in the last place of either rounding."""
    x = _features(4, 8, 8, 5)
    for precision, unit in (("float32", 1e-4), ("mixed_bfloat16", ULP)):
        models = _twins("batch_normalization", precision, 5, momentum=0.9, epsilon=1e-3)
        for model in models:
            model.get_layer("layer").trainable = trainable
        fast, own = _outputs(models, x, training)
        assert np.ptp(own) > 1
        np.testing.assert_allclose(fast, own, rtol=2 * unit, atol=unit)


def test_normalisation_trains_as_keras_does() -> None:
    """One step from 64 values a channel: gradients through the moments, and the variance that moves divides by 64.

    Were it divided by 63, the moving variance would differ by .1 * 1/63 of the batch's: some .006 here.
    """
    x, truth = _features(4, 4, 4, 3), _features(4, 4, 4, 3, seed=2)
    fast, own = (_step(model, x, truth) for model in _twins("batch_normalization", "float32", 3, momentum=0.9))
    for one, other in zip(fast, own, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_single_value_a_channel_has_no_variance() -> None:
    """Its moving variance goes from 1 to .9, as Keras's, and the output is the offset."""
    layer = FAST.batch_normalization(momentum=0.9)
    output = layer(_features(1, 1, 1, 3), training=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(output), np.zeros((1, 1, 1, 3)), atol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.moving_variance), [0.9] * 3, rtol=1e-6)


def test_frozen_normalisation_moves_no_moment() -> None:
    """A step leaves its own weights as they are; the convolution in front learns through it."""
    x, truth = _features(4, 4, 4, 3), _features(4, 4, 4, 3, seed=2)
    model, _ = _twins("batch_normalization", "float32", 3, momentum=0.9)
    model.get_layer("layer").trainable = False
    before = model.get_layer("layer").get_weights()
    kernel = model.get_weights()[0]
    after = _step(model, x, truth)
    for one, other in zip(model.get_layer("layer").get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(after[0] - kernel).max() > 1e-4


def test_transposed_convolution_gives_and_learns_what_keras_does() -> None:
    """Of 5 channels to 3, in float32: outputs, and the weights after one step."""
    x, truth = _features(2, 4, 6, 5), _features(2, 8, 12, 3, seed=2)
    models = _twins("transposed_convolution", "float32", 5, filters=3, kernel_size=2, strides=2)
    fast, own = _outputs(models, x, training=True)
    assert fast.shape == (2, 8, 12, 3)
    np.testing.assert_allclose(fast, own, rtol=1e-5, atol=1e-5)
    fast_weights, own_weights = (_step(model, x, truth) for model in models)
    for one, other in zip(fast_weights, own_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_dropout_drops_what_keras_drops(precision: str) -> None:
    """Whole channels, those of Keras's layer of the same seed; none of them in inference."""
    x = _features(8, 4, 4, 16)
    models = _twins("channel_dropout", precision, 16, rate=0.4, seed=7)
    fast, own = _outputs(models, x, training=True)
    np.testing.assert_allclose(fast, own, rtol=2 * ULP)
    dropped = (fast == 0).all(axis=(1, 2))
    assert 0.2 < dropped.mean() < 0.6
    assert (fast[~dropped.repeat(16).reshape(8, 16, 4, 4).transpose(0, 2, 3, 1)] != 0).all()
    np.testing.assert_array_equal(*_outputs(models, x, training=False))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"model.architecture": "resnet_unet", "model.attention": "gate"},
        {"model.architecture": "efficientnet_unet", "model.attention": "squeeze_excitation"},
    ],
    ids=["unet", "resnet", "efficientnet"],
)
def test_networks_to_export_are_of_keras_alone(values: dict[str, str], statistics: BandStatistics) -> None:
    """With the weights of the one that trains, which has none of Keras's where there is a fast one, they agree."""
    config = with_values(TrainConfig(), {"model.filters": 8, "model.depth": 2, "model.dropout": 0.2, **values})
    trained, exported = build_networks(config, statistics).inference_model, build_network(config, statistics)
    fast = {type(layer) for layer in trained.layers} & set(FAST)
    assert fast >= {FAST.batch_normalization, FAST.transposed_convolution, FAST.channel_dropout}
    assert not {type(layer) for layer in trained.layers} & set(OF_KERAS)
    assert not {type(layer) for layer in exported.layers} & set(FAST)
    exported.set_weights(trained.get_weights())
    stored = np.tile(np.asarray(statistics.median, "float32"), (2, 16, 16, 1)) * _features(2, 16, 16, 1) / 3
    np.testing.assert_allclose(
        trained.predict_on_batch(stored), exported.predict_on_batch(stored), rtol=1e-3, atol=1e-3
    )


def test_one_trace_serves_batches_of_any_number_of_patches(statistics: BandStatistics) -> None:
    """Batches of 1 and 3 patches give, to the last bit, what a network gives that is traced for each of them."""
    x = _features(3, 16, 16, len(statistics.sensor))
    config = with_values(TrainConfig(), {"model.filters": 8, "model.depth": 2})
    one, each = (build_network(config, statistics) for _ in range(2))
    trace_once(one, x.shape[1:3])
    for batch in (x, x[:1]):
        np.testing.assert_array_equal(one.predict_on_batch(batch), each.predict_on_batch(batch))
    if keras.backend.backend() == "tensorflow":
        counts = [network.predict_function.experimental_get_tracing_count() for network in (one, each)]
        assert counts == [1, 2]
