"""Losses of whole regions, pooled over the pixels of a batch: Jaccard, Dice, Tversky, focal Tversky, Lovász hinge.

The sums run over the whole batch and not over each patch, because most patches hold few landslide pixels or none
and the score, too, pools all pixels.
"""

from collections.abc import Callable

import keras
from keras import KerasTensor, ops

SMOOTHING = 1.0
"""Pixels added to intersection and union: less than the smallest landslide, and nothing is divided by zero."""

FLOOR = 1e-7
"""Below it the root of `_focal_tversky` would have a slope without bound, infinite at 0."""


def soft_jaccard(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Soft Jaccard loss over all pixels of a batch, a scalar in 0..1.

    With t the truth, p = sigmoid(logits) and s the `SMOOTHING`:

        loss = 1 - (sum(t p) + s) / (sum(t) + sum(p) - sum(t p) + s)

    A batch without any landslide gives 1 - s / (sum(p) + s): 0 where nothing is found and near 1 as soon as more
    than a few pixels are.

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


def dice(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Dice loss over all pixels of a batch by keras, a scalar in 0..1, smoothed as `soft_jaccard` is.

        loss = 1 - 2 (sum(t p) + 1) / (sum(t) + sum(p) + 2)

    A batch without any landslide gives 1 - 2 / (sum(p) + 2): 0 where nothing is found.

    Source: Milletari et al. 2016, "V-Net", with p and not its square in the denominator.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
    """
    return keras.losses.dice(*_pooled(truth, logits))


def tversky(truth: KerasTensor, logits: KerasTensor, *, alpha: float, beta: float) -> KerasTensor:
    """Tversky loss over all pixels of a batch by keras, a scalar in 0..1, smoothed as `soft_jaccard` is.

        loss = 1 - (sum(t p) + 1) / (sum(t p) + 1 + alpha sum((1 - t) p) + beta sum(t (1 - p)))

    With alpha = beta = .5 it is the Dice loss, with 1 and 1 the soft Jaccard loss. A batch without any landslide
    gives 1 - 1 / (1 + alpha sum(p)): 0 where nothing is found.

    Source: Salehi et al. 2017, "Tversky loss function for image segmentation using 3D fully convolutional deep
    networks", whose alpha and beta these are.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
        alpha: weight of false alarms, above 0.
        beta: weight of missed landslide, above 0.
    """
    # Keras's alpha weighs what is missed, whatever its documentation says.
    return keras.losses.tversky(*_pooled(truth, logits), alpha=beta, beta=alpha)


def _focal_tversky(truth: KerasTensor, logits: KerasTensor, *, alpha: float, beta: float, gamma: float) -> KerasTensor:
    """Focal Tversky loss over all pixels of a batch, a scalar in 0..1: `tversky` to the power of 1 / gamma.

    The `tversky` loss counts as 1e-7 at least, for the sake of the gradient. Without landslide it is the power of
    what `tversky` gives, next to 0 where nothing is found.

    Source: Abraham & Khan 2018, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", here of one class. Its alpha is the beta of `tversky`, which has Salehi's.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
        alpha: weight of false alarms, above 0.
        beta: weight of missed landslide, above 0.
        gamma: 1 (Tversky) or more; the larger, the steeper is the loss where most is right.
    """
    return ops.power(ops.maximum(tversky(truth, logits, alpha=alpha, beta=beta), FLOOR), 1.0 / gamma)


def _pooled(truth: KerasTensor, logits: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Truth and probability of all pixels, `(B*H*W + 1,)`, with one more that is landslide and found.

    Keras's losses know no smoothing: without landslide they would be 1 whatever is found, with no gradient. The
    one more pixel adds to them what `SMOOTHING` adds to the soft Jaccard loss.
    """
    found = ops.ones((1,), "float32")
    pixels = (ops.reshape(values, (-1,)) for values in (truth, ops.sigmoid(logits)))
    true, probability = (ops.concatenate([values, found]) for values in pixels)
    return true, probability


def _lovasz_hinge(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Lovász hinge loss over all pixels of a batch, a scalar, 0 or more.

    With the hinge errors e = 1 - logit on landslide and 1 + logit elsewhere, in falling order:

        loss = sum over i of max(e_i, 0) (J_i - J_(i-1)),  J_i = 1 - I_i / U_i

    where J_i is the Jaccard loss if exactly the first i pixels were wrong: of T landslide pixels I_i = T - (those
    among the first i) are found, and the union U_i is T + (the other pixels among the first i). J_0 is 0. It is
    convex in the logits, piecewise linear, and 0 when every logit is beyond 1 on its side.

    A batch without any landslide gives max(0, 1 + the highest logit), because one false alarm makes J 1 and no
    more can follow: only that pixel has a gradient. A certain mistake costs as much as its logit is large.

    Source: Berman et al. 2018, "The Lovász-softmax loss: a tractable surrogate for the optimization of the
    intersection-over-union measure in neural networks", the binary form, flat over the batch.

    Args:
        truth: float32 `(B, H, W, 1)`, 0 or 1.
        logits: float32 `(B, H, W, 1)`.
    """
    errors = ops.reshape(1.0 - logits * (2.0 * truth - 1.0), (-1,))
    order = ops.argsort(ops.stop_gradient(-errors))
    steps = _steps(ops.take(ops.reshape(truth, (-1,)), order))
    return ops.sum(ops.relu(ops.take(errors, order)) * steps)


def _steps(truth: KerasTensor) -> KerasTensor:
    """J_i - J_(i-1) of each pixel, float32 `(N,)`, of truth in the order of falling errors.

    Not by subtraction: in float32 most of these steps are below the rounding of J itself. A landslide pixel takes
    1 from I and so adds 1 / U_i; another adds 1 to U and so I_i (1 / U_(i-1) - 1 / U_i).
    """
    landslides = ops.sum(truth)
    found = landslides - ops.cumsum(truth)
    union = landslides + ops.cumsum(1.0 - truth)
    # The union is 1 at another pixel only where there is no landslide, and then J jumps from 0 to 1.
    whole = ops.logical_or(truth > 0, union <= 1)
    return ops.where(whole, 1.0 / union, found / (union * ops.maximum(union - 1.0, 1.0)))


def _term(loss: Callable[..., KerasTensor], **parameters: float) -> Callable[..., KerasTensor]:
    """A loss that needs no word of what is known: certain background adds nothing to its sums."""
    return lambda truth, logits, known=None: loss(truth, logits, **parameters)


TERMS = {
    "lovasz": lambda config: _term(_lovasz_hinge),
    "dice": lambda config: _term(dice),
    "tversky": lambda config: _term(tversky, alpha=config.tversky_alpha, beta=config.tversky_beta),
    "jaccard": lambda config: _term(soft_jaccard),
    "focal_tversky": lambda config: _term(
        _focal_tversky, alpha=config.tversky_alpha, beta=config.tversky_beta, gamma=config.focal_tversky_gamma
    ),
}
