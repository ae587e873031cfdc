"""What every network has behind its encoder: the U-Net's decoder (Ronneberger et al. 2015) with attention and deep
supervision, and head."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import KerasTensor, layers

from lsml.models.blocks import Blocks

OPEN = 3.0
"""Initial bias of a gate: sigmoid(3) = .95, so that it starts by letting everything through, as in the paper."""

REDUCTION = 16
"""Squeeze-excitation's channels are this many times fewer in between; table 10 of the paper."""

LEAST_CHANNELS = 4


def gate(skip: KerasTensor, decoded: KerasTensor, blocks: Blocks, name: str) -> KerasTensor:
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


def excite(x: KerasTensor, blocks: Blocks, name: str) -> KerasTensor:
    """Each channel times a number in 0..1 that the means of all channels give; `(B, H, W, C)` as it was.

        weight = sigmoid(W2 relu(W1 mean(x)))

    with the mean over height and width, so that a patch is weighted as a whole. Source: Hu et al. 2018,
    "Squeeze-and-Excitation Networks", equations 2 to 4 (https://arxiv.org/abs/1709.01507).
    """
    channels = x.shape[-1]
    # A sum over 16,384 pixels would not survive bfloat16's 8 bits.
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name=f"{name}_squeeze")(x)
    for part, units, activation in (
        ("reduce", max(channels // REDUCTION, LEAST_CHANNELS), "relu"),
        ("excite", channels, "sigmoid"),
    ):
        squeezed = layers.Dense(
            units,
            activation=activation,
            kernel_initializer=blocks.glorot_uniform(),
            dtype="float32",
            name=f"{name}_{part}",
        )(squeezed)
    return blocks.weigh(x, squeezed, f"{name}_weigh")


def decoder(features: Sequence[KerasTensor], filters: Sequence[int], blocks: Blocks) -> list[KerasTensor]:
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
            skip = gate(skip, x, blocks, f"decoder{level}_gate")
        x = blocks.merge(x, skip, f"decoder{level}_merge")
        x = blocks.level(x, width, f"decoder{level}", number=level)
        if blocks.config.attention == "squeeze_excitation":
            x = excite(x, blocks, f"decoder{level}_attention")
        decoded.insert(0, x)
    return decoded


def head(x: KerasTensor, seeds: Iterator[int], name: str = "logits") -> KerasTensor:
    """Float32 logits `(B, H, W, 1)`, whatever the arithmetic before."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Conv2D(1, 1, kernel_initializer=initializer, dtype="float32", name=name)(x)


def supervise(logits: KerasTensor, decoded: Sequence[KerasTensor], seeds: Iterator[int]) -> KerasTensor:
    """The logits of every level side by side, finest first: float32 `(B, H, W, levels)`.

    A coarse logit stands for all pixels below it, so that each level is judged on the same, whole mask.

    Args:
        logits: of level 0, `(B, H, W, 1)`.
        decoded: the decoder's maps, finest first, `(B, H/2^k, W/2^k, any)`.
    """
    coarser = [
        layers.UpSampling2D(2**level, dtype="float32", name=f"logits{level}_up")(head(x, seeds, name=f"logits{level}"))
        for level, x in enumerate(decoded)
        if level
    ]
    return layers.Concatenate(dtype="float32", name="supervised")([logits, *coarser])


def level_weights(levels: int) -> np.ndarray:
    """Of each level's loss, finest first: half as much for each level down, together one; float64 `(levels,)`.

    Source: Isensee et al. 2021, "nnU-Net" (https://doi.org/10.1038/s41592-020-01008-z), supplementary note 2.
    """
    weights = 0.5 ** np.arange(levels)
    return weights / weights.sum()


class SupervisedLoss(keras.losses.Loss):  # type: ignore[misc]
    """The mean of a loss over the levels of `supervise`, weighted by `level_weights`.

    Truth is `(B, H, W, 1)`, logits are `(B, H, W, levels)`.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(name="supervised", dtype="float32")
        self._loss = loss

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        weights = level_weights(y_pred.shape[-1]).tolist()
        return sum(weight * self._loss(y_true, y_pred[..., level : level + 1]) for level, weight in enumerate(weights))
