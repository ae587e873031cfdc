"""What every network here has behind its encoder: the U-Net's decoder (Ronneberger et al. 2015) and head."""

from collections.abc import Iterator, Sequence

import keras
from keras import KerasTensor, layers

from lsml.models.attention import excite, gate
from lsml.models.blocks import Blocks


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
