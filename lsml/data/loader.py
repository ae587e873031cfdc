"""Batches of one training epoch: which patches in what order, augmented, every batch of the same shape."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lsml.config.schema import AugmentConfig
from lsml.data.augment import Augmentation
from lsml.data.sensor import IGNORED
from lsml.data.splits import Split

_ORDER_STREAM = 1
"""Keeps the order's random numbers apart from others that derive from the same seed (weights 0, augmentation 2)."""


def _epoch_order(split: Split, draws: int, *, seed: int, epoch: int, positive_fraction: float = 0.0) -> np.ndarray:
    """The `draws` patches of an epoch, in their order, int64 `(draws,)`.

    Without `positive_fraction`, or where all patches of the split are of one kind, the patches are one: the split in a
    random order, and past its end in another. With it, patches with landslide pixels and patches without are two, of
    which each is gone through like this by itself: no patch comes twice before all of its kind came once. The share is
    exact, rounded to a patch, and what kind comes when is random.

    Args:
        draws: at least 1.
        seed: of the training run.
        epoch: which epoch, from 1.
        positive_fraction: of the draws, for patches with landslide pixels; 0 takes the split as it is.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ORDER_STREAM, epoch)))
    if positive_fraction:
        landslide = np.asarray(split.landslide_fractions) > 0
        if landslide.any() and not landslide.all():
            return _of_two_kinds(landslide, draws, positive_fraction, random)
    return _round_after_round(np.arange(len(split)), draws, random)


def _of_two_kinds(landslide: np.ndarray, draws: int, share: float, random: np.random.Generator) -> np.ndarray:
    wanted = np.zeros(draws, bool)
    wanted[: int(share * draws + 0.5)] = True
    random.shuffle(wanted)
    order = np.empty(draws, np.int64)
    for kind in (True, False):
        places = np.flatnonzero(wanted == kind)
        order[places] = _round_after_round(np.flatnonzero(landslide == kind), len(places), random)
    return order


def _round_after_round(patches: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """`draws` of the patches: all of them in a random order, then all in another, and so on."""
    rounds = max(1, -(-draws // len(patches)))
    return np.concatenate([random.permutation(patches) for _ in range(rounds)])[:draws]


def _times_before(order: np.ndarray) -> np.ndarray:
    """How often each entry of `order` stands before it, int64 of the same length."""
    by_patch = np.argsort(order, kind="stable")
    first = np.searchsorted(order[by_patch], order[by_patch])
    before = np.empty(len(order), np.int64)
    before[by_patch] = np.arange(len(order)) - first
    return before


Batch = tuple[np.ndarray, np.ndarray]

_AHEAD = 2
"""Batches that each thread has ready or under way: enough to hide one that takes twice as long."""


class EpochLoader:
    """Batch i of an epoch is a function of (seed, epoch, i) alone, whatever thread asks and in whatever order.

    Every step has one shape, so that nothing is compiled twice: what is left over after the last full batch waits
    for another epoch, which has another order. A split smaller than a batch is one batch. A patch that comes more than
    once in an epoch is augmented in another way each time.

    Args:
        split: the patches.
        epoch: which one, from 1.
        batch_size: patches in a batch.
        augment: what happens to them; strength 0 is nothing.
        seed: of the training run.
        steps: batches in the epoch; 0: see `steps_per_epoch`.
        positive_fraction: see `_epoch_order`.
        workers: threads that prepare batches ahead.
    """

    def __init__(
        self,
        split: Split,
        *,
        epoch: int,
        batch_size: int,
        augment: AugmentConfig,
        seed: int,
        steps: int = 0,
        positive_fraction: float = 0.0,
        workers: int = 1,
    ) -> None:
        self._workers, self._of_thread = workers, threading.local()
        self._split, self._epoch, self._augment, self._seed = split, epoch, augment, seed
        self._batch_size = min(batch_size, len(split))
        self._steps = steps_per_epoch(len(split), batch_size, asked=steps)
        self._order = _epoch_order(split, self.n_patches, seed=seed, epoch=epoch, positive_fraction=positive_fraction)
        self._keys = self._order + len(split) * _times_before(self._order)

    def __len__(self) -> int:
        return self._steps

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
                if len(waiting) > _AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def __getitem__(self, index: int) -> Batch:
        """Stored bands float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)` of step `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        places = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = self._order[places]
        if not self._augment.strength:
            return self._split.batch(chosen)
        augment, size = self._augmentation(), self._split.mask(0).shape
        images = np.empty((len(chosen), *size, len(self._split.sensor)), np.float32)
        masks = np.empty((len(chosen), *size), np.uint8)
        for place, (patch, key) in enumerate(zip(chosen.tolist(), self._keys[places].tolist(), strict=True)):
            augment.write(
                (self._split.image(patch), self._split.mask(patch)),
                (images[place], masks[place]),
                seed=self._seed,
                epoch=self._epoch,
                index=key,
            )
        truth = masks[..., None].astype(np.float32)
        return augment.mix(images, truth, seed=self._seed, epoch=self._epoch, step=index)

    def _augmentation(self) -> Augmentation:
        """This thread's own."""
        if not hasattr(self._of_thread, "augmentation"):
            self._of_thread.augmentation = Augmentation(self._augment, self._split.mask(0).shape, self._split.sensor)
        return self._of_thread.augmentation


class SideBySideLoader:
    """The batches of several loaders, step by step: bands of each as they are, masks one after the other.

    Args:
        loaders: of equal length, at least one.
    """

    def __init__(self, loaders: Sequence[EpochLoader]) -> None:
        self._loaders = loaders

    @property
    def n_patches(self) -> int:
        """Patches in all batches of the epoch."""
        return sum(loader.n_patches for loader in self._loaders)

    def __iter__(self) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        """In order, as many stored bands `(B, H, W, C)` as there are loaders, and masks `(loaders * B, H, W, 1)`."""
        for batches in zip(*self._loaders, strict=True):
            images, masks = zip(*batches, strict=True)
            yield images, np.concatenate(masks)


def steps_per_epoch(n_patches: int, batch_size: int, *, asked: int = 0) -> int:
    """Gradient steps of an epoch: as many as were asked for, or full batches in `n_patches`, at least 1."""
    return asked or max(1, n_patches // batch_size)


DRAWN_PIXELS = 200_000


def draw_pixels(train: Split, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands (P, C) and classes (P,) of at most 200,000 pixels drawn evenly without replacement, one patch at a time.

    Of those drawn, the ones whose truth is `lsml.data.sensor.IGNORED` are left out.
    """
    first, _ = train.batch([0])
    size = first.shape[1] * first.shape[2]
    total = len(train) * size
    drawn = np.sort(rng.choice(total, min(total, DRAWN_PIXELS), replace=False))
    patches, pixels = np.divmod(drawn, size)
    for index in np.unique(patches):
        image, mask = train.batch([int(index)])
        here = pixels[patches == index]
        truth = mask.reshape(size)[here]
        known = truth != IGNORED
        yield image.reshape(size, -1)[here[known]], truth[known] > 0
