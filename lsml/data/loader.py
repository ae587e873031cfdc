"""Batches of one training epoch: which patches in what order, augmented, every batch of the same shape."""

import contextlib
import math
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from lsml.config.schema import AugmentConfig
from lsml.data.augment import Augmentation
from lsml.data.formats.processes import AHEAD, in_order
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
"""Batches that are ready or under way: enough to hide one that takes twice as long."""


class Loader(Protocol):
    """The batches of one epoch."""

    def __len__(self) -> int:
        """How many."""

    @property
    def n_patches(self) -> int:
        """Patches in all of them."""

    def __iter__(self) -> Iterator[Batch]:
        """In order, each prepared while those before it are used."""


def _ahead(batch: Callable[[int], Batch], steps: int) -> Iterator[Batch]:
    """What `batch` gives for 0, 1, ..., called by a thread while those before are used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[Batch]] = deque()
        for step in range(steps):
            waiting.append(thread.submit(batch, step))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
    ) -> None:
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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of a batch's images, `(B, H, W, C)`."""
        return (self._batch_size, *self._split.mask(0).shape, len(self._split.sensor))

    def __iter__(self) -> Iterator[Batch]:
        """The batches in order, each prepared by a thread while those before it are used."""
        return _ahead(self.__getitem__, len(self))

    def __getitem__(self, index: int) -> Batch:
        """Stored bands float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)` of step `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        places = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = self._order[places]
        if not self._augment.strength:
            return self._split.batch(chosen)
        augment = self._augmentation
        images, masks = np.empty(self.shape, np.float32), np.empty(self.shape[:-1], np.uint8)
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

    @cached_property
    def _augmentation(self) -> Augmentation:
        return Augmentation(self._augment, self._split.mask(0).shape, self._split.sensor)


class LoaderProcesses:
    """Batches of one epoch after another, as `EpochLoader` makes them, but in processes of their own.

    For a device that takes a batch in less time than one thread prepares it in; several threads would wait for the
    interpreter's lock. The processes go on with the next epoch while this one is scored. They end with the last epoch,
    or with this object.

    Args:
        of_epoch: the loader of an epoch, given as `epoch`; can be pickled.
        epochs: the last one.
        processes: how many.
    """

    def __init__(self, of_epoch: Callable[..., EpochLoader], *, epochs: int, processes: int) -> None:
        self._of_epoch, self._epochs, self._processes = of_epoch, epochs, processes
        self._batches: Iterator[Batch] = iter(())
        self._next = 0

    def __call__(self, epoch: int) -> Loader:
        """The loader of that epoch."""
        loader = self._of_epoch(epoch=epoch)
        return _Prepared(loader, lambda: self._of(epoch, loader))

    def _of(self, epoch: int, loader: EpochLoader) -> Iterator[Batch]:
        if self._next != epoch:
            self._batches = self._from(epoch, loader)
        # Where this one is left before its end, the next has to begin anew.
        self._next = 0
        yield from _ahead(lambda step: next(self._batches), len(loader))
        self._next = epoch + 1
        if epoch == self._epochs:
            # Nothing comes after it: its processes end with what they work for.
            self._batches = iter(())

    def _from(self, first: int, loader: EpochLoader) -> Iterator[Batch]:
        """All batches from an epoch on: the processes write them to memory that they share with this one."""
        slots = AHEAD * self._processes + 1
        steps = ((epoch, step) for epoch in range(first, self._epochs + 1) for step in range(len(loader)))
        items = ((number % slots, *step) for number, step in enumerate(steps))
        with _shared_memory(slots * _Slots(0, loader.shape).bytes) as descriptor:
            shared = _Slots(descriptor, loader.shape)
            filled = in_order(
                _Filler(self._of_epoch, shared),
                items,
                processes=self._processes,
                descriptors=[descriptor],
                doing="training",
                crashed=lambda item: None,
            )
            with contextlib.closing(filled) as answers:
                for slot in answers:
                    images, truth = shared[slot]
                    yield images.copy(), truth.copy()


@dataclass(frozen=True)
class _Prepared:
    """An epoch whose batches come from elsewhere."""

    loader: EpochLoader
    batches: Callable[[], Iterator[Batch]]

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def n_patches(self) -> int:
        return self.loader.n_patches

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()


@contextlib.contextmanager
def _shared_memory(size: int) -> Iterator[int]:
    """The descriptor of a file without a name, in memory where the system has such files."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("lsml")
            stack.callback(os.close, descriptor)
        else:
            descriptor = stack.enter_context(tempfile.TemporaryFile()).fileno()
        os.truncate(descriptor, size)
        yield descriptor


@dataclass(frozen=True)
class _Slots:
    """Places for batches one behind the other in an open file.

    Attributes:
        shape: of a batch's images, `(B, H, W, C)`.
    """

    descriptor: int
    shape: tuple[int, int, int, int]

    @property
    def bytes(self) -> int:
        """Of a place."""
        return 4 * math.prod(self.shape[:3]) * (self.shape[3] + 1)

    @cached_property
    def _memory(self) -> mmap.mmap:
        return mmap.mmap(self.descriptor, 0)

    def __getitem__(self, slot: int) -> Batch:
        """Images float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)`, as they lie there."""
        values = np.frombuffer(self._memory, np.float32, self.bytes // 4, slot * self.bytes)
        images, truth = np.split(values, [math.prod(self.shape)])
        return images.reshape(self.shape), truth.reshape(*self.shape[:3], 1)


class _Filler:
    """Writes a batch to where it belongs, in another process.

    Args:
        of_epoch: see `LoaderProcesses`.
        slots: where to.
    """

    def __init__(self, of_epoch: Callable[..., EpochLoader], slots: _Slots) -> None:
        self._of_epoch, self._slots = of_epoch, slots
        self._now: tuple[int, EpochLoader] | None = None

    def __call__(self, item: tuple[int, int, int]) -> int:
        """Takes place, epoch and step; gives the place."""
        slot, epoch, step = item
        if self._now is None or self._now[0] != epoch:
            self._now = epoch, self._of_epoch(epoch=epoch)
        for there, array in zip(self._slots[slot], self._now[1][step], strict=True):
            there[:] = array
        return slot


class SideBySideLoader:
    """The batches of several loaders, step by step: bands of each as they are, masks one after the other.

    Args:
        loaders: of equal length, at least one.
    """

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self._loaders = loaders

    def __len__(self) -> int:
        return len(self._loaders[0])

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
