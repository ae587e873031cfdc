"""ResNet-18, -34 and -50 (He et al. 2015, https://arxiv.org/abs/1512.03385) as encoders of any width and depth.

Own code rather than `keras.applications`, which has no ResNet-18 and -34, and whose ResNet-50 takes neither a
width nor seeds, a precision or a normalisation. With 64 filters the ResNet-50 here is the same function as that
one, with the same names of its convolutions, so weights for the one fit the other (`tests/models/test_resnet.py`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lsml.config.schema import ModelConfig
from lsml.models.encoders import Encoder, Pretrained, Weights

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

    from lsml.models.blocks import Blocks

_EPSILON = 1.001e-5
"""What `keras.applications` adds to a variance: weights trained with it need it."""

_EXPANSION = 4
"""A bottleneck gives this many times the filters of its 3 x 3 convolution."""

_FINEST_FILTERS = 8
"""The decoder's least at the patch's resolution, where it meets the bands: fewer cost a narrow network F1."""

_Branch = Callable[["KerasTensor", int, int, str, "Blocks"], "KerasTensor"]
"""`branch(x, filters, stride, name, blocks)`: the residual branch of one block."""


class _Variant(NamedTuple):
    """Table 1 of the paper: the blocks of stages conv2 to conv5, and what a block is made of."""

    stages: tuple[int, int, int, int]
    branch: _Branch
    expansion: int


def _encode(x: "KerasTensor", blocks: "Blocks") -> "list[KerasTensor]":
    """Features of levels 0..depth, finest first.

    Level 0 is `x` itself, the scaled bands: the encoder's stem halves the resolution at once, and a landslide a few
    pixels wide needs its borders from somewhere. Level 1 is the stem, `(B, H/2, W/2, filters)`; level k from 2 on is
    stage conv<k>, `(B, H/2^k, W/2^k, filters * 2^(k-2))`, four times as many channels for ResNet-50.
    """
    config, variant = blocks.config, _VARIANTS[blocks.config.encoder]
    features = [x, _stem(x, blocks)]
    for level, count in zip(range(2, config.depth + 1), variant.stages, strict=False):
        inputs, stride = features[-1], 2
        if level == 2:
            inputs, stride = blocks.pool(blocks.pad(inputs, 1, "pool1_pad"), 3, "pool1_pool"), 1
        features.append(_stage(inputs, level, count, stride, variant, blocks))
    return features


def _decoder_filters(config: ModelConfig) -> list[int]:
    """Filters of the decoder's levels 0..depth-1: half the stem's at the patch's resolution, then the stages'."""
    filters = config.filters
    return [max(filters // 2, _FINEST_FILTERS), filters, filters, 2 * filters, 4 * filters][: config.depth]


def _stem(x: "KerasTensor", blocks: "Blocks") -> "KerasTensor":
    x = blocks.convolve(x, blocks.config.filters, "conv1_conv", kernel=7, stride=2)
    x = blocks.normalize(x, "conv1_norm", epsilon=_EPSILON)
    return blocks.activate(x, "conv1_relu")


def _stage(x: "KerasTensor", level: int, count: int, stride: int, variant: _Variant, blocks: "Blocks") -> "KerasTensor":
    """`count` residual blocks, the first of them with the stride."""
    filters = blocks.config.filters * 2 ** (level - 2)
    for number in range(1, count + 1):
        name = f"conv{level}_block{number}"
        stride_here = stride if number == 1 else 1
        shortcut = x
        if stride_here > 1 or x.shape[-1] != filters * variant.expansion:
            shortcut = blocks.convolve(x, filters * variant.expansion, f"{name}_0_conv", kernel=1, stride=stride_here)
            shortcut = blocks.normalize(shortcut, f"{name}_0_norm", epsilon=_EPSILON)
        x = variant.branch(x, filters, stride_here, name, blocks)
        x = blocks.activate(blocks.add(x, shortcut, f"{name}_add"), f"{name}_out")
    return x


def _basic(x: "KerasTensor", filters: int, stride: int, name: str, blocks: "Blocks") -> "KerasTensor":
    """Two 3 x 3 convolutions, the stride in the first."""
    x = _opening(x, filters, f"{name}_1", blocks, kernel=3, stride=stride)
    return _closing(x, filters, f"{name}_2", blocks, kernel=3)


def _bottleneck(x: "KerasTensor", filters: int, stride: int, name: str, blocks: "Blocks") -> "KerasTensor":
    """1 x 1, 3 x 3 and 1 x 1 convolution, to four times the filters.

    The stride is in the first, as in the paper and in `keras.applications`; moved to the 3 x 3 (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677) it would be another function of the weights published for Keras.
    """
    x = _opening(x, filters, f"{name}_1", blocks, kernel=1, stride=stride)
    x = _opening(x, filters, f"{name}_2", blocks, kernel=3, stride=1)
    return _closing(x, _EXPANSION * filters, f"{name}_3", blocks, kernel=1)


def _opening(x: "KerasTensor", filters: int, name: str, blocks: "Blocks", *, kernel: int, stride: int) -> "KerasTensor":
    """Convolution, normalisation, ReLU."""
    x = blocks.convolve(x, filters, f"{name}_conv", kernel=kernel, stride=stride)
    x = blocks.normalize(x, f"{name}_norm", epsilon=_EPSILON)
    return blocks.activate(x, f"{name}_relu")


def _closing(x: "KerasTensor", filters: int, name: str, blocks: "Blocks", *, kernel: int) -> "KerasTensor":
    """Convolution and normalisation; the sum with the shortcut comes before the ReLU.

    Without normalisation the kernel starts at zero, so that a block starts as its shortcut: sums of sixteen branches
    would explode (Zhang et al. 2019, "Fixup", https://arxiv.org/abs/1901.09321).
    """
    initializer = "zeros" if blocks.config.normalization == "none" else None
    x = blocks.convolve(x, filters, f"{name}_conv", kernel=kernel, initializer=initializer)
    return blocks.normalize(x, f"{name}_norm", epsilon=_EPSILON)


def _from_keras(reference: "keras.Model") -> Weights:
    """Keras's convolutions have biases; here they are taken off the mean that the normalisation behind subtracts."""
    weights: Weights = {}
    for layer in reference.layers:
        if layer.name.endswith("_conv"):
            kernel, bias = layer.get_weights()
            name = layer.name.removesuffix("_conv")
            gamma, beta, mean, variance = reference.get_layer(f"{name}_bn").get_weights()
            weights |= {layer.name: [kernel], f"{name}_norm": [gamma, beta, mean - bias, variance]}
    return weights


_VARIANTS = {
    "resnet18": _Variant((2, 2, 2, 2), _basic, 1),
    "resnet34": _Variant((3, 4, 6, 3), _basic, 1),
    "resnet50": _Variant((3, 4, 6, 3), _bottleneck, _EXPANSION),
}

ENCODER = Encoder(
    "resnet_unet",
    _encode,
    _decoder_filters,
    variants=tuple(_VARIANTS),
    pretrained=Pretrained("conv1", "resnet50", "ResNet50", 64, _from_keras),
)
