"""Pretrained weights: from a file of three channels, or ImageNet, into the encoder of a network that sees 14 bands.

What the weights expect is what `keras.applications` feeds its ResNet-50: blue, green and red, 0..255, less the
channel's mean over ImageNet. Those values have mean 0 and a standard deviation of `CHANNEL_STD`, and so has every
band here before the stem, by the statistics of the train split: the batch normalisations' stored moments then fit.
Reflectances brought to 0..255 as a picture is drawn would not do. Blue, of mean .07 and standard deviation .02 in
Landslide4Sense, would lie 60 below ImageNet's mean with a quarter of its spread, and slope has no such scale at all.
Indices, whose train moments are not known, are taken as if theirs were 0 and 1.
"""

import contextlib
import io
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
from filelock import FileLock
from keras import KerasTensor

from lsml.config.schema import ModelConfig, TrainConfig
from lsml.data.sensor import BLUE, GREEN, RED
from lsml.data.statistics import BandStatistics
from lsml.errors import ModelError
from lsml.models.blocks import Blocks
from lsml.models.encoders import resnet
from lsml.models.inputs import bands_seen, scaled_moments
from lsml.models.weights import PUBLISHED_FILTERS, check_suits, opened

CHANNELS = (BLUE, GREEN, RED)
"""The bands that stand for the three channels of a file, in the order of `keras.applications`' ResNet-50."""

CHANNEL_STD = 57.6
"""Standard deviation of ImageNet's pixels on 0..255, the mean of the three channels'.

Source: .229, .224 and .225 of 0..1 (https://docs.pytorch.org/vision/stable/models.html).
"""

STEM = "conv1_conv"
PROJECTION = "stem_project"

Weights = Mapping[str, list[np.ndarray]]
"""What `set_weights` of the layer of that name takes."""


def stem_input(features: KerasTensor, config: TrainConfig, statistics: BandStatistics, blocks: Blocks) -> KerasTensor:
    """What the stem of a pretrained encoder sees, `(B, H, W, F)`, or `(B, H, W, 3)` where the stem projects.

    Args:
        features: of `lsml.models.inputs.features_of`, `(B, H, W, F)`.

    Raises:
        ConfigError: the weights do not suit the rest of the configuration.
    """
    check_suits(config)
    bands, n_features = bands_seen(config.input), features.shape[-1]
    mean, std = np.zeros(n_features), np.ones(n_features)
    mean[: len(bands)], std[: len(bands)] = (moment[bands] for moment in scaled_moments(config.input, statistics))
    ranged = keras.layers.Normalization(
        mean=mean.tolist(), variance=np.square(std / CHANNEL_STD).tolist(), dtype="float32", name="pretrained_range"
    )(features)
    if config.model.stem == "inflate":
        return ranged
    return blocks.convolve(ranged, len(CHANNELS), PROJECTION, kernel=1, initializer=blocks.glorot_uniform())


def carry(config: TrainConfig, network: keras.Model) -> frozenset[str]:
    """Gives the encoder of a network of `lsml.models.build` its pretrained weights.

    The stem's filters of the three channels come to the visible bands as they are. With `inflate` each of the n
    other bands gets the filters' mean over the channels, divided by n: together the others weigh what one channel
    does, whatever their number, and the activations behind stay near those that the file knows. Indices start at
    zero, because their unknown means would shift all that follows. With `project` the layer in front starts by
    handing on the visible bands; where these are off it starts from random weights.

    Returns:
        The paths of the variables that the weights came to; the layer in front is not among them.

    Raises:
        ModelError: the weights cannot be had, or do not fit the encoder.
    """
    weights = read(config.model)
    bands = bands_seen(config.input)
    layers = [layer for layer in network.layers if layer.name in {PROJECTION, *weights}]
    for layer in layers:
        if layer.name == PROJECTION:
            if config.input.visible:
                layer.set_weights([_handing_on(bands, layer.kernel.shape)])
        elif layer.name == STEM and config.model.stem == "inflate":
            layer.set_weights([_inflated(weights[STEM][0], bands, layer.kernel.shape)])
        else:
            layer.set_weights(weights[layer.name])
    return frozenset(variable.path for layer in layers if layer.name != PROJECTION for variable in layer.weights)


def read(config: ModelConfig) -> Weights:
    """The weights that the encoder starts from; ImageNet's are downloaded where keras does not have them yet.

    Raises:
        ModelError: they cannot be had, or do not fit the encoder.
    """
    return _imagenet() if config.weights == "imagenet" else _from_file(config)


def three_channel_encoder(config: ModelConfig) -> keras.Model:
    """The whole encoder on `(B, H, W, 3)`, to the features of levels 1 to 5: train it, and give `save_weights` a file.

    Only `encoder` and `filters` of `config` count.
    """
    whole = ModelConfig(architecture="resnet_unet", encoder=config.encoder, filters=config.filters, depth=5)
    channels = keras.Input((None, None, len(CHANNELS)), name="channels")
    return keras.Model(channels, resnet.encode(channels, Blocks(whole, itertools.count(), "float32"))[1:])


def _handing_on(bands: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """The kernel `(1, 1, F, 3)` that picks the visible bands."""
    kernel = np.zeros(shape, "float32")
    for channel, band in enumerate(CHANNELS):
        kernel[..., bands.index(band), channel] = 1
    return kernel


def _inflated(published: np.ndarray, bands: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """The stem's kernel `(7, 7, F, filters)` from the file's `(7, 7, 3, filters)`; see `carry`."""
    kernel = np.zeros(shape, "float32")
    others = [place for place, band in enumerate(bands) if band not in CHANNELS]
    for channel, band in enumerate(CHANNELS):
        kernel[:, :, bands.index(band)] = published[:, :, channel]
    for place in others:
        kernel[:, :, place] = published.mean(axis=2) / len(others)
    return kernel


def _imagenet() -> Weights:
    try:
        # One worker downloads, the others wait for it; keras would write to one file from all of them.
        home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "lsml-imagenet.lock"), contextlib.redirect_stdout(io.StringIO()):
            return _of_keras(keras.applications.ResNet50(include_top=False, weights="imagenet"))
    except Exception as error:  # noqa: BLE001 - keras raises plain Exception where there is no network
        raise ModelError(
            "model.weights=imagenet",
            f"the weights cannot be had: {_first_line(error)}",
            "download that file where there is a network, and set model.weights to its path",
        ) from None


def _from_file(config: ModelConfig) -> Weights:
    """The weights in a file that one of the encoder's layouts fits: keras's, with its head or without, or lsml's."""
    # Keras would say of a file that is not there what h5py and zipfile say.
    with opened(config):
        pass
    complaints = []
    for reference, renamed in _layouts(config):
        # Keras skips what it does not find in a file, with a warning: whatever is still NaN afterwards was not there.
        for variable in reference.weights:
            variable.assign(np.full(variable.shape, np.nan))
        try:
            with warnings.catch_warnings(action="ignore"):
                reference.load_weights(config.weights)
        except Exception as error:  # noqa: BLE001 - keras and h5py raise whatever their parts raise
            complaints.append(_first_line(error))
            continue
        weights = renamed(reference)
        lacking = [name for name, arrays in weights.items() if not all(np.isfinite(array).all() for array in arrays)]
        if not lacking:
            return weights
        complaints.append(f"it has no finite weights for {lacking[0]}")
    raise _refused(
        config,
        f"it does not fit: {complaints[0]}",
        f"give weights of a three-channel {config.encoder} with model.filters={config.filters}",
    )


def _layouts(config: ModelConfig) -> Iterator[tuple[keras.Model, Callable[[keras.Model], Weights]]]:
    """Networks that a file could be of, each with what gives its weights lsml's names; each is built when it is due."""
    if config.encoder == "resnet50" and config.filters == PUBLISHED_FILTERS:
        for top in (False, True):
            yield keras.applications.ResNet50(include_top=top, weights=None), _of_keras
    yield three_channel_encoder(config), _of_lsml


def _of_lsml(reference: keras.Model) -> Weights:
    return {layer.name: layer.get_weights() for layer in reference.layers if layer.weights}


def _of_keras(reference: keras.Model) -> Weights:
    """Keras's convolutions have biases; here they are taken off the mean that the normalisation behind subtracts."""
    weights: dict[str, list[np.ndarray]] = {}
    for layer in reference.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            name = layer.name.removesuffix("_conv")
            gamma, beta, mean, variance = reference.get_layer(f"{name}_bn").get_weights()
            weights |= {layer.name: [kernel], f"{name}_norm": [gamma, beta, mean - bias, variance]}
    return weights


def _refused(config: ModelConfig, why: str, fix: str) -> ModelError:
    return ModelError(f"model.weights {config.weights}", why, fix)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
