"""Prepares what training may see of a dataset: packed train and validation splits and the statistics of train."""

from pathlib import Path
from typing import NamedTuple, Protocol

from lsml.config import Scalar, TrainConfig
from lsml.data.layout import training_splits
from lsml.data.pack import PackedSplit, Progress, pack_split
from lsml.data.provenance import UNKNOWN, Judged
from lsml.data.statistics import BandStatistics


class Steps(NamedTuple):
    """What training reports: so many epochs, or folds."""

    noun: str
    total: int


class StudyData(Protocol):
    """All that a training sees: `TrainingData`, `WholeData`, or `lsml.data.folds.FoldedData`."""

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """Every pack that is trained on or judged on."""

    @property
    def identity(self) -> dict[str, Scalar]:
        """What makes scores comparable: the fingerprints of the splits and how they are judged."""

    @property
    def judged(self) -> Judged:
        """What the scores of a trial are of."""

    @property
    def source(self) -> str:
        """Where the patches come from, in words."""

    def steps(self, config: TrainConfig) -> Steps:
        """What a training of `config` reports if nothing ends it early."""


class TrainingData(NamedTuple):
    """Packed train and validation, pickled as two paths and the statistics. Nothing here leads to a test file.

    `held_out` says how validation was set apart, in words of `lsml.data.provenance`.
    """

    train: PackedSplit
    validation: PackedSplit
    statistics: BandStatistics
    source: str
    held_out: str = UNKNOWN

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """Train, then validation."""
        return self.train, self.validation

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprints of both splits."""
        return {"train": self.train.fingerprint, "validation": self.validation.fingerprint}

    @property
    def judged(self) -> Judged:
        """The validation patches."""
        return Judged(self.held_out, self.validation.fingerprint)

    def steps(self, config: TrainConfig) -> Steps:
        """Epochs, at most."""
        return Steps("epoch", config.training.epochs)


def prepare(root: Path, cache: Path, progress: Progress | None = None) -> TrainingData:
    """Packs the train and validation splits of the dataset at `root` below `cache`, or opens those made before.

    NaN and inf become the train split's median of their band, in both splits.

    Raises:
        DataError: a dataset or file that cannot be used; nothing incomplete is left in `cache`.
    """
    splits = training_splits(root)
    train = pack_split("train", splits.train, cache, fill=None, progress=progress)
    validation = pack_split("validation", splits.validation, cache, fill=train.statistics.median, progress=progress)
    source = splits.source + replaced_in_words(train, validation)
    return TrainingData(train, validation, train.statistics, source, splits.held_out)


class WholeData(NamedTuple):
    """Train and validation in one pack, for a model that learns from both: nothing is left to judge it on."""

    train: PackedSplit
    source: str

    @property
    def splits(self) -> tuple[PackedSplit, ...]:
        """The one pack."""
        return (self.train,)

    @property
    def identity(self) -> dict[str, Scalar]:
        """The fingerprint of the pack."""
        return {"train_and_validation": self.train.fingerprint}

    @property
    def judged(self) -> Judged:
        """Nothing."""
        return Judged(UNKNOWN, UNKNOWN)

    def steps(self, config: TrainConfig) -> Steps:
        """Epochs."""
        return Steps("epoch", config.training.epochs)


def prepare_whole(root: Path, cache: Path, progress: Progress | None = None) -> WholeData:
    """Packs the train and validation patches of the dataset at `root` together, or opens the pack made before.

    NaN and inf become the median that their band has over both.

    Raises:
        DataError: a dataset or file that cannot be used; nothing incomplete is left in `cache`.
    """
    splits = training_splits(root)
    files = (*splits.train, *splits.validation)
    pack = pack_split("train-and-validation", files, cache, fill=None, progress=progress)
    return WholeData(pack, f"{splits.source}; trained on both{replaced_in_words(pack)}")


def replaced_in_words(*splits: PackedSplit) -> str:
    """How many values of which bands were not finite, in words; nothing where all were."""
    counts = {band: sum(split.nonfinite[band] for split in splits) for band in splits[0].nonfinite}
    named = ", ".join(f"{count} in {band}" for band, count in counts.items() if count)
    return f"; NaN or infinite values replaced by train medians: {named}" if named else ""
