"""Prepares what training may see of a dataset: packed train and validation splits and the statistics of train."""

from pathlib import Path
from typing import NamedTuple

from lsml.data.layout import training_splits
from lsml.data.pack import PackedSplit, Progress, pack_split
from lsml.data.statistics import BandStatistics


class TrainingData(NamedTuple):
    """Packed train and validation, pickled as two paths and the statistics. Nothing here leads to a test file."""

    train: PackedSplit
    validation: PackedSplit
    statistics: BandStatistics
    source: str


def prepare(root: Path, cache: Path, progress: Progress | None = None) -> TrainingData:
    """Packs the train and validation splits of the dataset at `root` below `cache`, or opens those made before.

    NaN and inf become the train split's median of their band, in both splits.

    Raises:
        DataError: a dataset or file that cannot be used; nothing incomplete is left in `cache`.
    """
    splits = training_splits(root)
    train = pack_split("train", splits.train, cache, fill=None, progress=progress)
    validation = pack_split("validation", splits.validation, cache, fill=train.statistics.median, progress=progress)
    return TrainingData(train, validation, train.statistics, splits.source + replaced_in_words(train, validation))


def replaced_in_words(*splits: PackedSplit) -> str:
    """How many values of which bands were not finite, in words; nothing where all were."""
    counts = {band: sum(split.nonfinite[band] for split in splits) for band in splits[0].nonfinite}
    named = ", ".join(f"{count} in {band}" for band, count in counts.items() if count)
    return f"; NaN or infinite values replaced by train medians: {named}" if named else ""
