"""Networks from a configuration: logits to train on, probabilities to export."""

from collections.abc import Iterator

import keras
import numpy as np

from lsml.bands import N_BANDS
from lsml.config import TrainConfig
from lsml.data.statistics import BandStatistics
from lsml.models.blocks import Blocks
from lsml.models.encoders import plain, resnet
from lsml.models.inputs import replace_nonfinite, scale
from lsml.models.unet import decoder, head

WEIGHTS_STREAM = 1
"""Keeps the network's random numbers apart from those of the loader, which derive from the same seed."""


def build_network(config: TrainConfig, statistics: BandStatistics, *, precision: str = "float32") -> keras.Model:
    """The network to train: stored bands float32 `(B, H, W, 14)` to logits float32 `(B, H, W, 1)`.

    H and W may be anything that `2**config.model.depth` divides. Weights and dropout derive from `config.seed` alone.

    Args:
        precision: dtype policy of the layers between input scaling and logits, `float32` or `mixed_bfloat16`.
    """
    seeds = _seeds(config.seed)
    blocks = Blocks(config.model, seeds, precision)
    stored = keras.Input((None, None, N_BANDS), dtype="float32", name="bands")
    scaled = scale(replace_nonfinite(stored, statistics.median), config.input, statistics)
    encoder = plain if config.model.architecture == "unet" else resnet
    features = encoder.encode(scaled, blocks)
    logits = head(decoder(features, encoder.decoder_filters(config.model), blocks), seeds)
    return keras.Model(stored, logits, name=config.model.architecture)


def build_model(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    """The network to export: stored bands float32 `(B, H, W, 14)` to landslide probability `(B, H, W, 1)`.

    It is `build_network` under float32 with a sigmoid on top; the weights are the same, in the same order.
    """
    network = build_network(config, statistics)
    probability = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(network.output)
    return keras.Model(network.input, probability, name=config.model.architecture)


def _seeds(seed: int) -> Iterator[int]:
    generator = np.random.default_rng((seed, WEIGHTS_STREAM))
    while True:
        yield int(generator.integers(2**31))
