"""The Lovász hinge: a surrogate of the Jaccard loss that ranks the errors of all pixels."""

from keras import KerasTensor, ops


def lovasz_hinge(truth: KerasTensor, logits: KerasTensor) -> KerasTensor:
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
