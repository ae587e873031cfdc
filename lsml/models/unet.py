"""What every network here has behind its encoder: the U-Net's decoder (Ronneberger et al. 2015) and head."""

from collections.abc import Iterator, Sequence

import keras
from keras import KerasTensor, layers

from lsml.models.blocks import Blocks


def decoder(features: Sequence[KerasTensor], filters: Sequence[int], blocks: Blocks) -> KerasTensor:
    """The encoder's features to one map of the patch's resolution, `(B, H, W, filters[0])`.

    Args:
        features: of levels 0..depth, finest first, `(B, H/2^k, W/2^k, any)`.
        filters: of the decoder's levels 0..depth-1.
    """
    *skips, x = features
    for level, (skip, width) in reversed(list(enumerate(zip(skips, filters, strict=True)))):
        x = blocks.upsample(x, width, f"decoder{level}_up")
        x = blocks.merge(x, skip, f"decoder{level}_merge")
        x = blocks.level(x, width, f"decoder{level}")
    return x


def head(x: KerasTensor, seeds: Iterator[int]) -> KerasTensor:
    """Float32 logits `(B, H, W, 1)`, whatever the arithmetic before."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Conv2D(1, 1, kernel_initializer=initializer, dtype="float32", name="logits")(x)
