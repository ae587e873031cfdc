"""Attention in the decoder: which pixels of a skip to let through, which channels of a level to lift."""

import keras
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
