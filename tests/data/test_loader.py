"""The loader: one shape, its own order in every epoch, and the same batches whoever asks."""

import gc
import itertools
import os
import signal
from collections.abc import Sequence
from functools import partial

import numpy as np
import psutil
import pytest

from lsml.config.schema import AugmentConfig
from lsml.data.loader import EpochLoader, LoaderProcesses, SideBySideLoader
from lsml.data.sensor import Sensor
from lsml.errors import DataError
from tests.bands import N_BANDS, SENSOR, SLOPE

EVERY = {"elastic": 1.0, "dropout": 1.0, "mixup": 1.0, "cutmix": 1.0}


class Patches:
    """A split in memory whose patch i holds the value i in every pixel and band."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray:
        return np.full((16, 16, N_BANDS), index, "float32")

    @property
    def sensor(self) -> Sensor:
        return SENSOR

    def mask(self, index: int) -> np.ndarray:
        return np.full((16, 16), index % 2, "uint8")

    @property
    def landslide_fractions(self) -> np.ndarray:
        return np.arange(self.count) % 2 * 1.0

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.stack([self.image(int(index)) for index in indices])
        masks = np.stack([self.mask(int(index)) for index in indices])
        return images, masks[..., None].astype("float32")


def _loader(
    count: int = 10,
    *,
    epoch: int = 1,
    seed: int = 0,
    steps: int = 0,
    positive_fraction: float = 0.0,
    strength: float = 0.5,
    **shares: float,
) -> EpochLoader:
    return EpochLoader(
        Patches(count),
        epoch=epoch,
        batch_size=4,
        augment=AugmentConfig(strength=strength, **shares),
        seed=seed,
        steps=steps,
        positive_fraction=positive_fraction,
    )


def _order(loader: EpochLoader) -> list[int]:
    """Which patches come, as their elevation tells, which no change of light touches."""
    return [round(float(value)) for step in range(len(loader)) for value in loader[step][0][:, 0, 0, SLOPE]]


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_batches_have_one_shape_and_no_patch_twice(strength: float) -> None:
    """Of ten patches in batches of four, two batches come and the last two patches wait."""
    loader = _loader(strength=strength)
    assert len(loader) == 2
    assert loader.n_patches == 8
    for step in range(2):
        images, masks = loader[step]
        assert (images.shape, images.dtype) == ((4, 16, 16, N_BANDS), np.float32)
        assert (masks.shape, masks.dtype) == ((4, 16, 16, 1), np.float32)
        np.testing.assert_array_equal(masks[:, 0, 0, 0], np.rint(images[:, 0, 0, SLOPE]) % 2)
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


def test_asked_steps_are_the_epochs_length() -> None:
    """One step is the first of the whole epoch; five steps of four are two rounds of ten patches in two orders."""
    assert len(_loader(steps=1)) == 1
    assert _order(_loader(steps=1)) == _order(_loader())[:4]
    longer = _loader(steps=5)
    assert (len(longer), longer.n_patches) == (5, 20)
    order = _order(longer)
    assert order[:8] == _order(_loader())
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_a_patch_that_comes_again_in_an_epoch_is_augmented_anew() -> None:
    """Two patches as three steps of two: three different versions of each, of which the first is that of one step."""
    loader = _loader(2, steps=3, strength=1.0)
    versions: dict[int, list[bytes]] = {0: [], 1: []}
    for images, _ in loader:
        for image in images:
            versions[round(float(image[0, 0, SLOPE]))].append(image.tobytes())
    assert [len(found) for found in versions.values()] == [3, 3]
    # Patch 0 holds zeros, in which only a few changes leave a trace; patch 1 shows each light.
    assert len(set(versions[1])) == 3
    (once, _) = _loader(2, strength=1.0)[0]
    assert versions[1][0] in {image.tobytes() for image in once}


def test_a_positive_fraction_holds_in_each_epoch() -> None:
    """Of ten patches, the odd ones with landslide: at .75 six of the eight in two batches, whatever the epoch."""
    for epoch in range(1, 6):
        loader = _loader(epoch=epoch, positive_fraction=0.75)
        assert len(loader) == 2
        order = _order(loader)
        assert sum(patch % 2 for patch in order) == 6
        # Five patches with landslide: all of them, and one again; of the others two.
        assert {patch for patch in order if patch % 2} == {1, 3, 5, 7, 9}
        assert len({patch for patch in order if not patch % 2}) == 2
        masks = np.concatenate([masks for _, masks in loader])
        assert masks.any((1, 2, 3)).sum() == 6


@pytest.fixture(scope="module")
def one_by_one() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Steps 0 to 11 with every operation, most patches more than once, asked for from the last to the first."""
    loader = _loader(21, steps=12, positive_fraction=0.6, strength=1.0, **EVERY)
    return {step: loader[step] for step in reversed(range(12))}


def test_the_thread_changes_neither_batches_nor_their_order(
    one_by_one: dict[int, tuple[np.ndarray, np.ndarray]],
) -> None:
    """An iteration gives steps 0, 1, 2, ... as they are asked for one by one."""
    _same(list(_loader(21, steps=12, positive_fraction=0.6, strength=1.0, **EVERY)), one_by_one)


def _same(iterated: list[tuple[np.ndarray, np.ndarray]], one_by_one: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(iterated) == len(one_by_one)
    for step, (images, masks) in enumerate(iterated):
        assert images.tobytes() == one_by_one[step][0].tobytes()
        assert masks.tobytes() == one_by_one[step][1].tobytes()


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_processes_change_neither_batches_nor_their_order(
    one_by_one: dict[int, tuple[np.ndarray, np.ndarray]],
) -> None:
    """An epoch after another, one that is left in its middle and begun again, and one out of turn; 24 steps are more
    than the processes have places for. With the last one they end, or with the loader."""
    of_epoch = partial(_loader, 21, steps=12, positive_fraction=0.6, strength=1.0, **EVERY)
    second = {step: of_epoch(epoch=2)[step] for step in range(12)}
    before = _children()
    loader = LoaderProcesses(of_epoch, epochs=2, processes=2)
    assert loader(1).n_patches == 48
    assert len(list(itertools.islice(loader(1), 5))) == 5
    assert len(_children() - before) == 2
    _same(list(loader(1)), one_by_one)
    _same(list(loader(2)), second)
    assert _children() == before
    _same(list(loader(1)), one_by_one)
    assert len(_children() - before) == 2
    del loader
    gc.collect()
    assert _children() == before


def test_a_process_that_dies_ends_the_epoch_with_a_line() -> None:
    """Not with a batch that it did not finish."""
    before = _children()
    batches = iter(LoaderProcesses(partial(_loader, 21, steps=40), epochs=2, processes=2)(epoch=1))
    next(batches)
    for pid in _children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(DataError, match="training: one of its processes was killed by signal 9"):
        list(batches)
    assert _children() == before


def test_epochs_change_a_patch_in_their_own_ways() -> None:
    """Both patches come with other light in the second epoch, and with the same masks."""
    (first, mask), (second, second_mask) = (_loader(2, epoch=epoch, strength=1.0)[0] for epoch in (1, 2))
    # Patch 0 holds zeros, which no gain changes; the greatest value is of patch 1.
    assert first[..., 0].max() != second[..., 0].max()
    assert sorted(mask.max((1, 2, 3))) == sorted(second_mask.max((1, 2, 3))) == [0, 1]


def test_cutmix_is_between_the_patches_of_a_batch() -> None:
    """Every pixel belongs to a patch of its own batch, as does its truth; at strength 0 nothing is mixed."""
    mixed = 0
    plain, loader = _loader(40, strength=0.0, cutmix=1.0), _loader(40, strength=1.0, cutmix=1.0)
    for step in range(len(loader)):
        batch = set(plain[step][0][..., SLOPE].ravel())
        assert len(batch) == 4
        images, masks = loader[step]
        # Interpolation rounds the one value that a patch has, and no change of light touches elevation.
        patches = np.rint(images[..., SLOPE])
        assert set(patches.ravel()) <= batch
        np.testing.assert_array_equal(masks[..., 0], patches % 2)
        mixed += sum(len(np.unique(patch)) > 1 for patch in patches)
    # Of 40, all but those whose rectangle is less than a pixel, or the whole patch.
    assert mixed > 30


def test_loaders_side_by_side_give_each_its_own_and_all_masks() -> None:
    """Step by step the bands of either, as they would come alone, and the masks one after the other."""
    loaders = [_loader(12, seed=seed) for seed in (1, 2)]
    joined = SideBySideLoader(loaders)
    assert joined.n_patches == 24
    steps = list(joined)
    assert len(steps) == 3
    for index, (images, masks) in enumerate(steps):
        alone = [loader[index] for loader in loaders]
        for found, (expected, _) in zip(images, alone, strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(masks, np.concatenate([truth for _, truth in alone]))
    assert not np.array_equal(steps[0][0][0], steps[0][0][1])
