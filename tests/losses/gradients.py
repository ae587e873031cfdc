"""The gradients that a training step takes, of each loss that `losses.json` in the current folder describes.

Usage: python -m tests.losses.gradients, under the backend that Keras has

`losses.json` is a list of networks: whether XLA compiles its step, and by name the weights of each of its losses. Of
truth.npy and logits.npy NAME.npy is made: one step of plain descent with rate 1 from a shift of 0, which is then the
negative gradient.
"""

import json
from pathlib import Path

import keras
import numpy as np

from lsml.config.schema import LossConfig
from lsml.losses import CompoundLoss


class Shift(keras.layers.Layer):
    """Adds weights of the input's shape, batch and all."""

    def __init__(self, shape: tuple[int, ...], name: str) -> None:
        super().__init__(name=name)
        self.by = self.add_weight(shape=shape, initializer="zeros")

    def call(self, given: keras.KerasTensor) -> keras.KerasTensor:
        """The input, shifted."""
        return given + self.by

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input, whose batch may have any size where JAX asks."""
        return shape


def step(truth: np.ndarray, logits: np.ndarray, losses: dict[str, dict[str, float]], *, xla: bool) -> None:
    """One step of a network with an output for each loss, so that it is traced and compiled once for all."""
    given = keras.Input(logits.shape[1:])
    network = keras.Model(given, {name: Shift(logits.shape, name)(given) for name in losses})
    network.compile(
        keras.optimizers.SGD(1.0),
        {name: CompoundLoss(LossConfig(**weights)) for name, weights in losses.items()},
        jit_compile=xla,
    )
    network.train_on_batch(logits, dict.fromkeys(losses, truth))
    for name in losses:
        np.save(f"{name}.npy", -np.asarray(network.get_layer(name).by))


if __name__ == "__main__":
    for xla, losses in json.loads(Path("losses.json").read_text()):
        step(np.load("truth.npy"), np.load("logits.npy"), losses, xla=xla)
