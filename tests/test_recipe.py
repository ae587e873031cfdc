"""The six-input U-Net of public notebooks: its inputs and size by hand, and that it trains."""

import hashlib
from collections.abc import Sequence

import keras
import numpy as np
import pytest
from keras import ops

from lsml.bands import BLUE, ELEVATION, GREEN, NEAR_INFRARED, RED, SLOPE
from lsml.data.folds import FoldData
from lsml.fit import TrainingDiverged
from lsml.recipe import SixInputUNet, build_network, six_inputs

SIZE = 32


class Squares:
    """A split in memory: noise in 14 bands, and squares that are brighter in red and are the landslides."""

    def __init__(self, count: int, *, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.images = random.uniform(0.5, 1.5, (count, SIZE, SIZE, 14)).astype("float32")
        self.masks = np.zeros((count, SIZE, SIZE), "uint8")
        for image, mask in zip(self.images, self.masks, strict=True):
            row, column = random.integers(0, SIZE - 16, 2)
            mask[row : row + 16, column : column + 16] = 1
            image[mask == 1, RED] += 2
        self.fingerprint = hashlib.sha256(self.images.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def mask(self, index: int) -> np.ndarray:
        return self.masks[index]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[indices], self.masks[indices][..., None].astype("float32")


def fold() -> FoldData:
    """Eighteen patches to train on, so that two are left over after the one batch, and three held out."""
    return FoldData(Squares(18, seed=0), Squares(3, seed=1), None)


def patch() -> np.ndarray:
    """A 2 x 2 patch `(1, 2, 2, 14)`; bands that are not among the six inputs are 9 and would stand out."""
    bands = np.full((1, 2, 2, 14), 9, np.float32)
    bands[0, ..., BLUE] = [[1, 0], [2, 3]]
    bands[0, ..., GREEN] = [[2, 1], [1, 4]]
    bands[0, ..., RED] = [[1, 3], [2, 0]]
    bands[0, ..., NEAR_INFRARED] = [[3, 1], [2, 0]]
    bands[0, ..., SLOPE] = [[0, 1], [2, 5]]
    bands[0, ..., ELEVATION] = [[4, 3], [2, 1]]
    return bands


def test_the_six_inputs_by_hand() -> None:
    """Colours by half of their common maximum, NDVI of stored values, slope and elevation by half of their own."""
    inputs = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(patch())))[0]
    # Largest of blue, green and red: 4, so 1 - x / 2.
    np.testing.assert_allclose(inputs[..., 0], [[0.5, -0.5], [0, 1]])
    np.testing.assert_allclose(inputs[..., 1], [[0, 0.5], [0.5, -1]])
    np.testing.assert_allclose(inputs[..., 2], [[0.5, 1], [0, -0.5]])
    # (3 - 1) / 4, (1 - 3) / 4, (2 - 2) / 4, and 0 where both are 0.
    np.testing.assert_allclose(inputs[..., 3], [[0.5, -0.5], [0, 0]])
    # 1 - x / 2.5
    np.testing.assert_allclose(inputs[..., 4], [[1, 0.6], [0.2, -1]], rtol=1e-6)
    # 1 - x / 2
    np.testing.assert_allclose(inputs[..., 5], [[-1, -0.5], [0, 0.5]])


def test_every_patch_is_scaled_by_itself() -> None:
    """A patch four times as high has the same inputs, and beside it in a batch the other keeps its own."""
    alone = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(patch())))
    both = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(np.concatenate([4 * patch(), patch()]))))
    np.testing.assert_allclose(both, np.concatenate([alone, alone]), rtol=1e-6)


def test_a_patch_of_zeros_has_finite_inputs() -> None:
    """Nothing is divided by zero: 1 - 0 for all but NDVI, which is 0."""
    inputs = ops.convert_to_numpy(six_inputs(ops.zeros((1, 2, 2, 14))))
    np.testing.assert_array_equal(inputs, np.broadcast_to([1, 1, 1, 0, 1, 1], (1, 2, 2, 6)))


def test_the_network_has_the_size_of_the_notebooks() -> None:
    """1,941,537 weights in 19 convolutions and 4 transposed ones, dropout as published, no normalisation."""
    network = build_network(0)
    # A convolution has (9 in + 1) out weights. Encoder, two each: 3,200 + 13,888 + 55,424 + 221,440 + 885,248.
    encoder = sum(
        (9 * before + 1) * width + (9 * width + 1) * width
        for before, width in ((6, 16), (16, 32), (32, 64), (64, 128), (128, 256))
    )
    assert encoder == 1_179_200
    # Decoder: a transposed one (4 in + 1 weights for each filter), then two on twice the filters and on the filters:
    # 573,824 + 143,552 + 35,936 + 9,008. The head: 16 + 1.
    decoder = 573_824 + 143_552 + 35_936 + 9_008
    assert network.count_params() == encoder + decoder + 17 == 1_941_537
    kinds = [type(layer) for layer in network.layers]
    assert (kinds.count(keras.layers.Conv2D), kinds.count(keras.layers.Conv2DTranspose)) == (19, 4)
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.1, 0.1, 0.2, 0.2, 0.3, 0.2, 0.2, 0.1, 0.1]
    assert not any("Normalization" in kind.__name__ for kind in kinds)
    assert network.input_shape == (None, None, None, 14)
    assert network.output_shape == (None, None, None, 1)


def test_weights_derive_from_the_seed() -> None:
    """The same seed builds the same weights, another one others."""
    first, again, other = (build_network(seed).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_it_learns_a_fold_and_judges_what_is_held_out() -> None:
    """Over 30 epochs the loss falls by half, and held-out landslides get a higher probability than the rest."""
    data = fold()
    outcome = SixInputUNet(epochs=30).learn(data, 0, None)
    losses = [metrics["loss"] for metrics in outcome.history]
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 2
    assert outcome.places.shape == (3, SIZE, SIZE)
    assert outcome.places.dtype == np.uint16
    landslide = data.validation.masks == 1
    assert np.median(outcome.places[landslide]) > np.median(outcome.places[~landslide])


def test_a_loss_that_is_no_number_ends_it() -> None:
    """Masks of NaN, which no pack has, make the loss NaN in the first epoch; the error says so."""
    data = fold()
    data.train.masks = np.full(data.train.masks.shape, np.nan)
    with pytest.raises(TrainingDiverged, match="loss became nan in epoch 1"):
        SixInputUNet(epochs=2).learn(data, 0, None)
