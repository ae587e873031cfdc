"""Several networks as one: the weighted mean of their probabilities, in one graph."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from lsml.bands import N_BANDS


def weighted_mean(models: Sequence[keras.Model], weights: Sequence[float]) -> keras.Model:
    """One network that gives the weighted mean of what several networks say: sum of w_i p_i / sum of w_i.

    Each network is a nested model of the result, which shares its variables. One that is to count twice is given once,
    with twice the weight, so its weights stand in the file once and it is computed once.

    Args:
        models: distinct networks of Keras's own layers, stored bands float32 `(B, H, W, 14)` to landslide probability
            float32 `(B, H, W, 1)`. They may be built differently; H and W have to suit all of them.
        weights: how much each of them counts, above 0; only their ratios matter.

    Returns:
        An uncompiled network of the same inputs and outputs, 0..1, under float32.

    Raises:
        ValueError: no networks, one that is given twice, or weights that are not one positive number for each.
    """
    if not models or len(models) != len(weights):
        raise ValueError(f"{len(models)} networks and {len(weights)} weights")
    if len({id(model) for model in models}) < len(models):
        raise ValueError("a network is given twice; give it once with twice the weight")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"weights {list(weights)} are not all positive numbers")
    total = math.fsum(weights)
    bands = keras.Input((None, None, N_BANDS), dtype="float32", name="bands")
    parts = []
    for number, (model, weight) in enumerate(zip(models, weights, strict=True), start=1):
        # Under a name of its own: networks of one architecture have the same.
        member = keras.Model(model.inputs[0], model.outputs[0], name=f"member_{number}")
        share = layers.Rescaling(weight / total, dtype="float32", name=f"share_{number}")
        parts.append(share(member(bands)))
    mean = layers.Add(dtype="float32", name="mean")(parts) if len(parts) > 1 else parts[0]
    # Rounded shares may add up to a little more than 1.
    probability = layers.ReLU(max_value=1.0, dtype="float32", name="probability")(mean)
    return keras.Model(bands, probability, name="weighted_mean")
