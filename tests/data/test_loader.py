"""The loader: one shape, its own order in every epoch, and the same batches whoever asks."""

from collections.abc import Sequence

import numpy as np
import pytest

from lsml.data.loader import EpochLoader


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


def _loader(count: int = 10, *, epoch: int = 1, seed: int = 0, strength: float = 0.5, workers: int = 1) -> EpochLoader:
    return EpochLoader(Patches(count), epoch=epoch, batch_size=4, strength=strength, seed=seed, workers=workers)


def _order(loader: EpochLoader) -> list[int]:
    return [int(value) for step in range(len(loader)) for value in loader[step][0][:, 0, 0, 0]]


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
        np.testing.assert_array_equal(masks[:, 0, 0, 0], images[:, 0, 0, 0] % 2)
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


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_neither_batches_nor_their_order(workers: int) -> None:
    """An iteration gives steps 0, 1, 2, ... as they are asked for one by one, however many threads prepare them."""
    loader = _loader(40, strength=1.0, workers=workers)
    iterated = list(loader)
    assert len(iterated) == 10
    for step, (images, masks) in enumerate(iterated):
        np.testing.assert_array_equal(images, loader[step][0])
        np.testing.assert_array_equal(masks, loader[step][1])
