"""The splits as training sees them: which patches, how they were set apart, packed with their statistics."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.pack import PackedSplit, Progress, pack_split
from lsml.data.scan import EXPECTED, PatchFiles, block_sizes, dataset_root, layout_of, patches_in, without_links
from lsml.data.statistics import BandStatistics
from lsml.errors import DataError

ScoredSplit = Literal["validation", "test"]
"""The splits that there are scores of."""

POOLED = "pooled over pixels"
UNKNOWN = "unknown"
OWN = "the dataset's own split"
SYNTHETIC = "the own split of synthetic patches"
TAIL = "last 15 % of train"
BLOCK = "contiguous 15 % of one folder"

_MARK = "synthetic.json"


class Judged(NamedTuple):
    """What a score is of.

    Attributes:
        split: how the patches were set apart, in words of this module.
        fingerprint: SHA-256 of the patches, 64 hex digits.
    """

    split: str
    fingerprint: str


def mark_synthetic(folder: Path, text: str) -> None:
    """Lets the dataset in `folder` be known as made, not measured; `text` is JSON that says how."""
    (folder / _MARK).write_text(text, encoding="utf-8")


def own_split(root: Path) -> str:
    """The words for a split that stands in a folder of its own below `root`."""
    return SYNTHETIC if (root / _MARK).is_file() else OWN


def folds_in_words(folds: int, repeats: int) -> str:
    """The words for patches that are all held out in turn, `repeats` times."""
    return f"{folds} contiguous folds, {repeats} {'repeat' if repeats == 1 else 'repeats'}"


class Split(Protocol):
    """Patches with their masks; `lsml.data.pack.PackedSplit` and `lsml.data.folds.SplitView` are such splits."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change when any patch does."""

    @property
    def landslide_fractions(self) -> np.ndarray:
        """float64 `(N,)`: the share of landslide pixels in each patch, 0..1."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """float32 `(H, W, 14)`: stored values, always finite."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 `(H, W)`, 0 or 1."""

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored values float32 `(B, H, W, 14)` and masks float32 `(B, H, W, 1)`."""


__all__ = ["PatchFiles", "TrainingPatches", "TrainingSplits", "training_patches", "training_splits"]

_FOLDERS = {
    "official": (("TrainData/img", "TrainData/mask"), ("ValidData/img", "ValidData/mask")),
    "hugging-face": (("images/train", "annotations/train"), ("images/validation", "annotations/validation")),
}


class TrainingSplits(NamedTuple):
    """The patches to train on and to validate with; `source` says in words where they come from.

    `held_out` says how validation was set apart, in words of `lsml.data.splits`.
    """

    train: tuple[PatchFiles, ...]
    validation: tuple[PatchFiles, ...]
    source: str
    held_out: str


class TrainingPatches(NamedTuple):
    """Every patch that may be trained on, where folds take the place of a validation split."""

    patches: tuple[PatchFiles, ...]
    source: str


def training_splits(root: Path) -> TrainingSplits:
    """Finds train and validation patches below `root`, each in numeric order, by names alone.

    A validation split that is missing or has no masks is replaced by the last 15 % of train: numbering follows
    region, so that block is further from the rest than a random choice would be.

    Raises:
        DataError: no such folder, no known layout, no train split, an image or mask without partner, a link.
    """
    root = dataset_root(root)
    layout = layout_of(root)
    if layout == "bare":
        return _bare_splits(root)
    train_folders, validation_folders = _FOLDERS[layout]
    train = _with_masks(root, *train_folders)
    validation = patches_in(root, *validation_folders)
    if validation and validation[0].mask is not None:
        source = f"{layout} layout: train from {train_folders[0]}, validation from {validation_folders[0]}"
        return TrainingSplits(without_links(root, train), without_links(root, validation), source, own_split(root))
    if len(train) < 2:
        raise DataError(f"dataset {root}", "1 train patch and no validation split", "give at least 2 train patches")
    held_out = max(1, round(0.15 * len(train)))
    lack = f"{validation_folders[1]} has no masks" if validation else f"{validation_folders[0]} is missing"
    train = without_links(root, train)
    return TrainingSplits(
        train[:-held_out],
        train[-held_out:],
        f"{layout} layout: {lack}, so validation is the last 15 % of {train_folders[0]} in numeric order",
        TAIL,
    )


def training_patches(root: Path) -> TrainingPatches:
    """Finds every patch to train on below `root`, in numeric order, by names alone.

    Of a layout with splits it is the train split; a bare pair of folders has none, so it is all of them, and
    nothing is left for a test.

    Raises:
        DataError: no such folder, no known layout, no train split, an image or mask without partner, a link.
    """
    root = dataset_root(root)
    layout = layout_of(root)
    if layout == "bare":
        patches = without_links(root, _with_masks(root, "img", "mask"))
        return TrainingPatches(patches, f"bare img and mask: all {len(patches)} patches in folds, no test split")
    (images, masks), _ = _FOLDERS[layout]
    patches = without_links(root, _with_masks(root, images, masks))
    return TrainingPatches(patches, f"{layout} layout: {len(patches)} patches of {images} in folds")


def _with_masks(root: Path, images: str, masks: str) -> tuple[PatchFiles, ...]:
    patches = patches_in(root, images, masks)
    if not patches:
        raise DataError(f"dataset {root}", f"no train split: {images} has no image_<number>.h5", EXPECTED)
    if patches[0].mask is None:
        raise DataError(f"dataset {root}", f"no masks for the train split: {masks} has no mask_<number>.h5", EXPECTED)
    return patches


def _bare_splits(root: Path) -> TrainingSplits:
    patches = _with_masks(root, "img", "mask")
    sizes = block_sizes(len(patches), f"dataset {root}")
    end = sizes.train + sizes.validation
    return TrainingSplits(
        without_links(root, patches[: sizes.train]),
        without_links(root, patches[sizes.train : end]),
        "bare img and mask: contiguous blocks of 70 % train, 15 % validation and 15 % test in numeric order",
        BLOCK,
    )


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

    `held_out` says how validation was set apart, in words of `lsml.data.splits`.
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


DRAWN_PIXELS = 200_000


def draw_pixels(train: Split, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands (P, C) and classes (P,) of at most 200,000 pixels drawn evenly without replacement, patch by patch.

    Patch by patch, so that one patch is in memory at a time.
    """
    first, _ = train.batch([0])
    size = first.shape[1] * first.shape[2]
    total = len(train) * size
    drawn = np.sort(rng.choice(total, min(total, DRAWN_PIXELS), replace=False))
    patches, pixels = np.divmod(drawn, size)
    for index in np.unique(patches):
        image, mask = train.batch([int(index)])
        here = pixels[patches == index]
        yield image.reshape(size, -1)[here], mask.reshape(size)[here] > 0
