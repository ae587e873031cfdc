"""The six-input U-Net of public notebooks on Landslide4Sense: the recipe that a tuned network is measured against."""

import gc
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from lsml.bands import BLUE, ELEVATION, N_BANDS, NEAR_INFRARED, RED, SLOPE
from lsml.config import AugmentConfig, ModelConfig, TrainingConfig
from lsml.crossval import FoldOutcome, result_key
from lsml.data.folds import FoldData
from lsml.data.loader import EpochLoader
from lsml.data.split import Split
from lsml.device import Arithmetic, choose_arithmetic
from lsml.fit import finite, train_pass
from lsml.metrics import Metrics, places
from lsml.models.blocks import Blocks
from lsml.models.unet import head

FILTERS = (16, 32, 64, 128, 256)
DROPOUT = (0.1, 0.1, 0.2, 0.2, 0.3)
"""Of the levels from the finest to the coarsest; in the decoder each level has its encoder's."""

BATCH_SIZE = 16
LEARNING_RATE = 1e-3

WEIGHTS_STREAM = 1
"""Keeps the network's random numbers apart from those of the loader, which derive from the same seed."""


@dataclass(frozen=True)
class SixInputUNet:
    """A `lsml.crossval.Learner`: `build_network` trained as the notebooks train it.

    That is Adam with a constant learning rate of 1e-3 on binary cross-entropy, batches of 16, no augmentation, the
    weights of the last epoch. The cross-entropy is computed from logits, which is the same number, kept finite. Two
    things are lsml's: the arithmetic is what `lsml.device` chooses for every network here, and patches left over
    after the last full batch wait for another epoch. It writes no checkpoint: a fold that was killed starts again.
    """

    epochs: int = 100

    def key(self, data: FoldData, seed: int) -> str:
        """The length, the arithmetic and keras's version."""
        return result_key("six-input U-Net", data, seed, epochs=self.epochs, arithmetic=_arithmetic().identity)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Trains for all epochs; the history has `loss` and `epoch_seconds`, the held-out patches are judged once.

        Raises:
            TrainingDiverged: a loss became NaN or infinite.
        """
        keras.utils.clear_session()
        gc.collect()
        network = _compiled(seed, _arithmetic())
        history = [_epoch(network, data.train, seed, number) for number in range(1, self.epochs + 1)]
        judged = [_judge(network, data.validation.image(index)) for index in range(len(data.validation))]
        return FoldOutcome(history, np.stack(judged))

    def environment(self) -> dict[str, str]:
        """As that of `lsml.fit.FitResult`."""
        return _arithmetic().in_words()


def build_network(seed: int, *, precision: str = "float32") -> keras.Model:
    """Stored bands float32 `(B, H, W, 14)` to logits float32 `(B, H, W, 1)`; 16 has to divide H and W.

    A U-Net (Ronneberger et al. 2015) on `six_inputs` without normalisation, each level two 3 x 3 convolutions with
    ReLU and dropout of single values between them. Weights and dropout derive from `seed` alone.

    Args:
        precision: dtype policy of the layers between inputs and logits, `float32` or `mixed_bfloat16`.
    """
    seeds = iter(np.random.default_rng((seed, WEIGHTS_STREAM)).integers(2**31, size=64).tolist())
    blocks = Blocks(ModelConfig(normalization="none"), seeds, precision)

    def level(x: KerasTensor, number: int, name: str) -> KerasTensor:
        x = blocks.convolution(x, FILTERS[number], f"{name}{number}_conv1")
        x = layers.Dropout(DROPOUT[number], seed=next(seeds), dtype=precision, name=f"{name}{number}_dropout")(x)
        return blocks.convolution(x, FILTERS[number], f"{name}{number}_conv2")

    def upsample(x: KerasTensor, number: int) -> KerasTensor:
        # Not `Blocks.upsample`: Glorot's weights are Keras's default, which the notebooks leave as it is.
        weights = keras.initializers.GlorotUniform(seed=next(seeds))
        options = {"kernel_initializer": weights, "dtype": precision, "name": f"decoder{number}_up"}
        return layers.Conv2DTranspose(FILTERS[number], 2, strides=2, **options)(x)

    stored = keras.Input((None, None, N_BANDS), dtype="float32", name="bands")
    x, skips = six_inputs(stored), []
    bottom = len(FILTERS) - 1
    for number in range(bottom):
        skips.append(level(x, number, "encoder"))
        x = blocks.pool(skips[-1], 2, f"encoder{number}_pool")
    x = level(x, bottom, "encoder")
    for number in reversed(range(bottom)):
        x = blocks.merge(upsample(x, number), skips[number], f"decoder{number}_merge")
        x = level(x, number, "decoder")
    return keras.Model(stored, head(x, seeds), name="six_input_unet")


def six_inputs(stored: KerasTensor) -> KerasTensor:
    """Stored bands `(B, H, W, 14)` to red, green, blue, NDVI, slope and elevation, `(B, H, W, 6)`, each in -1..1.

    With m the largest value in that patch, all but NDVI are 1 - x / (m / 2): the colours with the m of the three of
    them together, slope and elevation each with its own. NDVI is that of the stored values, without the bands'
    constants. Where a patch is zero throughout, or both bands of NDVI are, x and NDVI count as zero.
    """
    red, near_infrared = stored[..., RED : RED + 1], stored[..., NEAR_INFRARED : NEAR_INFRARED + 1]
    total = near_infrared + red
    return ops.concatenate(
        [
            ops.flip(_inverted(stored[..., BLUE : RED + 1]), axis=-1),
            (near_infrared - red) / ops.where(total > 0, total, 1.0),
            _inverted(stored[..., SLOPE : SLOPE + 1]),
            _inverted(stored[..., ELEVATION : ELEVATION + 1]),
        ],
        axis=-1,
    )


def _inverted(x: KerasTensor) -> KerasTensor:
    """1 at zero to -1 at the largest value of the patch, of the shape of `x`."""
    half = ops.max(x, axis=(1, 2, 3), keepdims=True) / 2
    return 1 - x / ops.where(half > 0, half, 1.0)


def _arithmetic() -> Arithmetic:
    return choose_arithmetic(TrainingConfig())


def _compiled(seed: int, arithmetic: Arithmetic) -> keras.Model:
    network = build_network(seed, precision=arithmetic.precision)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    # Built here, because keras would trace the training step twice otherwise.
    optimizer.build(network.trainable_variables)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float32")
    network.compile(optimizer, loss, jit_compile=arithmetic.xla)
    return network


def _epoch(network: keras.Model, train: Split, seed: int, number: int) -> Metrics:
    """Trains for one epoch, from 1; gives the mean of its batches' losses, and how long it took."""
    started = time.perf_counter()
    plain = AugmentConfig(strength=0.0)
    loader = EpochLoader(train, epoch=number, batch_size=BATCH_SIZE, augment=plain, seed=seed)
    loss = finite(number, "loss", train_pass(network, loader))
    return {"loss": loss, "epoch_seconds": time.perf_counter() - started}


def _judge(network: keras.Model, image: np.ndarray) -> np.ndarray:
    """Probabilities of one patch `(H, W, 14)` as places, uint16 `(H, W)`."""
    logits = network.predict_on_batch(image[None])[0, ..., 0]
    return places(np.asarray(ops.convert_to_numpy(ops.sigmoid(logits))))
