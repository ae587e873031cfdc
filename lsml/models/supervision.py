"""Deep supervision: while training, the decoder's coarser levels answer for the mask too."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import KerasTensor, layers

from lsml.models.unet import head


def supervise(logits: KerasTensor, decoded: Sequence[KerasTensor], seeds: Iterator[int]) -> KerasTensor:
    """The logits of every level side by side, finest first: float32 `(B, H, W, levels)`.

    A coarse logit stands for all pixels below it, so that each level is judged on the same, whole mask.

    Args:
        logits: of level 0, `(B, H, W, 1)`.
        decoded: the decoder's maps, finest first, `(B, H/2^k, W/2^k, any)`.
    """
    coarser = [
        layers.UpSampling2D(2**level, dtype="float32", name=f"logits{level}_up")(head(x, seeds, name=f"logits{level}"))
        for level, x in enumerate(decoded)
        if level
    ]
    return layers.Concatenate(dtype="float32", name="supervised")([logits, *coarser])


def level_weights(levels: int) -> np.ndarray:
    """Of each level's loss, finest first: half as much for each level down, together one; float64 `(levels,)`.

    Source: Isensee et al. 2021, "nnU-Net" (https://doi.org/10.1038/s41592-020-01008-z), supplementary note 2.
    """
    weights = 0.5 ** np.arange(levels)
    return weights / weights.sum()


class SupervisedLoss(keras.losses.Loss):  # type: ignore[misc]
    """The mean of a loss over the levels of `supervise`, weighted by `level_weights`.

    Truth is `(B, H, W, 1)`, logits are `(B, H, W, levels)`.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(name="supervised", dtype="float32")
        self._loss = loss

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        weights = level_weights(y_pred.shape[-1]).tolist()
        return sum(weight * self._loss(y_true, y_pred[..., level : level + 1]) for level, weight in enumerate(weights))
