"""Batches of one training epoch: shuffled, augmented, every one of the same shape."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lsml.config import AugmentConfig
from lsml.data.augmentation import Augmentation
from lsml.data.split import Split

Batch = tuple[np.ndarray, np.ndarray]

AHEAD = 2
"""Batches that each thread has ready or under way: enough to hide one that takes twice as long."""

STREAM = 1
"""Keeps the order's random numbers apart from others that derive from the same seed (weights 0, augmentation 2)."""


class EpochLoader:
    """Batch i of an epoch is a function of (seed, epoch, i) alone, whatever thread asks and in whatever order.

    Every step has one shape, so that nothing is compiled twice: what is left over after the last full batch waits
    for another epoch, which has another order. A split smaller than a batch is one batch.

    Args:
        split: the patches.
        epoch: which pass over them, from 1.
        batch_size: patches in a batch.
        augment: what happens to them; strength 0 is nothing.
        seed: of the training run.
        workers: threads that prepare batches ahead.
    """

    def __init__(
        self, split: Split, *, epoch: int, batch_size: int, augment: AugmentConfig, seed: int, workers: int = 1
    ) -> None:
        self._workers = workers
        self._split, self._epoch, self._augment, self._seed = split, epoch, augment, seed
        self._batch_size = min(batch_size, len(split))
        order = np.random.SeedSequence(seed, spawn_key=(STREAM, epoch))
        self._order = np.random.default_rng(order).permutation(len(split))

    def __len__(self) -> int:
        return steps_per_epoch(len(self._split), self._batch_size)

    @property
    def n_patches(self) -> int:
        """Patches in all batches of the epoch."""
        return len(self) * self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        """The batches in order, each prepared while those before it are used."""
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self._workers) as threads:
            for index in range(len(self)):
                waiting.append(threads.submit(self.__getitem__, index))
                if len(waiting) > AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def __getitem__(self, index: int) -> Batch:
        """Stored bands float32 `(B, H, W, 14)` and masks float32 `(B, H, W, 1)` of step `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        if not self._augment.strength:
            return self._split.batch(chosen)
        augment = Augmentation(self._augment, self._split.mask(0).shape)
        pairs = [
            augment(self._split.image(patch), self._split.mask(patch), seed=self._seed, epoch=self._epoch, index=patch)
            for patch in chosen.tolist()
        ]
        images, masks = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        truth = masks[..., None].astype(np.float32)
        return augment.mix(images, truth, seed=self._seed, epoch=self._epoch, step=index)


def steps_per_epoch(n_patches: int, batch_size: int) -> int:
    """Gradient steps of an epoch over `n_patches`."""
    return max(1, n_patches // batch_size)
