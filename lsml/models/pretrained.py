"""Pretrained weights: from a file of three channels, or ImageNet, into the encoder of a network that sees other bands.

Whether they are there and suit the rest can be told without Keras, which is imported inside functions alone.

What the weights expect is what `keras.applications` feeds its ResNet-50: blue, green and red, 0..255, less the
channel's mean over ImageNet. Those values have mean 0 and a standard deviation of `CHANNEL_STD`, and so has every
band here before the stem, by the statistics of the train split: the batch normalisations' stored moments then fit.
Reflectances brought to 0..255 as a picture is drawn would not do. Blue, of mean .07 and standard deviation .02 in
Landslide4Sense, would lie 60 below ImageNet's mean with a quarter of its spread, and slope has no such scale at all.
Indices, whose train moments are not known, are taken as if theirs were 0 and 1.
"""

import contextlib
import hashlib
import io
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsml.config.schema import ModelConfig, TrainConfig
from lsml.data.sensor import BLUE, GREEN, RED, Sensor
from lsml.data.statistics import BandStatistics
from lsml.errors import ConfigError, ModelError, first_line
from lsml.models.archive import load_weights
from lsml.models.encoders import Pretrained, Weights, encoder_of, encoders
from lsml.workspace import in_turn

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

    from lsml.models.blocks import Blocks

FIELDS = (
    *("model.architecture", "model.encoder", "model.weights", "model.stem", "model.filters", "model.normalization"),
    "input.visible",
)
"""All that decides whether an encoder can start from pretrained weights."""

CHANNEL_STD = 57.6
"""Standard deviation of ImageNet's pixels on 0..255, the mean of the three channels'.

Source: .229, .224 and .225 of 0..1 (https://docs.pytorch.org/vision/stable/models.html).
"""

_CHANNELS = (BLUE, GREEN, RED)
"""Roles of the bands that stand for the three channels of a file, in the order of `keras.applications`' ResNet-50."""

_PROJECTION = "stem_project"


def identity(config: ModelConfig) -> str:
    """Tells apart what encoders start from: `none`, `imagenet`, or the SHA-256 of the file, 64 hex digits.

    Of ImageNet's weights keras has a hash of its own, to which it holds the file.

    Raises:
        ModelError: the file cannot be read.
    """
    if not config.pretrained:
        return "none"
    if config.weights == "imagenet":
        return config.weights
    with _opened(config) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(identity: str) -> dict[str, str]:
    """`weights_sha256` where an `identity` is that of a file; empty where it is not."""
    return {} if identity in ("none", "imagenet") else {"weights_sha256": identity}


def check_suits(config: TrainConfig, sensor: Sensor) -> None:
    """Whether the rest of a configuration and the sensor suit its pretrained weights, whatever is in their file.

    Raises:
        ConfigError: it does not.
    """
    model, pretrained = config.model, _pretrained(config.model)
    if model.weights == "imagenet" and model.encoder != pretrained.published:
        raise ConfigError(
            "model.weights",
            f"keras.applications has no ImageNet weights of {model.encoder}",
            f"set model.encoder={pretrained.published}, or model.weights to a file",
        )
    if model.weights == "imagenet" and model.filters != pretrained.published_filters:
        raise ConfigError(
            "model.weights",
            f"ImageNet's are of {pretrained.published_filters} filters, and model.filters is {model.filters}",
            f"set model.filters={pretrained.published_filters}",
        )
    if model.normalization != "batch":
        raise ConfigError(
            "model.weights",
            f"pretrained encoders have batch normalisation, and model.normalization is {model.normalization}",
            "set model.normalization=batch",
        )
    if config.input.features != "bands":
        raise ConfigError(
            "model.weights",
            f"pretrained encoders need bands, and input.features is {config.input.features}",
            "set input.features=bands",
        )
    if model.stem == "inflate" and not config.input.visible:
        raise ConfigError(
            "model.stem",
            "inflate carries filters to blue, green and red, and input.visible is false",
            "set input.visible=true or model.stem=project",
        )
    if model.stem == "inflate" and not sensor.has(*_CHANNELS):
        why = f"inflate carries filters to blue, green and red, which {sensor.name} lacks"
        raise ConfigError("model.stem", why, "set model.stem=project")


def stem_input(
    features: "KerasTensor", config: TrainConfig, statistics: BandStatistics, blocks: "Blocks"
) -> "KerasTensor":
    """What the stem of a pretrained encoder sees, `(B, H, W, F)`, or `(B, H, W, 3)` where the stem projects.

    Args:
        features: of `lsml.models.inputs.features_of`, `(B, H, W, F)`.

    Raises:
        ConfigError: the weights do not suit the rest of the configuration.
    """
    import keras

    from lsml.models.inputs import bands_seen, scaled_moments

    sensor = statistics.sensor
    check_suits(config, sensor)
    bands, n_features = bands_seen(config.input, sensor), features.shape[-1]
    mean, std = np.zeros(n_features), np.ones(n_features)
    mean[: len(bands)], std[: len(bands)] = (moment[bands] for moment in scaled_moments(config.input, statistics))
    ranged = keras.layers.Normalization(
        mean=mean.tolist(), variance=np.square(std / CHANNEL_STD).tolist(), dtype="float32", name="pretrained_range"
    )(features)
    if config.model.stem == "inflate":
        return ranged
    return blocks.convolve(ranged, len(_CHANNELS), _PROJECTION, kernel=1, initializer=blocks.glorot_uniform())


def load_pretrained(config: TrainConfig, network: "keras.Model", sensor: Sensor) -> frozenset[str]:
    """Gives the encoder of a network of `lsml.models.unet` its pretrained weights.

    The stem's filters of the three channels come to the visible bands as they are. With `inflate` each of the n
    other bands gets the filters' mean over the channels, divided by n: together the others weigh what one channel
    does, whatever their number, and the activations behind stay near those that the file knows. Indices start at
    zero, because their unknown means would shift all that follows. With `project` the layer in front starts by
    handing on the visible bands; where these are off, or the sensor lacks one, it starts from random weights.

    Returns:
        The paths of the variables that the weights came to; the layer in front is not among them.

    Raises:
        ModelError: the weights are not available, or do not fit the encoder.
    """
    from lsml.models.inputs import bands_seen

    weights, stem = read(config.model), f"{_pretrained(config.model).stem}_conv"
    # By role, which is all that tells the visible bands from the others.
    bands = [sensor.bands[place].role for place in bands_seen(config.input, sensor)]
    layers = [layer for layer in network.layers if layer.name in {_PROJECTION, *weights}]
    for layer in layers:
        if layer.name == _PROJECTION:
            if config.input.visible and sensor.has(*_CHANNELS):
                layer.set_weights([_identity_kernel(bands, layer.kernel.shape)])
        elif layer.name == stem and config.model.stem == "inflate":
            layer.set_weights([_inflated(weights[stem][0], bands, layer.kernel.shape)])
        else:
            layer.set_weights(weights[layer.name])
    return frozenset(variable.path for layer in layers if layer.name != _PROJECTION for variable in layer.weights)


def read(config: ModelConfig) -> Weights:
    """The weights that the encoder starts from; ImageNet's are downloaded where keras does not have them yet.

    Raises:
        ModelError: they cannot be had, or do not fit the encoder.
    """
    return _imagenet(_pretrained(config)) if config.weights == "imagenet" else _from_file(config)


def _three_channel_encoder(config: ModelConfig) -> "keras.Model":
    """The whole encoder on `(B, H, W, 3)`, to the features of levels 1 to 5: train it, and give `save_weights` a file.

    Only `encoder` and `filters` of `config` count.
    """
    import keras

    from lsml.models.blocks import Blocks

    encoder = next(encoder for encoder in encoders().values() if config.encoder in encoder.variants)
    whole = ModelConfig(architecture=encoder.architecture, encoder=config.encoder, filters=config.filters, depth=5)
    channels = keras.Input((None, None, len(_CHANNELS)), name="channels")
    return keras.Model(channels, encoder.encode(channels, Blocks(whole, itertools.count(), "float32"))[1:])


def _pretrained(config: ModelConfig) -> Pretrained:
    pretrained = encoder_of(config).pretrained
    assert pretrained is not None, f"{config.architecture} starts from random weights alone"
    return pretrained


@contextlib.contextmanager
def _opened(config: ModelConfig) -> Iterator[io.BufferedReader]:
    """The file of weights.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with Path(os.path.expanduser(config.weights)).open("rb") as file:  # noqa: PTH111 (~nobody stays)
            yield file
    except OSError as error:
        raise ModelError(
            f"model.weights {config.weights}", f"cannot be read: {error.strerror}", "check the path"
        ) from None


def _identity_kernel(bands: list[str], shape: tuple[int, ...]) -> np.ndarray:
    """The kernel `(1, 1, F, 3)` that picks the visible bands."""
    kernel = np.zeros(shape, "float32")
    for channel, band in enumerate(_CHANNELS):
        kernel[..., bands.index(band), channel] = 1
    return kernel


def _inflated(published: np.ndarray, bands: list[str], shape: tuple[int, ...]) -> np.ndarray:
    """The stem's kernel `(7, 7, F, filters)` from the file's `(7, 7, 3, filters)`; see `load_pretrained`."""
    kernel = np.zeros(shape, "float32")
    others = [place for place, band in enumerate(bands) if band not in _CHANNELS]
    for channel, band in enumerate(_CHANNELS):
        kernel[:, :, bands.index(band)] = published[:, :, channel]
    for place in others:
        kernel[:, :, place] = published.mean(axis=2) / len(others)
    return kernel


def _imagenet(pretrained: Pretrained) -> Weights:
    import keras

    try:
        # One worker downloads, the others wait for it; keras would write to one file from all of them.
        home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        with in_turn(home / "lsml-imagenet.lock"), contextlib.redirect_stdout(io.StringIO()):
            published = getattr(keras.applications, pretrained.published_as)
            return pretrained.from_keras(published(include_top=False, weights="imagenet"))
    except Exception as error:  # noqa: BLE001 - keras raises plain Exception where there is no network
        raise ModelError(
            "model.weights=imagenet",
            f"the weights are not available: {first_line(error)}",
            "download that file where there is a network, and set model.weights to its path",
        ) from None


def _from_file(config: ModelConfig) -> Weights:
    """The weights in a file that one of the encoder's layouts fits: keras's, with its head or without, or lsml's."""
    # Keras would say of a file that is not there what h5py and zipfile say.
    with _opened(config):
        pass
    fix = f"give weights of a three-channel {config.encoder} with model.filters={config.filters}"
    complaints = []
    for reference, renamed in _layouts(config):
        # Keras skips what it does not find in a file, with a warning: whatever is still NaN afterwards was not there.
        for variable in reference.weights:
            variable.assign(np.full(variable.shape, np.nan))
        try:
            with warnings.catch_warnings(action="ignore"):
                load_weights(reference, Path(os.path.expanduser(config.weights)), "file")  # noqa: PTH111 (~nobody stays)
        except ModelError as error:
            # That it is refused has nothing to do with the layout.
            raise _refused(config, error.why, fix) from None
        except Exception as error:  # noqa: BLE001 - keras and h5py raise whatever their parts raise
            complaints.append(first_line(error))
            continue
        weights = renamed(reference)
        lacking = [name for name, arrays in weights.items() if not all(np.isfinite(array).all() for array in arrays)]
        if not lacking:
            return weights
        complaints.append(f"it has no finite weights for {lacking[0]}")
    raise _refused(config, f"it does not fit: {complaints[0]}", fix)


def _layouts(config: ModelConfig) -> Iterator[tuple["keras.Model", Callable[["keras.Model"], Weights]]]:
    """Networks that a file could be of, each with what gives its weights lsml's names; each is built when it is due."""
    import keras

    pretrained = _pretrained(config)
    if (config.encoder, config.filters) == (pretrained.published, pretrained.published_filters):
        published = getattr(keras.applications, pretrained.published_as)
        for top in (False, True):
            yield published(include_top=top, weights=None), pretrained.from_keras
    yield _three_channel_encoder(config), _of_lsml


def _of_lsml(reference: "keras.Model") -> Weights:
    return {layer.name: layer.get_weights() for layer in reference.layers if layer.weights}


def _refused(config: ModelConfig, why: str, fix: str) -> ModelError:
    return ModelError(f"model.weights {config.weights}", why, fix)
