"""Losses of single pixels and their mean: cross-entropy, focal loss, class weight, hard-example mining."""

from functools import partial

import keras
from keras import KerasTensor, ops

from lsml.config.schema import LossConfig


def cross_entropy(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Binary cross-entropy of each pixel by keras, `(B, H, W)`, 0 or more.

    With p_t the probability given to what is there, sigmoid(logit) on landslide and 1 - sigmoid(logit) elsewhere:
    -log p_t. A certain mistake costs as much as its logit is large, and its gradient stays 1.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
    """
    return keras.losses.binary_crossentropy(truth, logits, from_logits=True)


def focal(truth: KerasTensor, logits: KerasTensor, *, gamma: float) -> KerasTensor:
    """Focal loss of each pixel, `(B, H, W)`, 0 or more: -(1 - p_t)**gamma log p_t, with p_t as in `cross_entropy`.

    Source: Lin et al. 2017, "Focal loss for dense object detection", without its alpha, which is a class weight.

    Not keras's BinaryFocalCrossentropy, which takes the logarithm of probabilities clipped at 1e-7: in JAX, and in
    TensorFlow outside a graph, mistakes beyond a logit of 16 have no gradient there. Up to a logit of 10 both agree.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
        gamma: 0 (cross-entropy) or more; the larger, the less do pixels count that are right.
    """
    # From the logarithm, because a power of 1 - p_t has no gradient at 0 for every gamma.
    log_mistake = ops.log_sigmoid(logits * (1.0 - 2.0 * truth))
    return ops.exp(gamma * log_mistake[..., 0]) * cross_entropy(truth, logits)


def _weighted_mean(
    losses: KerasTensor,
    truth: KerasTensor,
    known: KerasTensor | None = None,
    *,
    landslide_weight: float,
    ohem_fraction: float,
) -> KerasTensor:
    """Mean of the losses of single pixels over the batch, a scalar: sum(w loss) / sum(w).

    The division by the weights' sum, and not by the number of pixels, leaves the loss as large as without weights,
    so that its share of a compound means the same. In a batch without landslide all weights are equal.

    Args:
        losses: float32 `(B, H, W)`, 0 or more.
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        known: 1 where truth is known, in its shape; 0 elsewhere, which has weight 0. A batch of nothing else gives 0.
        landslide_weight: w of landslide pixels, above 0; the others have 1.
        ohem_fraction: above 0 to 1, the share of the batch's pixels that counts: those with the highest w loss,
            one at least, and with them all that equal the lowest of them (Shrivastava et al. 2016, "Training
            region-based object detectors with online hard example mining", here of pixels).
    """
    weights = 1.0 + (landslide_weight - 1.0) * truth[..., 0]
    if known is not None:
        weights = weights * known[..., 0]
    if ohem_fraction < 1.0:
        weights = weights * _hardest(weights * losses, ohem_fraction, known)
    total = ops.sum(weights)
    return ops.sum(weights * losses) / (total if known is None else ops.maximum(total, keras.config.epsilon()))


def _hardest(losses: KerasTensor, share: float, known: KerasTensor | None) -> KerasTensor:
    """1 where a loss is among the highest of those known, else 0, in the shape of `losses`; no gradient passes."""
    ranked = ops.sort(ops.reshape(ops.stop_gradient(losses), (-1,)))
    # In a TensorFlow graph the batch size, and so this number, is known only when it runs.
    n_pixels = ops.size(ranked)
    n_known = ops.cast(n_pixels, "float32") if known is None else ops.sum(known)
    n_kept = ops.maximum(ops.round(share * n_known), 1.0)
    lowest = ops.take(ranked, n_pixels - ops.cast(n_kept, "int32"))
    return ops.cast(ops.stop_gradient(losses) >= lowest, losses.dtype)


def _weighted_cross_entropy(
    config: LossConfig, truth: KerasTensor, logits: KerasTensor, known: KerasTensor | None = None
) -> KerasTensor:
    return _mean(config, cross_entropy(truth, logits), truth, known, config.landslide_weight)


def _weighted_focal(
    config: LossConfig, truth: KerasTensor, logits: KerasTensor, known: KerasTensor | None = None
) -> KerasTensor:
    # Only the ratio of alpha to 1 - alpha acts on a mean that is divided by the sum of its weights.
    weight = config.landslide_weight * config.focal_alpha / (1.0 - config.focal_alpha)
    return _mean(config, focal(truth, logits, gamma=config.focal_gamma), truth, known, weight)


def _mean(
    config: LossConfig, losses: KerasTensor, truth: KerasTensor, known: KerasTensor | None, landslide_weight: float
) -> KerasTensor:
    return _weighted_mean(losses, truth, known, landslide_weight=landslide_weight, ohem_fraction=config.ohem_fraction)


TERMS = {
    "cross_entropy": lambda config: partial(_weighted_cross_entropy, config),
    "focal": lambda config: partial(_weighted_focal, config),
}
