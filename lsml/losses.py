"""Losses on logits: binary cross-entropy and the soft Jaccard loss, combined by shares."""

import keras
from keras import KerasTensor, ops

from lsml.config import LossConfig

SMOOTHING = 1.0
"""Pixels added to intersection and union: less than the smallest landslide, and nothing is divided by zero."""


def soft_jaccard(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Soft Jaccard loss over all pixels of a batch, a scalar in 0..1.

    With t the truth, p = sigmoid(logits) and s the `SMOOTHING`:

        loss = 1 - (sum(t p) + s) / (sum(t) + sum(p) - sum(t p) + s)

    The sums run over the whole batch and not over each patch, because most patches hold few landslide pixels or
    none and the score, too, pools all pixels. A batch without any landslide gives 1 - s / (sum(p) + s): 0 where
    nothing is found and near 1 as soon as more than a few pixels are.

    Sources: Rahman & Wang 2016, "Optimizing intersection-over-union in deep neural networks for image
    segmentation"; Bertels et al. 2019, "Optimizing the Dice score and Jaccard index for medical image
    segmentation" (on why the union is formed over the batch).

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
    """
    probability = ops.sigmoid(logits)
    intersection = ops.sum(truth * probability)
    union = ops.sum(truth) + ops.sum(probability) - intersection
    return 1.0 - (intersection + SMOOTHING) / (union + SMOOTHING)


class CompoundLoss(keras.losses.Loss):  # type: ignore[misc]
    """`(1 - jaccard_share) * cross-entropy + jaccard_share * soft Jaccard`, both of logits, in float32.

    Truth and logits are `(B, H, W, 1)`; the cross-entropy is the mean over all pixels of the batch.
    """

    def __init__(self, config: LossConfig) -> None:
        # Under a mixed policy the sums over millions of pixels would not survive bfloat16's 8 bits.
        super().__init__(name="compound", dtype="float32")
        self._share = config.jaccard_share
        self._cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float32")

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        if self._share == 0:
            return self._cross_entropy(y_true, y_pred)
        if self._share == 1:
            return soft_jaccard(y_true, y_pred)
        return (1 - self._share) * self._cross_entropy(y_true, y_pred) + self._share * soft_jaccard(y_true, y_pred)
