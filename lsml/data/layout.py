"""Names the patches that tuning and training may see: the train and validation splits of a dataset folder."""

from pathlib import Path
from typing import NamedTuple

from lsml.data.folders import EXPECTED, PatchFiles, block_sizes, dataset_root, layout_of, patches_in, without_links
from lsml.data.provenance import BLOCK, TAIL, own_split
from lsml.errors import DataError

__all__ = ["PatchFiles", "TrainingPatches", "TrainingSplits", "training_patches", "training_splits"]

_FOLDERS = {
    "official": (("TrainData/img", "TrainData/mask"), ("ValidData/img", "ValidData/mask")),
    "hugging-face": (("images/train", "annotations/train"), ("images/validation", "annotations/validation")),
}


class TrainingSplits(NamedTuple):
    """The patches to train on and to validate with; `source` says in words where they come from.

    `held_out` says how validation was set apart, in words of `lsml.data.provenance`.
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
