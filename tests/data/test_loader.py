"""The loader: one shape, its own order in every epoch, and the same batches whoever asks."""

from collections.abc import Sequence

import numpy as np
import pytest

from lsml.bands import ELEVATION
from lsml.config import AugmentConfig
from lsml.data.loader import EpochLoader

EVERY = {"elastic": 1.0, "dropout": 1.0, "mixing": 1.0}


class Patches:
    """A split in memory whose patch i holds the value i in every pixel and band."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray:
        return np.full((16, 16, 14), index, "float32")

    def mask(self, index: int) -> np.ndarray:
        return np.full((16, 16), index % 2, "uint8")

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.stack([self.image(int(index)) for index in indices])
        masks = np.stack([self.mask(int(index)) for index in indices])
        return images, masks[..., None].astype("float32")


def _loader(
    count: int = 10, *, epoch: int = 1, seed: int = 0, workers: int = 1, strength: float = 0.5, **shares: float
) -> EpochLoader:
    augment = AugmentConfig(strength=strength, **shares)
    return EpochLoader(Patches(count), epoch=epoch, batch_size=4, augment=augment, seed=seed, workers=workers)


def _order(loader: EpochLoader) -> list[int]:
    """Which patches come, as their elevation tells, which no change of light touches."""
    return [round(float(value)) for step in range(len(loader)) for value in loader[step][0][:, 0, 0, ELEVATION]]


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_batches_have_one_shape_and_no_patch_twice(strength: float) -> None:
    """Of ten patches in batches of four, two batches come and the last two patches wait."""
    loader = _loader(strength=strength)
    assert len(loader) == 2
    assert loader.n_patches == 8
    for step in range(2):
        images, masks = loader[step]
        assert (images.shape, images.dtype) == ((4, 16, 16, 14), np.float32)
        assert (masks.shape, masks.dtype) == ((4, 16, 16, 1), np.float32)
        np.testing.assert_array_equal(masks[:, 0, 0, 0], np.rint(images[:, 0, 0, ELEVATION]) % 2)
    assert len(set(_order(loader))) == 8


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    """Three patches with a batch size of four are one step of three."""
    loader = _loader(3)
    assert len(loader) == 1
    assert loader[0][0].shape[0] == 3


def test_the_order_derives_from_seed_and_epoch() -> None:
    """Epochs and seeds have orders of their own, the same each time, and every patch has its turn."""
    assert _order(_loader()) == _order(_loader())
    assert _order(_loader()) != _order(_loader(epoch=2))
    assert _order(_loader()) != _order(_loader(seed=1))
    assert {patch for epoch in range(1, 20) for patch in _order(_loader(epoch=epoch))} == set(range(10))


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    """Step 1 is the same batch before and after step 0, and in another loader."""
    first, second = _loader(strength=1.0), _loader(strength=1.0)
    late = second[0], second[1]
    np.testing.assert_array_equal(first[1][0], late[1][0])
    np.testing.assert_array_equal(first[0][0], late[0][0])


def test_there_is_no_step_after_the_last() -> None:
    """Iteration ends by itself."""
    assert len(list(_loader())) == 2
    with pytest.raises(IndexError):
        _loader()[2]


@pytest.fixture(scope="module")
def one_by_one() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Steps 0 to 9 with every operation, asked for from the last to the first."""
    loader = _loader(40, strength=1.0, **EVERY)
    return {step: loader[step] for step in reversed(range(10))}


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_threads_change_neither_batches_nor_their_order(
    workers: int, one_by_one: dict[int, tuple[np.ndarray, np.ndarray]]
) -> None:
    """An iteration gives steps 0, 1, 2, ... as they are asked for one by one, however many threads prepare them."""
    iterated = list(_loader(40, strength=1.0, workers=workers, **EVERY))
    assert len(iterated) == 10
    for step, (images, masks) in enumerate(iterated):
        assert images.tobytes() == one_by_one[step][0].tobytes()
        assert masks.tobytes() == one_by_one[step][1].tobytes()


def test_epochs_change_a_patch_in_their_own_ways() -> None:
    """Both patches come with other light in the second epoch, and with the same masks."""
    (first, mask), (second, second_mask) = (_loader(2, epoch=epoch, strength=1.0)[0] for epoch in (1, 2))
    # Patch 0 holds zeros, which no gain changes; the greatest value is of patch 1.
    assert first[..., 0].max() != second[..., 0].max()
    assert sorted(mask.max((1, 2, 3))) == sorted(second_mask.max((1, 2, 3))) == [0, 1]


def test_mixing_is_between_the_patches_of_a_batch() -> None:
    """Every pixel belongs to a patch of its own batch, as does its truth; at strength 0 nothing is mixed."""
    mixed = 0
    plain, loader = _loader(40, strength=0.0, mixing=1.0), _loader(40, strength=1.0, mixing=1.0)
    for step in range(len(loader)):
        batch = set(plain[step][0][..., ELEVATION].ravel())
        assert len(batch) == 4
        images, masks = loader[step]
        # Interpolation rounds the one value that a patch has, and no change of light touches elevation.
        patches = np.rint(images[..., ELEVATION])
        assert set(patches.ravel()) <= batch
        np.testing.assert_array_equal(masks[..., 0], patches % 2)
        mixed += sum(len(np.unique(patch)) > 1 for patch in patches)
    # Of 40, all but those whose rectangle is less than a pixel, or the whole patch.
    assert mixed > 30
