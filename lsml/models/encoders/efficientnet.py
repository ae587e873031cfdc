"""EfficientNet-B0 (Tan & Le 2019, https://arxiv.org/abs/1905.11946) as an encoder of any width and depth.

Own code rather than `keras.applications`, whose network rescales and normalises pictures of three channels, and takes
neither a width nor seeds, a precision or a normalisation. With 32 filters the blocks here are those of that one.
"""

from typing import TYPE_CHECKING, NamedTuple

from lsml.config.schema import ModelConfig
from lsml.models.encoders import Encoder

if TYPE_CHECKING:
    from keras import KerasTensor

    from lsml.models.blocks import Blocks

_PUBLISHED_FILTERS = 32
"""Of the stem; all channels of the blocks scale with `model.filters` against it, the paper's width coefficient."""

_FINEST_FILTERS = 16
"""The decoder's least at the patch's resolution, those of the published width: narrower ones learn slowly."""

_DIVISOR = 8
"""Scaled channels are rounded to multiples of it, as in the authors' code."""

_SQUEEZED = 4
"""Squeeze-excitation has this many times fewer channels in between than come into the block."""


class _Stage(NamedTuple):
    """A row of table 1 of the paper: blocks of equal output, the first of them with the stride."""

    level: int
    kernel: int
    expansion: int
    filters: int
    blocks: int
    stride: int


_STAGES = (
    _Stage(level=1, kernel=3, expansion=1, filters=16, blocks=1, stride=1),
    _Stage(level=2, kernel=3, expansion=6, filters=24, blocks=2, stride=2),
    _Stage(level=3, kernel=5, expansion=6, filters=40, blocks=2, stride=2),
    _Stage(level=4, kernel=3, expansion=6, filters=80, blocks=3, stride=2),
    _Stage(level=4, kernel=5, expansion=6, filters=112, blocks=3, stride=1),
    _Stage(level=5, kernel=5, expansion=6, filters=192, blocks=4, stride=2),
    _Stage(level=5, kernel=3, expansion=6, filters=320, blocks=1, stride=1),
)


def _encode(x: "KerasTensor", blocks: "Blocks") -> "list[KerasTensor]":
    """Features of levels 0..depth, finest first.

    Level 0 is `x` itself; level 1 is the stem, `(B, H/2, W/2, ...)`, with the blocks of its resolution, and so on: a
    level ends with the last block before the next stride. The paper's dropped connections are left out: as in the
    ResNets, dropout is the decoder's.
    """
    features = [x]
    x = blocks.convolve(x, blocks.config.filters, "stem_conv", kernel=3, stride=2)
    x = _activate(blocks.normalize(x, "stem_norm"), "stem_activation", blocks)
    for level in range(1, blocks.config.depth + 1):
        for number, stage in enumerate(_STAGES, start=1):
            if stage.level == level:
                x = _stage(x, stage, f"block{number}", blocks)
        features.append(x)
    return features


def _decoder_filters(config: ModelConfig) -> list[int]:
    """Filters of the decoder's levels 0..depth-1: half the stem's at the finest, and twice as many each level down."""
    finest = max(config.filters // 2, _FINEST_FILTERS)
    return [finest * 2**level for level in range(config.depth)]


def _width(published: int, config: ModelConfig) -> int:
    """Channels scaled by `model.filters`, to the nearest multiple of 8 that is at least nine tenths of them."""
    scaled = published * config.filters / _PUBLISHED_FILTERS
    rounded = max(_DIVISOR, int(scaled + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded if rounded >= 0.9 * scaled else rounded + _DIVISOR


def _stage(x: "KerasTensor", stage: _Stage, name: str, blocks: "Blocks") -> "KerasTensor":
    for number in range(stage.blocks):
        x = _block(x, stage, stage.stride if number == 0 else 1, f"{name}{'abcd'[number]}", blocks)
    return x


def _block(x: "KerasTensor", stage: _Stage, stride: int, name: str, blocks: "Blocks") -> "KerasTensor":
    """A mobile inverted bottleneck (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) with squeeze-excitation.

    Without normalisation the last kernel of a block with a shortcut starts at zero, as in the ResNets.
    """
    inputs, filters = x, _width(stage.filters, blocks.config)
    if stage.expansion > 1:
        x = blocks.convolve(x, stage.expansion * x.shape[-1], f"{name}_expand_conv", kernel=1)
        x = _activate(blocks.normalize(x, f"{name}_expand_norm"), f"{name}_expand_activation", blocks)
    x = _depthwise(x, stage.kernel, stride, f"{name}_dwconv", blocks)
    x = _activate(blocks.normalize(x, f"{name}_norm"), f"{name}_activation", blocks)
    units = max(1, inputs.shape[-1] // _SQUEEZED)
    x = blocks.squeeze_and_excite(x, units, f"{name}_se", activation="swish")
    shortcut = stride == 1 and inputs.shape[-1] == filters
    initializer = "zeros" if shortcut and blocks.config.normalization == "none" else None
    x = blocks.convolve(x, filters, f"{name}_project_conv", kernel=1, initializer=initializer)
    x = blocks.normalize(x, f"{name}_project_norm")
    return blocks.add(x, inputs, f"{name}_add") if shortcut else x


def _depthwise(x: "KerasTensor", kernel: int, stride: int, name: str, blocks: "Blocks") -> "KerasTensor":
    """One filter for each channel; padded as `Blocks.convolve` pads."""
    from keras import initializers, layers

    if stride > 1:
        x = blocks.pad(x, kernel // 2, f"{name}_pad")
    return layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=blocks.config.normalization == "none",
        # Each output sees kernel ** 2 inputs, which Keras counts as a depthwise kernel's fan out.
        depthwise_initializer=initializers.VarianceScaling(2.0, mode="fan_out", seed=blocks.seed()),
        dtype=blocks.precision,
        name=name,
    )(x)


def _activate(x: "KerasTensor", name: str, blocks: "Blocks") -> "KerasTensor":
    """x * sigmoid(x), which the paper calls swish."""
    from keras import layers

    return layers.Activation("swish", dtype=blocks.precision, name=name)(x)


ENCODER = Encoder("efficientnet_unet", _encode, _decoder_filters)
