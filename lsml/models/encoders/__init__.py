"""The registry of encoders: each turns the input features into the features of `depth + 1` levels.

An encoder is a module of this folder with an `ENCODER`. The modules import Keras inside functions alone, so that a
configuration can be checked where Keras is not to be loaded.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lsml.config.schema import ModelConfig

if TYPE_CHECKING:
    import keras
    import numpy as np
    from keras import KerasTensor

    from lsml.models.blocks import Blocks

Weights = dict[str, "list[np.ndarray]"]
"""What `set_weights` of the layer of that name takes."""


class Pretrained(NamedTuple):
    """How an encoder starts from pretrained weights of three channels; level 0 of such an encoder is its input.

    Attributes:
        stem: the layers `<stem>_conv` and `<stem>_norm` are the first to see the bands.
        published: the `model.encoder` of which `keras.applications` has ImageNet's weights.
        published_as: its name there.
        published_filters: the `model.filters` that it has there.
        from_keras: the weights of that network, by the names of the layers here.
    """

    stem: str
    published: str
    published_as: str
    published_filters: int
    from_keras: Callable[["keras.Model"], Weights]


class Encoder(NamedTuple):
    """What every encoder has.

    Attributes:
        architecture: the choice of `model.architecture` that takes it.
        encode: `encode(x, blocks)`, from `(B, H, W, F)` to the features of levels 0..depth, finest first,
            `(B, H/2^k, W/2^k, any)`.
        decoder_filters: filters of the decoder's levels 0..depth-1.
        variants: the choices of `model.encoder` that it has; none where that field does not matter.
        pretrained: None where it starts from random weights alone.
    """

    architecture: str
    encode: Callable[["KerasTensor", "Blocks"], "list[KerasTensor]"]
    decoder_filters: Callable[[ModelConfig], list[int]]
    variants: tuple[str, ...] = ()
    pretrained: Pretrained | None = None


@functools.cache
def encoders() -> dict[str, Encoder]:
    """Every encoder, by its architecture."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.ENCODER.architecture: module.ENCODER for module in modules}


def encoder_of(config: ModelConfig) -> Encoder:
    """The encoder that a configuration takes."""
    return encoders()[config.architecture]
