"""The U-Net's own encoder (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597)."""

from typing import TYPE_CHECKING

from lsml.config.schema import ModelConfig
from lsml.models.encoders import Encoder

if TYPE_CHECKING:
    from keras import KerasTensor

    from lsml.models.blocks import Blocks


def _encode(x: "KerasTensor", blocks: "Blocks") -> "list[KerasTensor]":
    """Features of every level, finest first: `(B, H/2^k, W/2^k, filters * 2^k)` for k in 0..depth."""
    config = blocks.config
    features = [blocks.level(x, config.filters, "encoder0", number=0)]
    for level in range(1, config.depth + 1):
        x = blocks.pool(features[-1], 2, f"encoder{level}_down")
        features.append(blocks.level(x, config.filters * 2**level, f"encoder{level}", number=level))
    return features


def _decoder_filters(config: ModelConfig) -> list[int]:
    """Filters of the decoder's levels 0..depth-1: those of the encoder."""
    return [config.filters * 2**level for level in range(config.depth)]


ENCODER = Encoder("unet", _encode, _decoder_filters)
