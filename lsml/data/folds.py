"""Contiguous folds over one pack: each patch is held out once, and judged with statistics it has no part in."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.pack import PackedSplit, Progress, pack_split
from lsml.data.splits import Judged, Split, Steps, folds_in_words, replaced_in_words, training_patches
from lsml.data.statistics import BandStatistics, band_statistics
from lsml.errors import DataError


@dataclass(frozen=True, eq=False)
class SplitView:
    """Some patches of a pack, with the interface of a pack; pickled as the pack's path and the indices.

    Attributes:
        pack: where the patches lie.
        indices: which of them, in the order in which the view has them.
        name: such as `train` or `validation`.
    """

    pack: PackedSplit
    indices: tuple[int, ...]
    name: str

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of each patch, such as `image_12`."""
        return tuple(self.pack.ids[index] for index in self.indices)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the pack's fingerprint and the indices."""
        return hashlib.sha256(json.dumps([self.pack.fingerprint, self.indices]).encode()).hexdigest()

    @property
    def nonfinite(self) -> dict[str, int]:
        """How many NaN and inf were replaced in the whole pack, which does not count them by patch."""
        return self.pack.nonfinite

    def image(self, index: int) -> np.ndarray:
        """float32 `(128, 128, 14)`: stored values, always finite."""
        return self.pack.image(self.indices[index])

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(128, 128)`, 0 or 1."""
        return self.pack.mask(self.indices[index])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, 128, 128, 14)` and masks float32 `(B, 128, 128, 1)`."""
        return self.pack.batch(np.asarray(self.indices, np.intp)[np.asarray(indices, np.intp)])

    @cached_property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""
        return self.pack.landslide_fractions[list(self.indices)]


class FoldData(NamedTuple):
    """One fold: the patches to train on, those held out, and the statistics of the former alone."""

    train: SplitView
    validation: SplitView
    statistics: BandStatistics


class FoldedData(NamedTuple):
    """All training patches of a dataset in one pack, to be judged in folds; `source` says where they come from."""

    train: PackedSplit
    folds: int
    repeats: int
    source: str

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """The one pack."""
        return (self.train,)

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprint of the pack, and how it is judged."""
        return {"train": self.train.fingerprint, "folds": self.folds, "repeats": self.repeats}

    @property
    def judged(self) -> Judged:
        """All patches, each held out once a repeat."""
        return Judged(folds_in_words(self.folds, self.repeats), self.train.fingerprint)

    def steps(self, config: TrainConfig) -> Steps:
        """Every fold of every repeat."""
        return Steps("fold", self.folds * self.repeats)


def fold_indices(n: int, folds: int) -> list[np.ndarray]:
    """The patches that each fold holds out: contiguous blocks of 0..n-1 whose sizes differ by at most one.

    Numbering follows region, so a patch's nearest neighbours are held out with it.

    Raises:
        DataError: fewer than two folds, or more folds than patches.
    """
    if folds < 2:
        raise DataError("folds", f"{folds} asked for", "give at least 2")
    if folds > n:
        raise DataError("folds", f"{n} patches cannot fill {folds} folds", f"set data.folds to at most {n}")
    return np.array_split(np.arange(n), folds)


def fold_data(pack: PackedSplit, fold: int, folds: int) -> FoldData:
    """What fold number `fold` (from 0) trains on and what it holds out.

    The pack has put the median of all its patches where a value was NaN or infinite; but for that, nothing that
    training sees depends on a patch that is held out.

    Raises:
        DataError: `folds` does not fit the pack.
    """
    held_out = fold_indices(len(pack), folds)[fold]
    rest = np.setdiff1d(np.arange(len(pack)), held_out)
    train = SplitView(pack, tuple(rest.tolist()), "train")
    return FoldData(train, SplitView(pack, tuple(held_out.tolist()), "validation"), statistics_of(train))


def statistics_of(split: Split) -> BandStatistics:
    """Of all values of a split as it is packed."""
    return band_statistics(lambda: (split.image(index) for index in range(len(split))))


def prepare_folds(root: Path, cache: Path, *, folds: int, repeats: int, progress: Progress | None = None) -> FoldedData:
    """Packs every training patch of the dataset at `root` below `cache`, or opens the pack made before.

    A validation split that the dataset has stays out: it is another place, and folds do not need it.

    Raises:
        DataError: a dataset or file that cannot be used, or more folds than patches; nothing incomplete is left in
            `cache`.
    """
    patches, source = training_patches(root)
    fold_indices(len(patches), folds)
    train = pack_split("train", patches, cache, fill=None, progress=progress)
    return FoldedData(train, folds, repeats, source + replaced_in_words(train))
