"""Which patches train and which are held out, by which split protocol: the splits as training finds them."""

from pathlib import Path
from typing import NamedTuple

from lsml.data.description import describe
from lsml.data.layout import FOLDS, MARK, PatchFiles
from lsml.data.listing import LISTED
from lsml.data.regions import regions_near
from lsml.data.scan import Scan
from lsml.data.sensor import Sensor
from lsml.errors import DataError
from lsml.names import OWN

SYNTHETIC, BLOCK, _TAIL = "the own split of synthetic patches", "contiguous 15 % of one folder", "last 15 % of train"
_REGION_BLOCK, _REGION_TAIL = "whole regions, near 15 % of one folder", "whole regions, near 15 % of train"


def protocol_of(scan: Scan) -> str:
    """The split protocol of the splits of a dataset, but for a validation split that is made of train."""
    if scan.layout == "bare":
        return _REGION_BLOCK if len(set(scan.regions.values())) > 1 else BLOCK
    return SYNTHETIC if (scan.base / MARK).is_file() else OWN


class _TrainingSplits(NamedTuple):
    """The patches to train on and to validate on.

    Attributes:
        source: a description of the folders that they come from.
        held_out: the split protocol, a constant of this module.
    """

    train: tuple[PatchFiles, ...]
    validation: tuple[PatchFiles, ...]
    sensor: Sensor
    source: str
    held_out: str


def training_splits(root: Path) -> _TrainingSplits:
    """Finds the train and validation patches below `root`, each in numeric order, by names alone.

    A validation split that is missing or has no masks is replaced by the last 15 % of train: numbering follows
    region, so that block is further from the rest than a random choice would be. Where several regions are known,
    whole ones stand in, see `lsml.data.regions.regions_near`.

    Raises:
        DataError: no such folder, no known layout, no train split, an image or mask without partner, a link.
    """
    scan = Scan.of(root, ("train", "validation"))
    train, sensor = scan.require("train"), describe((scan.root, scan.base), scan.images)
    (train_images, train_masks), (images, _) = scan.folders["train"], scan.folders["validation"]
    validation = () if "validation" in scan.lacking else scan.require("validation")
    if validation:
        protocol = protocol_of(scan)
        source = f"{scan.layout} layout: train from {train_images}, validation from {images}"
        if scan.layout == "bare":
            blocks = "contiguous blocks of 70 % train, 15 % validation and 15 % test in numeric order"
            blocks = blocks if protocol == BLOCK else "whole regions, near 15 % for validation and for test, in each"
            source = f"bare {train_images} and {train_masks}: {blocks}"
        return _TrainingSplits(train, validation, sensor, source + scan.remarks, protocol)
    if len(train) < 2:
        raise DataError(f"dataset {scan.root}", "1 train patch and no validation split", "give at least 2 of train")
    train, validation, protocol, named = _tail(train, train_images)
    source = f"{scan.layout} layout: {_lack(scan)}, so validation is {named}{scan.remarks}"
    return _TrainingSplits(train, validation, sensor, source, protocol)


_Patches = tuple[PatchFiles, ...]


def _tail(train: _Patches, folder: str) -> tuple[_Patches, _Patches, str, str]:
    """What is left to train on, what validates, the split protocol, and what of `folder` validates in words."""
    regions, wanted = [patch.region for patch in train], 0.15 * len(train)
    if len(set(regions)) < 2:
        n = max(1, round(wanted))
        return train[:-n], train[-n:], _TAIL, f"the last 15 % of {folder} in numeric order"
    chosen = regions_near(regions, wanted)
    rest, held_out = (tuple(p for p in train if (p.region in chosen) is inside) for inside in (False, True))
    return rest, held_out, _REGION_TAIL, f"{', '.join(sorted(chosen))} of {folder}, whole regions near 15 %"


def _lack(scan: Scan) -> str:
    """Why there is no validation split."""
    images, masks = scan.folders["validation"]
    if "validation" not in scan.lacking:
        return "two regions are test and train"
    if scan.layout == LISTED:
        return "the table of patches names no validation split"
    lacks = {"no masks": f"{masks} has no masks", "empty split": f"{images} has no patches"}
    return lacks.get(scan.lacking["validation"].kind, f"{images} is missing")


def fold_patches(root: Path, *, hold_out_test: bool = False) -> tuple[tuple[PatchFiles, ...], Sensor, str]:
    """Every patch below `root` that folds may train on, in numeric order, what they are, and where they come from.

    Of a layout with splits it is the train split. A bare pair of folders has none, so nothing is left for a test unless
    the block of patches, or the regions, that would be one without folds are held out.

    Raises:
        DataError: see `training_splits`.
    """
    scan = Scan.of(root, (FOLDS,))
    if hold_out_test and scan.layout == "bare":
        splits = training_splits(root)
        patches = (*splits.train, *splits.validation)
        return patches, splits.sensor, f"{splits.source}; the first two together, {len(patches)} patches, in folds"
    patches = scan.require(FOLDS)
    images, masks = scan.folders[FOLDS]
    if scan.layout == "bare":
        source = f"bare {images} and {masks}: all {len(patches)} patches in folds, no test split"
    else:
        source = f"{scan.layout} layout: {len(patches)} patches of {images} in folds"
    return patches, describe((scan.root, scan.base), scan.images), source + scan.remarks
