"""Networks from a configuration: encoder, the U-Net's decoder (Ronneberger et al. 2015) and head; logits to train on,
probabilities to export."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import KerasTensor, layers

from lsml.config.schema import TrainConfig
from lsml.data.statistics import BandStatistics
from lsml.models.blocks import Blocks
from lsml.models.encoders import encoder_of
from lsml.models.ensemble import mean_network, mean_of_orientations, member_seeds, side_by_side
from lsml.models.inputs import features_of
from lsml.models.kernels import FAST, OF_KERAS, Layers
from lsml.models.pretrained import stem_input
from lsml.models.trees import tree_network

OPEN = 3.0
"""Initial bias of a gate: sigmoid(3) = .95, so that it starts by letting everything through, as in the paper."""

REDUCTION = 16
"""Squeeze-excitation's channels are this many times fewer in between; table 10 of the paper."""

LEAST_CHANNELS = 4


def _gate(skip: KerasTensor, decoded: KerasTensor, blocks: Blocks, name: str) -> KerasTensor:
    """The skip times one number in 0..1 a pixel, which skip and decoder give together; `(B, H, W, C)` as it was.

        weight = sigmoid(psi(relu(norm(theta(skip)) + norm(phi(decoded)))))

    with theta, phi and psi convolutions of 1 x 1. Source: Oktay et al. 2018, "Attention U-Net", equations 1 and 2
    (https://arxiv.org/abs/1804.03999). Here the gating signal is the upsampled one, so that both are of one
    resolution and the weights need not be interpolated.

    Args:
        decoded: the decoder's features of the skip's resolution, `(B, H, W, any)`.
    """
    channels = max(decoded.shape[-1] // 2, 1)
    summed = blocks.add(
        blocks.normalize(blocks.convolve(decoded, channels, f"{name}_phi", kernel=1), f"{name}_phi_norm"),
        blocks.normalize(blocks.convolve(skip, channels, f"{name}_theta", kernel=1), f"{name}_theta_norm"),
        f"{name}_add",
    )
    weight = layers.Conv2D(
        1,
        1,
        activation="sigmoid",
        kernel_initializer=blocks.glorot_uniform(),
        bias_initializer=keras.initializers.Constant(OPEN),
        dtype=blocks.precision,
        name=f"{name}_psi",
    )(blocks.activate(summed, f"{name}_relu"))
    return blocks.weigh(skip, weight, f"{name}_weigh")


def _excite(x: KerasTensor, blocks: Blocks, name: str) -> KerasTensor:
    """Squeeze and excitation between `x.shape[-1] / REDUCTION` units, `LEAST_CHANNELS` at least."""
    units = max(x.shape[-1] // REDUCTION, LEAST_CHANNELS)
    return blocks.squeeze_and_excite(x, units, name, activation="relu")


def _decoder(features: Sequence[KerasTensor], filters: Sequence[int], blocks: Blocks) -> list[KerasTensor]:
    """The encoder's features to maps of the levels 0..depth-1, finest first: `(B, H/2^k, W/2^k, filters[k])`.

    Args:
        features: of levels 0..depth, finest first, `(B, H/2^k, W/2^k, any)`.
        filters: of the decoder's levels 0..depth-1.
    """
    *skips, x = features
    decoded: list[KerasTensor] = []
    for level, (skip, width) in reversed(list(enumerate(zip(skips, filters, strict=True)))):
        x = blocks.upsample(x, width, f"decoder{level}_up")
        if blocks.config.attention == "gate":
            skip = _gate(skip, x, blocks, f"decoder{level}_gate")
        x = blocks.merge(x, skip, f"decoder{level}_merge")
        x = blocks.level(x, width, f"decoder{level}", number=level)
        if blocks.config.attention == "squeeze_excitation":
            x = _excite(x, blocks, f"decoder{level}_attention")
        decoded.insert(0, x)
    return decoded


def _head(x: KerasTensor, seeds: Iterator[int], name: str = "logits") -> KerasTensor:
    """Float32 logits `(B, H, W, 1)`, whatever the arithmetic before."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Conv2D(1, 1, kernel_initializer=initializer, dtype="float32", name=name)(x)


def _supervise(logits: KerasTensor, decoded: Sequence[KerasTensor], seeds: Iterator[int]) -> KerasTensor:
    """The logits of every level side by side, finest first: float32 `(B, H, W, levels)`.

    A coarse logit stands for all pixels below it, so that each level is trained on the same, whole mask.

    Args:
        logits: of level 0, `(B, H, W, 1)`.
        decoded: the decoder's maps, finest first, `(B, H/2^k, W/2^k, any)`.
    """
    coarser = [
        layers.UpSampling2D(2**level, dtype="float32", name=f"logits{level}_up")(_head(x, seeds, name=f"logits{level}"))
        for level, x in enumerate(decoded)
        if level
    ]
    return layers.Concatenate(dtype="float32", name="supervised")([logits, *coarser])


def _enlarged(logits: KerasTensor, downscale: int, blocks: Blocks) -> KerasTensor:
    """Logits of the size of the patches, interpolated between the middles of the squares that were seen as one."""
    for doubling in range(1, downscale.bit_length()):
        logits = blocks.interpolate(logits, f"enlarge{doubling}")
    return logits


def _level_weights(levels: int) -> np.ndarray:
    """Of each level's loss, finest first: half as much for each level down, together one; float64 `(levels,)`.

    Source: Isensee et al. 2021, "nnU-Net" (https://doi.org/10.1038/s41592-020-01008-z), supplementary note 2.
    """
    weights = 0.5 ** np.arange(levels)
    return weights / weights.sum()


class SupervisedLoss(keras.losses.Loss):
    """The mean of a loss over the levels of `supervise`, weighted by `level_weights`.

    Truth is `(B, H, W, 1)`, logits are `(B, H, W, levels)`.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(name="supervised", dtype="float32")
        self._loss = loss

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        weights = _level_weights(y_pred.shape[-1]).tolist()
        return sum(weight * self._loss(y_true, y_pred[..., level : level + 1]) for level, weight in enumerate(weights))


WEIGHTS_STREAM = 1
"""Keeps the network's random numbers apart from those of the loader, which derive from the same seed."""


class Networks(NamedTuple):
    """Two networks of the same layers, from stored bands float32 `(B, H, W, C)`.

    Attributes:
        inference_model: to logits float32 `(B, H, W, 1)`; what it becomes is exported.
        training_model: with deep supervision to logits of all levels, `(B, H, W, levels)`, from heads that
            `inference_model` does not have; with several members to the logits of each side by side; else the same,
            but for the mean over orientations.
        members: whose mean probability `inference_model` gives, each to logits `(B, H, W, 1)`; itself where there is
            one and no trees.
        trees: whose probability counts `model.tree_weight` in that of `inference_model`; None where that is 0.
    """

    inference_model: keras.Model
    training_model: keras.Model
    members: tuple[keras.Model, ...]
    trees: keras.Model | None = None


def build_networks(
    config: TrainConfig, statistics: BandStatistics, *, precision: str = "float32", kinds: Layers = FAST
) -> Networks:
    """The network for inference and the one to train.

    H and W may be anything that `input.downscale * 2**model.depth` divides. Weights and dropout derive from
    `config.seed` alone; those of `inference_model` are the same with deep supervision and without, and those of the
    first of several members are those of a network alone. Pretrained weights are not read here: the members have the
    layers for them, and `load_pretrained` brings them. So it is with the trees' and `fit_trees`.

    Args:
        precision: dtype policy of the layers between input scaling and logits, `float32` or `mixed_bfloat16`.
        kinds: of layers; what is built of `FAST` trains fastest and cannot be exported.

    Raises:
        ConfigError: no band and no index is left to look at, or the pretrained weights do not suit the rest.
    """
    networks = _composed(config, statistics, precision, kinds)
    if not config.model.average_orientations:
        return networks
    return networks._replace(inference_model=mean_of_orientations(networks.inference_model))


def _composed(config: TrainConfig, statistics: BandStatistics, precision: str, kinds: Layers) -> Networks:
    """One network, or the mean of several and of trees."""
    name, seeds = config.model.architecture, member_seeds(config.seed, config.model.members)
    share = config.model.tree_weight
    if len(seeds) == 1 and not share:
        return _single(config, statistics, precision, kinds, config.seed, name)
    members = [
        _single(config, statistics, precision, kinds, seed, f"{name}_{number}")
        for number, seed in enumerate(seeds, start=1)
    ]
    answers, weights, trees = [member.inference_model for member in members], None, None
    if share:
        trees = tree_network(statistics)
        answers, weights = [*answers, trees], [(1 - share) / len(members)] * len(members) + [share]
    inference_model = mean_network(answers, weights, name=name)
    training_model = (
        members[0].training_model if len(members) == 1 else side_by_side([member.training_model for member in members])
    )
    return Networks(inference_model, training_model, tuple(member.inference_model for member in members), trees)


def _single(
    config: TrainConfig, statistics: BandStatistics, precision: str, kinds: Layers, seed: int, name: str
) -> Networks:
    seeds, model = _seeds(seed), config.model
    blocks = Blocks(model, seeds, precision, kinds)
    stored = keras.Input((None, None, len(statistics.sensor)), dtype="float32", name="bands")
    inputs, downscale = features_of(stored, config.input, statistics), config.input.downscale
    if downscale > 1:
        inputs = layers.AveragePooling2D(downscale, dtype="float32", name="downscale")(inputs)
    features = _encoded(inputs, config, statistics, blocks)
    decoded = _decoder(features, encoder_of(model).decoder_filters(model), blocks)
    logits = _head(decoded[0], seeds)
    inference_model = keras.Model(stored, _enlarged(logits, downscale, blocks), name=name)
    if not model.deep_supervision or len(decoded) == 1:
        return Networks(inference_model, inference_model, (inference_model,))
    supervised = _enlarged(_supervise(logits, decoded, seeds), downscale, blocks)
    training_model = keras.Model(stored, supervised, name=f"{name}_supervised")
    return Networks(inference_model, training_model, (inference_model,))


def build_network(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    """Stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`, of Keras's own layers in float32.

    The weights are those of `inference_model` of `build_networks`, in the same order.
    """
    return build_networks(config, statistics, kinds=OF_KERAS).inference_model


def build_model(config: TrainConfig, statistics: BandStatistics) -> keras.Model:
    """The network to export: stored bands float32 `(B, H, W, C)` to landslide probability `(B, H, W, 1)`.

    It is `build_network` with a sigmoid on top; the weights are the same, in the same order.

    Args:
        config: such as `experiment.base` of `lsml.load_experiment`.
        statistics: of the bands that it standardises with, such as `lsml.open_dataset(DIR).statistics`.

    Raises:
        ModelError: pretrained weights cannot be had, or do not fit.
    """
    return with_probability(build_network(config, statistics))


def with_probability(network: keras.Model, temperature: float = 1.0) -> keras.Model:
    """The layers of a network of logits, which are divided by `temperature`, with a sigmoid on top."""
    logits = network.output
    if temperature != 1:
        logits = keras.layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(logits)
    probability = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(logits)
    return keras.Model(network.input, probability, name=network.name)


def _encoded(inputs: KerasTensor, config: TrainConfig, statistics: BandStatistics, blocks: Blocks) -> list[KerasTensor]:
    """Features of levels 0..depth."""
    encode = encoder_of(config.model).encode
    if not config.model.pretrained:
        return encode(inputs, blocks)
    # The decoder's finest level sees the bands themselves, not what was made of them for the stem.
    return [inputs, *encode(stem_input(inputs, config, statistics, blocks), blocks)[1:]]


def _seeds(seed: int) -> Iterator[int]:
    generator = np.random.default_rng((seed, WEIGHTS_STREAM))
    while True:
        yield int(generator.integers(2**31))
