"""Networks from a configuration: logits to train on, probabilities to export."""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import KerasTensor

from lsml.config.schema import TrainConfig
from lsml.data.sensor import N_BANDS
from lsml.data.statistics import BandStatistics
from lsml.models.blocks import Blocks
from lsml.models.encoders import plain, resnet
from lsml.models.ensemble import mean_logits, member_seeds, side_by_side
from lsml.models.inputs import features_of
from lsml.models.pretrained import stem_input
from lsml.models.trees import tree_network
from lsml.models.unet import decoder, head, supervise

WEIGHTS_STREAM = 1
"""Keeps the network's random numbers apart from those of the loader, which derive from the same seed."""


class Networks(NamedTuple):
    """Two networks of the same layers, from stored bands float32 `(B, H, W, 14)`.

    Attributes:
        judged: to logits float32 `(B, H, W, 1)`; what it becomes is exported.
        trained: with deep supervision to logits of all levels, `(B, H, W, levels)`, from heads that `judged` does
            not have, and with several members their `side_by_side`; otherwise it is the one member.
        members: whose mean probability `judged` gives, each to logits `(B, H, W, 1)`; `judged` where there is one and
            no trees.
        trees: whose probability counts `model.pixel_share` in that of `judged`; None where that is 0.
    """

    judged: keras.Model
    trained: keras.Model
    members: tuple[keras.Model, ...]
    trees: keras.Model | None = None


def build_networks(config: TrainConfig, statistics: BandStatistics, *, precision: str = "float32") -> Networks:
    """The network to judge and the one to train.

    H and W may be anything that `2**config.model.depth` divides. Weights and dropout derive from `config.seed` alone;
    those of `judged` are the same with deep supervision and without, and those of the first of several members are
    those of a network alone. Pretrained weights are not read here: the members have the layers for them, and
    `lsml.models.pretrained.carry` brings them. So it is with the trees' and `lsml.models.trees.fit_trees`.

    Args:
        precision: dtype policy of the layers between input scaling and logits, `float32` or `mixed_bfloat16`.

    Raises:
        ConfigError: no band and no index is left to look at, or the pretrained weights do not suit the rest.
    """
    name, seeds = config.model.architecture, member_seeds(config.seed, config.model.members)
    share = config.model.pixel_share
    if len(seeds) == 1 and not share:
        return _single(config, statistics, precision, config.seed, name)
    members = [
        _single(config, statistics, precision, seed, f"{name}_{number}") for number, seed in enumerate(seeds, start=1)
    ]
    judges, weights, trees = [member.judged for member in members], None, None
    if share:
        trees = tree_network(statistics)
        judges, weights = [*judges, trees], [(1 - share) / len(members)] * len(members) + [share]
    stored = keras.Input((None, None, N_BANDS), dtype="float32", name="bands")
    judged = keras.Model(stored, mean_logits([judge(stored) for judge in judges], weights), name=name)
    trained = members[0].trained if len(members) == 1 else side_by_side([member.trained for member in members])
    return Networks(judged, trained, tuple(member.judged for member in members), trees)


def _single(config: TrainConfig, statistics: BandStatistics, precision: str, seed: int, name: str) -> Networks:
    seeds, model = _seeds(seed), config.model
    blocks = Blocks(model, seeds, precision)
    stored = keras.Input((None, None, N_BANDS), dtype="float32", name="bands")
    inputs = features_of(stored, config.input, statistics)
    features, filters = _encoded(inputs, config, statistics, blocks)
    decoded = decoder(features, filters, blocks)
    logits = head(decoded[0], seeds)
    judged = keras.Model(stored, logits, name=name)
    if not model.deep_supervision or len(decoded) == 1:
        return Networks(judged, judged, (judged,))
    trained = keras.Model(stored, supervise(logits, decoded, seeds), name=f"{name}_supervised")
    return Networks(judged, trained, (judged,))


def build_network(config: TrainConfig, statistics: BandStatistics, *, precision: str = "float32") -> keras.Model:
    """Stored bands float32 `(B, H, W, 14)` to logits float32 `(B, H, W, 1)`: the one to judge of `build_networks`."""
    return build_networks(config, statistics, precision=precision).judged


def build_model(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    """The network to export: stored bands float32 `(B, H, W, 14)` to landslide probability `(B, H, W, 1)`.

    It is `build_network` under float32 with a sigmoid on top; the weights are the same, in the same order.
    """
    return with_probability(build_network(config, statistics))


def with_probability(network: keras.Model, temperature: float = 1.0) -> keras.Model:
    """The layers of a network of logits, which are divided by `temperature`, with a sigmoid on top."""
    logits = network.output
    if temperature != 1:
        logits = keras.layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(logits)
    probability = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(logits)
    return keras.Model(network.input, probability, name=network.name)


def _encoded(
    inputs: KerasTensor, config: TrainConfig, statistics: BandStatistics, blocks: Blocks
) -> tuple[list[KerasTensor], list[int]]:
    """Features of levels 0..depth and the decoder's filters of levels 0..depth-1."""
    if config.model.architecture == "unet":
        return plain.encode(inputs, blocks), plain.decoder_filters(config.model)
    seen = stem_input(inputs, config, statistics, blocks) if config.model.pretrained else inputs
    return resnet.encode(inputs, blocks, seen), resnet.decoder_filters(config.model)


def _seeds(seed: int) -> Iterator[int]:
    generator = np.random.default_rng((seed, WEIGHTS_STREAM))
    while True:
        yield int(generator.integers(2**31))
