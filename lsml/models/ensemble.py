"""Several networks as one graph: the weighted mean of trained ones, and members that train side by side."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import KerasTensor, layers, ops


def weighted_mean(models: Sequence[keras.Model], weights: Sequence[float]) -> keras.Model:
    """One network that gives the weighted mean of what several networks say: sum of w_i p_i / sum of w_i.

    Each network is a nested model of the result, which shares its variables. One that is to count twice is given once,
    with twice the weight, so its weights stand in the file once and it is computed once.

    Args:
        models: distinct networks of Keras's own layers, stored bands float32 `(B, H, W, C)` to landslide probability
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
    bands = keras.Input(models[0].input_shape[1:], dtype="float32", name="bands")
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


def member_network(model: keras.Model) -> keras.Model:
    """The networks that a model is a mean of, each for itself; of one that is no mean, itself.

    Means of means are taken apart to their ends, however they are weighted; of a mean over orientations the network
    remains. A temperature of the mean is that of each member.

    Args:
        model: as `weighted_mean` takes and gives them, or `with_probability` of `mean_network`.

    Returns:
        Stored bands float32 `(B, H, W, C)` to each member's probability float32 `(B, H, W, members)`.
    """
    bands = keras.Input(model.input_shape[1:], dtype="float32", name="bands")
    parts = [part(bands) for part in _members(model, None)]
    joined = layers.Concatenate(dtype="float32", name="members")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(bands, joined, name="member_probabilities")


def _members(model: keras.Model, temperature: keras.layers.Layer | None) -> list[Callable[[KerasTensor], KerasTensor]]:
    """The members of a model, each with the temperature and the sigmoid that the mean of their logits has."""
    own = [layer for layer in model.layers if layer.name == "temperature"]
    temperature = own[0] if own else temperature
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        return [part for each in nested for part in _members(each, temperature)]
    if model.layers[-1].name == "probability":
        return [model]
    scaled = temperature or (lambda logits: logits)
    return [lambda bands: ops.sigmoid(scaled(model(bands)))]


MEMBERS_STREAM = 4
"""Keeps the members' seeds apart from other numbers of the same seed (weights and order 1, augmentation 2, folds 3)."""


def member_seeds(seed: int, members: int) -> list[int]:
    """A seed for each member, in 0..2**31-1 but for the first, which is `seed`: it is the network that is alone."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(MEMBERS_STREAM, member)) for member in range(1, members))
    return [seed, *(int(sequence.generate_state(1)[0] >> 1) for sequence in sequences)]


def mean_logits(logits: Sequence[KerasTensor], weights: Sequence[float] | None = None) -> KerasTensor:
    """The logits of the mean of the members' probabilities, float32 `(B, H, W, 1)`.

    With p the mean, they are log p - log(1 - p), each of which is the log of a sum of exponentials: finite also where
    float32 has no probability short of 1.

    Args:
        logits: of each member, float32 `(B, H, W, 1)`.
        weights: of each member, above 0, of which only the ratios matter; None where they are equal.
    """
    side_by_side = layers.Concatenate(dtype="float32", name="members")(list(logits))
    both = [ops.log_sigmoid(signed) for signed in (side_by_side, -side_by_side)]
    if weights is not None:
        both = [ops.add(logarithms, np.log(weights).astype("float32")) for logarithms in both]
    landslide, background = (ops.logsumexp(logarithms, axis=-1, keepdims=True) for logarithms in both)
    return landslide - background


def mean_network(networks: Sequence[keras.Model], weights: Sequence[float] | None = None, *, name: str) -> keras.Model:
    """One network that gives `mean_logits` of several, each a nested model of it under its own name.

    Args:
        networks: stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`.
        weights: see `mean_logits`.
    """
    stored = keras.Input((None, None, networks[0].input_shape[-1]), dtype="float32", name="bands")
    return keras.Model(stored, mean_logits([network(stored) for network in networks], weights), name=name)


def mean_of_orientations(network: keras.Model) -> keras.Model:
    """One network that gives `mean_logits` of another over the eight symmetries of the square (the group D4).

    Of a turned patch it gives the turned logits. A patch `(H, W)` that is not square comes to it as `(W, H)` too.

    Args:
        network: stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`.
    """
    stored = keras.Input(network.input_shape[1:], dtype="float32", name="bands")
    transposed = ops.transpose(stored, (0, 2, 1, 3))
    upright = [_mirrored(network(_mirrored(stored, axes)), axes) for axes in _MIRRORS]
    turned = [ops.transpose(_mirrored(network(_mirrored(transposed, axes)), axes), (0, 2, 1, 3)) for axes in _MIRRORS]
    return keras.Model(stored, mean_logits([*upright, *turned]), name=network.name)


_MIRRORS = ((), (1,), (2,), (1, 2))


def _mirrored(images: KerasTensor, axes: Sequence[int]) -> KerasTensor:
    for axis in axes:
        images = ops.flip(images, axis)
    return images


def side_by_side(members: Sequence[keras.Model]) -> keras.Model:
    """One network of all members, to train: each answers for patches of its own.

    It takes as many arrays of stored bands `(B, H, W, C)` as there are members, and gives what each member says of
    its own, one after the other: `(members * B, H, W, any)`.
    """
    stored = [keras.Input(member.input_shape[1:], dtype="float32", name=f"bands_{member.name}") for member in members]
    answers = [member(own) for member, own in zip(members, stored, strict=True)]
    name = f"{members[0].name}_side_by_side"
    return keras.Model(stored, keras.layers.Concatenate(axis=0, dtype="float32")(answers), name=name)


class MembersLoss(keras.losses.Loss):
    """The mean over the members of a loss, each on its own part of what `side_by_side` gives.

    Truth is `(members * B, H, W, 1)`, logits are `(members * B, H, W, any)`.
    """

    def __init__(self, loss: keras.losses.Loss, members: int) -> None:
        super().__init__(name="members", dtype="float32")
        self._loss, self._members = loss, members

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """The loss as a scalar."""
        parts = zip(*(ops.split(side, self._members, axis=0) for side in (y_true, y_pred)), strict=True)
        return sum(self._loss(truth, logits) for truth, logits in parts) / self._members
