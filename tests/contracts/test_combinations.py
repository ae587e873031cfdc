"""Every combination of encoder, decoder options and stem, each built and run; `test_models.py` asks more of fewer."""

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.encoders import encoder_of
from lsml.models.pretrained import CHANNEL_STD
from lsml.models.unet import build_model, build_networks
from tests.bands import N_BANDS, SENSOR
from tests.contracts.test_models import DECLARED, ENCODERS, PRETRAINED

DECODER = ("model.normalization", "model.upsampling", "model.attention", "model.deep_supervision")
STEMS = (
    None,
    *(stem for stem in DECLARED["model.stem"].choices if stem != "inflate" or SENSOR.has("blue", "green", "red")),
)
"""None: the encoder starts from random weights, and nothing is in front of its stem."""

Values = dict[str, Scalar]


def _choices(name: str) -> tuple[Scalar, ...]:
    return DECLARED[name].choices or (False, True)


def _combinations() -> Iterator[tuple[str, Values]]:
    """A name and the fields of each: encoders x 36 decoders, and pretrained encoders x 2 stems x 12 decoders.

    Pretrained encoders have batch normalisation; their file is not read before training.
    """
    for encoder, stem, *options in itertools.product(ENCODERS, STEMS, *map(_choices, DECODER)):
        values = ENCODERS[encoder] | dict(zip(DECODER, options, strict=True))
        if stem is not None:
            if encoder not in PRETRAINED or values["model.normalization"] != "batch":
                continue
            values |= {"model.weights": "absent.weights.h5", "model.stem": stem}
        yield "-".join(str(part) for part in (encoder, stem, *options) if part is not None), values


COMBINATIONS = dict(_combinations())


def _networks(config: TrainConfig, statistics: BandStatistics) -> Iterator[tuple[keras.Model, int]]:
    """Networks to probabilities and how many they give a pixel: the exported one, or what deep supervision has for it.

    A pretrained stem would bring moments that fit its range: He's kernels double the variance of what comes in.
    Without them logits are in the hundreds, and probabilities all the same.
    """
    if config.model.deep_supervision:
        found = [
            (_with_sigmoid(network), network.output.shape[-1]) for network in build_networks(config, statistics)[:2]
        ]
    else:
        found = [(build_model(config, statistics), 1)]
    for network, levels in found:
        if config.model.pretrained:
            stem = encoder_of(config.model).pretrained.stem
            variance = network.get_layer(f"{stem}_norm").moving_variance
            variance.assign(np.full(variance.shape, 2 * CHANNEL_STD**2))
        yield network, levels


def _with_sigmoid(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, keras.layers.Activation("sigmoid", dtype="float32")(network.output))


def _expect_probabilities(values: Values, statistics: BandStatistics, *sizes: tuple[int, int, int]) -> None:
    """For every pixel, and with deep supervision for every level, in 0..1 and not everywhere the same."""
    config = with_values(TrainConfig(), {"model.filters": 5} | values)
    levels_found = []
    for network, levels in _networks(config, statistics):
        levels_found.append(levels)
        for size in sizes:
            bands = np.random.default_rng(0).uniform(0, 4, (*size, N_BANDS)).astype("float32")
            probability = np.asarray(network(bands))
            assert probability.shape == (*size, levels)
            assert probability.dtype == np.float32
            assert 0 <= probability.min() < probability.max() <= 1
    assert levels_found == ([1, config.model.depth] if config.model.deep_supervision else [1])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] * (not values["model.deep_supervision"]))
        for name, values in COMBINATIONS.items()
    ],
)
def test_every_combination_answers(name: str, statistics: BandStatistics) -> None:
    """Cut off after two levels: 24 x 40 pixels, which four divides and eight does not.

    Under deep supervision that is asked of the network without it, too.
    """
    _expect_probabilities(COMBINATIONS[name] | {"model.depth": 2}, statistics, (2, 24, 40))


@pytest.mark.full
@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_combination_answers_at_any_size(name: str, statistics: BandStatistics) -> None:
    """At full depth, one network for several batches: square, wide and tall, and down to one pixel at the bottom."""
    sizes = ((2, 64, 64), (1, 96, 160), (3, 224, 32), (5, 32, 32))
    _expect_probabilities(COMBINATIONS[name] | {"model.depth": 5}, statistics, *sizes)


@pytest.mark.full
@pytest.mark.parametrize("filters", [4, 5, 6, 7])
@pytest.mark.parametrize("normalization", _choices("model.normalization"))
@pytest.mark.parametrize("depth", range(1, 6))
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_depth_takes_any_filters(
    encoder: str, depth: int, normalization: str, filters: int, statistics: BandStatistics
) -> None:
    """Also numbers of filters that eight groups do not divide, on the smallest patches that the depth takes."""
    values: Values = {"model.depth": depth, "model.normalization": normalization, "model.filters": filters}
    options: Values = {"model.attention": "gate", "model.upsampling": "bilinear", "model.deep_supervision": True}
    _expect_probabilities(ENCODERS[encoder] | values | options, statistics, (1, 2**depth, 3 * 2**depth))
