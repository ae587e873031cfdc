"""The U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597) in three parts: encoder, decoder, head."""

import math
from collections.abc import Callable, Iterator

import keras
from keras import KerasTensor, layers

from lsml.config import ModelConfig

BATCH_MOMENTUM = 0.9
"""Of the batch statistics' moving average: some 20 steps are enough to follow, where Keras's .99 needs 200."""

NORMALIZATION_GROUPS = 8


class Blocks:
    """The building blocks of one network: they share its configuration, arithmetic and stream of seeds.

    Args:
        config: the network's hyperparameters.
        seeds: an endless stream; every layer that draws random numbers takes one for itself, so that no layer
            depends on what else drew in the process.
        precision: the layers' dtype policy, `float32` or `mixed_bfloat16`.
    """

    def __init__(self, config: ModelConfig, seeds: Iterator[int], precision: str) -> None:
        self.config, self._seeds, self.precision = config, seeds, precision

    def filters(self, level: int) -> int:
        """Filters of a level; level 0 has the patch's resolution."""
        return self.config.filters * 2**level

    def convolution(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """3 x 3 convolution, normalisation and ReLU, `(B, H, W, C)` to `(B, H, W, filters)`."""
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=self.config.normalization == "none",
            kernel_initializer=self._he_normal(),
            dtype=self.precision,
            name=name,
        )(x)
        x = self._normalization(filters, f"{name}_norm")(x)
        return layers.ReLU(dtype=self.precision, name=f"{name}_relu")(x)

    def level(self, x: KerasTensor, level: int, name: str) -> KerasTensor:
        """Two convolutions with dropout of whole channels between them."""
        x = self.convolution(x, self.filters(level), f"{name}_conv1")
        if self.config.dropout:
            x = layers.SpatialDropout2D(
                self.config.dropout, seed=next(self._seeds), dtype=self.precision, name=f"{name}_dropout"
            )(x)
        return self.convolution(x, self.filters(level), f"{name}_conv2")

    def downsample(self, x: KerasTensor, name: str) -> KerasTensor:
        """`(B, H, W, C)` to `(B, H/2, W/2, C)` by the largest of four."""
        return layers.MaxPooling2D(2, dtype=self.precision, name=name)(x)

    def upsample(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """`(B, H, W, C)` to `(B, 2H, 2W, filters)` by a transposed convolution."""
        return layers.Conv2DTranspose(
            filters, 2, strides=2, kernel_initializer=self._he_normal(), dtype=self.precision, name=name
        )(x)

    def merge(self, x: KerasTensor, skip: KerasTensor, name: str) -> KerasTensor:
        """The decoder's features and the encoder's of the same resolution, channels side by side."""
        return layers.Concatenate(dtype=self.precision, name=name)([skip, x])

    def _he_normal(self) -> keras.Initializer:
        return keras.initializers.HeNormal(seed=next(self._seeds))

    def _normalization(self, filters: int, name: str) -> Callable[[KerasTensor], KerasTensor]:
        if self.config.normalization == "batch":
            return layers.BatchNormalization(momentum=BATCH_MOMENTUM, dtype=self.precision, name=name)
        if self.config.normalization == "group":
            groups = math.gcd(NORMALIZATION_GROUPS, filters)
            return layers.GroupNormalization(groups, dtype=self.precision, name=name)
        return lambda x: x


def encoder(x: KerasTensor, blocks: Blocks) -> list[KerasTensor]:
    """Features of every level, finest first: `(B, H/2^k, W/2^k, filters * 2^k)` for k in 0..depth."""
    features = [blocks.level(x, 0, "encoder0")]
    for level in range(1, blocks.config.depth + 1):
        x = blocks.downsample(features[-1], f"encoder{level}_down")
        features.append(blocks.level(x, level, f"encoder{level}"))
    return features


def decoder(features: list[KerasTensor], blocks: Blocks) -> KerasTensor:
    """The encoder's features to one map of the patch's resolution, `(B, H, W, filters)`."""
    *skips, x = features
    for level, skip in reversed(list(enumerate(skips))):
        x = blocks.upsample(x, blocks.filters(level), f"decoder{level}_up")
        x = blocks.merge(x, skip, f"decoder{level}_merge")
        x = blocks.level(x, level, f"decoder{level}")
    return x


def head(x: KerasTensor, seeds: Iterator[int]) -> KerasTensor:
    """Float32 logits `(B, H, W, 1)`, whatever the arithmetic before."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Conv2D(1, 1, kernel_initializer=initializer, dtype="float32", name="logits")(x)
