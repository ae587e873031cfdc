"""The EfficientNet-B0 encoder against that of keras.applications."""

import itertools

import keras
import numpy as np

from lsml.config.schema import ModelConfig
from lsml.models.blocks import Blocks
from lsml.models.encoders import encoder_of
from tests.bands import N_BANDS


def _encoder(**values: int) -> keras.Model:
    """The encoder alone, `(B, H, W, 14)` to the features of all levels."""
    config = ModelConfig.model_validate({"architecture": "efficientnet_unet", "filters": 32, "depth": 5} | values)
    inputs = keras.Input((None, None, N_BANDS))
    return keras.Model(inputs, encoder_of(config).encode(inputs, Blocks(config, itertools.count(), "float32")))


def test_at_32_filters_each_block_has_the_parameters_of_keras_applications() -> None:
    """Block by block; the stem sees 14 bands instead of three, and the last 1 x 1 convolution is left out."""

    def counts(model: keras.Model) -> dict[str, int]:
        blocks: dict[str, int] = {}
        for layer in model.layers:
            if layer.name.startswith("block"):
                block = layer.name.partition("_")[0]
                blocks[block] = blocks.get(block, 0) + layer.count_params()
        return blocks

    theirs, ours = keras.applications.EfficientNetB0(include_top=False, weights=None), _encoder()
    assert counts(ours) == counts(theirs)
    assert len(counts(ours)) == 16
    stem = theirs.get_layer("stem_conv").count_params()
    assert ours.get_layer("stem_conv").count_params() == stem // 3 * N_BANDS


def test_depth_takes_that_many_levels() -> None:
    """At half the width: channels are multiples of 8, and level 0 is the bands themselves."""
    features = _encoder(filters=16, depth=4)(np.ones((1, 32, 64, N_BANDS), "float32"))
    # 16, 24, 40 and 112 halved are 8, 12, 20 and 56; 12 and 20 are rounded up
    assert [tuple(level.shape) for level in features] == [
        (1, 32 // 2**level, 64 // 2**level, channels) for level, channels in enumerate((N_BANDS, 8, 16, 24, 56))
    ]
