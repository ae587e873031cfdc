"""The splits and folds as training sees them: which patches, by which split protocol, packed with their statistics."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.holdout import SYNTHETIC, fold_patches, training_splits
from lsml.data.layout import PatchFiles
from lsml.data.pack import PackedSplit, digest_of
from lsml.data.packing import describe_content, pack_split
from lsml.data.quality import require_usable
from lsml.data.regions import fold_indices
from lsml.data.sensor import Sensor
from lsml.data.statistics import BandStatistics
from lsml.names import LEAVE_ONE_REGION_OUT, OWN, UNKNOWN
from lsml.workspace import Progress


class ScoredPatches(NamedTuple):
    """What a score is of.

    Attributes:
        split: the split protocol: a constant of `lsml.data.holdout`, or so many folds and repeats.
        fingerprint: SHA-256 of the patches, 64 hex digits.
    """

    split: str
    fingerprint: str


class Split(Protocol):
    """Patches with their masks; `lsml.data.pack.PackedSplit` and `_SplitView` are such splits."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change when any patch does."""

    @property
    def sensor(self) -> Sensor:
        """What the bands are."""

    @property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """float32 `(H, W, C)`: stored values, always finite."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`, 0 or 1."""

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)`."""


class Steps(NamedTuple):
    """What training reports: so many epochs, or folds."""

    noun: str
    total: int


class StudyData(Protocol):
    """All that a training sees: `TrainingData`, `WholeData`, or `FoldedData`."""

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """Every pack that is trained on or scored on."""

    @property
    def identity(self) -> dict[str, Scalar]:
        """What makes scores comparable: the fingerprints of the splits and how they are scored."""

    @property
    def scored_patches(self) -> ScoredPatches:
        """What the scores of a trial are of."""

    @property
    def source(self) -> str:
        """A description of where the patches come from."""

    def steps(self, config: TrainConfig) -> Steps:
        """What a training of `config` reports if nothing ends it early."""


class TrainingData(NamedTuple):
    """Packed train and validation, pickled as two paths and the statistics. Nothing here leads to a test file.

    `held_out` is the split protocol of validation, a constant of `lsml.data.holdout`.
    """

    train: PackedSplit
    validation: PackedSplit
    statistics: BandStatistics
    source: str
    held_out: str = UNKNOWN

    @classmethod
    def prepare(cls, root: Path, cache: Path, progress: Progress | None = None) -> Self:
        """Packs the train and validation splits of the dataset at `root` below `cache`, or opens those made before.

        NaN and inf become the train split's median of their band, in both splits.

        Raises:
            DataError: a dataset or file that cannot be used; nothing incomplete is left in `cache`.
        """
        splits = training_splits(root)
        files = splits.train, splits.validation
        packs = _pack_both(files, splits.sensor, cache, progress)
        source = splits.source
        if splits.held_out not in (OWN, SYNTHETIC) and (shared := _shared(splits.train, packs)):
            # lsml has parted them, and says what it leaves out; splits of their own are refused.
            files = tuple(patch for patch in splits.train if patch.id not in shared), splits.validation
            source += f"; left out of train, as validation has a part of it too: {', '.join(sorted(shared))}"
            packs = _pack_both(files, splits.sensor, cache, progress)
        train, validation = packs
        require_usable(files, packs)
        source += describe_content(files, packs)
        return cls(train, validation, train.statistics, source, splits.held_out)

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """Train, then validation."""
        return self.train, self.validation

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprints of both splits."""
        return {"train": self.train.fingerprint, "validation": self.validation.fingerprint}

    @property
    def scored_patches(self) -> ScoredPatches:
        """The validation patches."""
        return ScoredPatches(self.held_out, self.validation.fingerprint)

    def steps(self, config: TrainConfig) -> Steps:
        """Epochs, at most."""
        return Steps("epoch", config.training.epochs)


_Files = tuple[PatchFiles, ...]


def _pack_both(
    files: tuple[_Files, _Files], sensor: Sensor, cache: Path, progress: Progress | None
) -> tuple[PackedSplit, PackedSplit]:
    train = pack_split("train", files[0], cache, sensor, fill=None, progress=progress)
    medians = train.statistics.median
    return train, pack_split("validation", files[1], cache, sensor, fill=medians, progress=progress)


def _shared(files: _Files, packs: tuple[PackedSplit, PackedSplit]) -> set[str]:
    """The ids of those train files, but never of all, that have an image, or a square of it, in common with validation.

    Pictures cut out of one mosaic overlap.
    """
    train, validation = packs
    alike = {train.ids[there] for _, there in validation.repeats(train)}
    # A square's id ends in its row and column.
    alike |= {id_.rsplit("_", 2)[0] for id_ in alike}
    shared = {patch.id for patch in files if patch.id in alike}
    return shared if len(shared) < len(files) else set()


class WholeData(NamedTuple):
    """Train and validation in one pack, for a model that learns from both: nothing is left to score it on."""

    train: PackedSplit
    source: str

    @classmethod
    def prepare(cls, root: Path, cache: Path, progress: Progress | None = None) -> Self:
        """Packs the train and validation patches of the dataset at `root` together, or opens the pack made before.

        NaN and inf become the median that their band has over both.

        Raises:
            DataError: a dataset or file that cannot be used; nothing incomplete is left in `cache`.
        """
        splits = training_splits(root)
        files = (*splits.train, *splits.validation)
        pack = pack_split("train-and-validation", files, cache, splits.sensor, fill=None, progress=progress)
        require_usable((files,), (pack,))
        return cls(pack, f"{splits.source}; trained on both{describe_content((files,), (pack,))}")

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """The one pack."""
        return (self.train,)

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprint of the pack."""
        return {"train_and_validation": self.train.fingerprint}

    @property
    def scored_patches(self) -> ScoredPatches:
        """Nothing."""
        return ScoredPatches(UNKNOWN, UNKNOWN)

    def steps(self, config: TrainConfig) -> Steps:
        """Epochs."""
        return Steps("epoch", config.training.epochs)


@dataclass(frozen=True, eq=False)
class _SplitView:
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
    def sensor(self) -> Sensor:
        """What the bands are."""
        return self.pack.sensor

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the pack's fingerprint and the indices."""
        return hashlib.sha256(json.dumps([self.pack.fingerprint, self.indices]).encode()).hexdigest()

    def image(self, index: int) -> np.ndarray:
        """float32 `(H, W, C)`: stored values, always finite."""
        return self.pack.image(self.indices[index])

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`, 0 or 1."""
        return self.pack.mask(self.indices[index])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, H, W, C)` and masks float32 `(B, H, W, 1)`."""
        return self.pack.batch(np.asarray(self.indices, np.intp)[np.asarray(indices, np.intp)])

    @cached_property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""
        return self.pack.landslide_fractions[list(self.indices)]


class FoldData(NamedTuple):
    """One fold: the patches to train on, those held out, and the statistics of the former alone."""

    train: "_SplitView"
    validation: "_SplitView"
    statistics: BandStatistics

    @classmethod
    def of(cls, pack: PackedSplit, fold: int, folds: int, partition: int = 0) -> Self:
        """What fold number `fold` (from 0) of a partition, see `fold_indices`, trains on and what it holds out.

        What equals a patch that is held out is not trained on, unless all do. The pack has put the median of all its
        patches where a value was NaN or infinite; but for that, nothing that training sees depends on a patch that is
        held out.

        Raises:
            DataError: `folds` does not fit the pack.
        """
        held_out = fold_indices(len(pack), folds, pack.regions, partition)[fold]
        # Squares of pictures that overlap may lie in several blocks.
        alike = np.isin(pack.first_alike, pack.first_alike[held_out])
        rest = np.flatnonzero(~alike) if not alike.all() else np.setdiff1d(np.arange(len(pack)), held_out)
        train = _SplitView(pack, tuple(rest.tolist()), "train")
        return cls(train, _SplitView(pack, tuple(held_out.tolist()), "validation"), statistics_of(train))


def statistics_of(split: Split) -> BandStatistics:
    """Of all values of a split as it is packed."""
    return BandStatistics.of(lambda: (split.image(index) for index in range(len(split))), split.sensor)


class FoldedData(NamedTuple):
    """All training patches of a dataset in one pack, to be scored in folds; `source` describes where they come from.

    Where several regions are known, no fold cuts one in two. `partition` says which folds they are, see `fold_indices`:
    those of 0 are the same in every repeat, and from 1 on each repeat has the next ones.
    """

    train: PackedSplit
    folds: int
    repeats: int
    source: str
    partition: int = 0
    hold_out_test: bool = False

    @classmethod
    def prepare(
        cls,
        root: Path,
        cache: Path,
        *,
        folds: int,
        repeats: int,
        hold_out_test: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Packs every training patch of the dataset at `root` below `cache`, or opens the pack made before.

        A validation split that the dataset has stays out: it is another place, and folds do not need it.

        Raises:
            DataError: an unusable dataset or file, or more folds than patches; nothing incomplete is left in `cache`.
        """
        patches, sensor, source = fold_patches(root, hold_out_test=hold_out_test)
        regions = [patch.region for patch in patches]
        made = len(fold_indices(len(patches), folds, regions))
        if made < folds:
            source += f"; {made} folds, not {folds}, as there are no more regions"
        train = pack_split("train", patches, cache, sensor, fill=None, progress=progress)
        require_usable((patches,), (train,))
        source += describe_content((patches,), (train,))
        return cls(train, made, repeats, source, hold_out_test=hold_out_test)

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """The one pack."""
        return (self.train,)

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprint of the pack, and how it is scored."""
        regions = {"regions": digest_of(self.train.regions)} if self._by_region else {}
        others = {"partition": self.partition, "hold_out_test": self.hold_out_test}
        chosen = {name: value for name, value in others.items() if value}
        return {"train": self.train.fingerprint, "folds": self.folds, "repeats": self.repeats, **regions, **chosen}

    @property
    def scored_patches(self) -> ScoredPatches:
        """All patches, each held out once a repeat; by region their fingerprint is one of the regions too."""
        repeats = f"{self.repeats} {'repeat' if self.repeats == 1 else 'repeats'}"
        if self.partition:
            repeats += f" from partition {self.partition} on"
        if not self._by_region:
            return ScoredPatches(f"{self.folds} contiguous folds, {repeats}", self.train.fingerprint)
        one_each = self.folds == len(set(self.train.regions))
        folds = f"{LEAVE_ONE_REGION_OUT}, {self.folds} regions" if one_each else f"{self.folds} folds of whole regions"
        return ScoredPatches(f"{folds}, {repeats}", digest_of([self.train.fingerprint, self.train.regions]))

    @property
    def _by_region(self) -> bool:
        return len(set(self.train.regions)) > 1

    def steps(self, config: TrainConfig) -> Steps:
        """Every fold of every repeat."""
        return Steps("fold", self.folds * self.repeats)


def in_partition(data: StudyData, partition: int) -> StudyData:
    """The same patches in other folds, see `lsml.data.regions.fold_indices`; without folds, as they are."""
    return data._replace(partition=partition) if isinstance(data, FoldedData) else data
