"""Asks Keras for a tensor of 2^42 floats, and prints the line that comes of it."""

import keras

from lsml.config.schema import TrainConfig
from lsml.errors import OutOfMemory
from lsml.training.device import within_memory

if __name__ == "__main__":
    try:
        within_memory(lambda: keras.ops.ones((2**21, 2**21)) + 1, TrainConfig())
    except OutOfMemory as error:
        print(error)  # noqa: T201
