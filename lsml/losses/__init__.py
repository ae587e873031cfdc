"""The registry of losses on logits, and their compound, which is trained.

A module of this folder has `TERMS`: by the name of its weight in `LossConfig`, what makes a loss of its configuration.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping

import keras
from keras import KerasTensor, ops

from lsml.config.schema import LossConfig
from lsml.data.sensor import IGNORED

Component = Callable[..., KerasTensor]
"""A scalar loss of truth and logits, both float32 `(B, H, W, 1)`, and where some truth is not known, of `known`, 0 or
1 in that shape. What is not known comes as background that is right for certain, which adds nothing to any sum: only
a mean has to divide by fewer pixels."""

_CERTAIN = -1e4
"""A logit whose sigmoid is 0, and its loss on background, in float32."""


class CompoundLoss(keras.losses.Loss):
    """Sum of share * component over `LossConfig.shares`, of logits, in float32; a component without is not computed.

    Truth and logits are `(B, H, W, 1)`. All components pool the pixels of the batch, each gives a scalar, and all
    are 0, or next to it, where every pixel is right for certain.

    | component | range | a batch without landslide |
    |---|---|---|
    | `cross_entropy` | 0 and more | the mean of the other pixels |
    | `focal` | 0 and more | the mean of the other pixels |
    | `dice`, `tversky`, `jaccard`, `focal_tversky` | 0..1 | rises from 0 with the sum of the probabilities |
    | `lovasz` | 0 and more | the hinge of the highest logit |
    """

    def __init__(self, config: LossConfig, *, ignores: bool = False) -> None:
        """Takes a loss apart.

        Args:
            ignores: whether truth may be `lsml.data.sensor.IGNORED`: such pixels have neither loss nor gradient, and
                all is as if the batch did not have them.
        """
        # Under a mixed policy the sums over millions of pixels would not survive bfloat16's 8 bits.
        super().__init__(name="compound", dtype="float32")
        self._ignores = ignores
        by_name = components(config)
        self._terms = [(share, by_name[name]) for name, share in config.shares.items()]

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        if not self._ignores:
            return sum(share * component(y_true, y_pred) for share, component in self._terms)
        known = ops.cast(y_true != IGNORED, "float32")
        truth, logits = y_true * known, ops.where(known > 0, y_pred, _CERTAIN)
        return sum(share * component(truth, logits, known=known) for share, component in self._terms)


def components(config: LossConfig) -> dict[str, Component]:
    """Every component by the name of its weight, with its parameters."""
    return {name: make(config) for name, make in _terms().items()}


@functools.cache
def _terms() -> Mapping[str, Callable[[LossConfig], Component]]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {name: make for module in modules for name, make in module.TERMS.items()}
