"""The loss that is trained: a mean of its components by shares."""

from collections.abc import Callable

import keras
from keras import KerasTensor

from lsml.config.schema import LossConfig
from lsml.losses.lovasz import lovasz_hinge
from lsml.losses.pixelwise import cross_entropy, focal, weighted_mean
from lsml.losses.region import dice, focal_tversky, soft_jaccard, tversky

Component = Callable[[KerasTensor, KerasTensor], KerasTensor]
"""A scalar loss of truth and logits, both float32 `(B, H, W, 1)`."""


class CompoundLoss(keras.losses.Loss):  # type: ignore[misc]
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

    def __init__(self, config: LossConfig) -> None:
        # Under a mixed policy the sums over millions of pixels would not survive bfloat16's 8 bits.
        super().__init__(name="compound", dtype="float32")
        components = _components(config)
        self._terms = [(share, components[name]) for name, share in config.shares.items()]

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        return sum(share * component(y_true, y_pred) for share, component in self._terms)


def _components(config: LossConfig) -> dict[str, Component]:
    """Every component by the name of its weight, with its parameters."""

    def mean(losses: KerasTensor, truth: KerasTensor, landslide_weight: float) -> KerasTensor:
        return weighted_mean(losses, truth, landslide_weight=landslide_weight, hardest_share=config.hardest_share)

    weight = config.landslide_weight
    # Only the ratio of alpha to 1 - alpha acts on a mean that is divided by the sum of its weights.
    focal_weight = weight * config.focal_alpha / (1.0 - config.focal_alpha)
    balance = {"alpha": config.tversky_alpha, "beta": config.tversky_beta}
    return {
        "cross_entropy": lambda truth, logits: mean(cross_entropy(truth, logits), truth, weight),
        "focal": lambda truth, logits: mean(focal(truth, logits, gamma=config.focal_gamma), truth, focal_weight),
        "dice": dice,
        "tversky": lambda truth, logits: tversky(truth, logits, **balance),
        "jaccard": soft_jaccard,
        "lovasz": lovasz_hinge,
        "focal_tversky": lambda truth, logits: focal_tversky(
            truth, logits, **balance, gamma=config.focal_tversky_gamma
        ),
    }
