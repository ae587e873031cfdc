"""NumPy files of many patches, which act as folders of them: every patch once, in order, and none too many."""

from pathlib import Path

import numpy as np
import pytest

from lsml.data.checks import check
from lsml.data.description import describe
from lsml.data.formats import read_image, read_mask
from lsml.data.scan import Scan, scan_images
from lsml.data.sensor import RGB
from lsml.data.splits import TrainingData
from lsml.errors import DataError

SIDE = 16


def stack(folder: Path, split: str, count: int, *, first: bool = False, masks: int | None = None) -> None:
    """Writes images uint8 of three bands, last or `first`, whose red is their number from 1 on, and their masks.

    Of mask n the first n rows are landslide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(len(split)).integers(0, 255, (count, SIDE, SIDE, 3), np.uint8)
    images[..., 0] = np.arange(1, count + 1)[:, None, None]
    rows = np.arange(1, (count if masks is None else masks) + 1)
    truth = np.repeat(np.arange(SIDE)[None, :, None] < rows[:, None, None], SIDE, axis=2).astype(np.uint8)
    np.save(folder / f"{split}images.npy", np.moveaxis(images, -1, 1) if first else images)
    np.save(folder / f"{split}masks.npy", truth)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("place", ["beside", "folders"])
def test_a_stack_is_packed_patch_by_patch(place: str, first: bool, tmp_path: Path) -> None:
    """Beside each other with the split in the name, or in folders of splits; bands last or first."""
    for split, count in (("train", 4), ("val", 3)):
        own = {"beside": (tmp_path, f"{split}_"), "folders": (tmp_path / split, "")}[place]
        stack(*own, count, first=first)
    data = TrainingData.prepare(tmp_path, tmp_path / "packs")
    assert data.train.sensor == RGB
    assert data.train.ids == ("00000", "00001", "00002", "00003")
    assert [float(data.train.image(index)[0, 0, 0]) for index in range(4)] == [1, 2, 3, 4]
    assert [int(data.train.mask(index)[:, 0].sum()) for index in range(4)] == [1, 2, 3, 4]
    assert len(data.validation) == 3
    names = "train_images.npy" if place == "beside" else "images.npy"
    assert f"files named as {names}/00000" in data.source


def test_one_pair_is_divided_in_blocks_and_no_patch_is_in_two(tmp_path: Path) -> None:
    """Ten patches: seven train, two of the rest validation and one test (70 %, 15 % rounded up, the rest)."""
    stack(tmp_path, "", 10)
    scan = Scan.of(tmp_path, ("train", "validation", "test"))
    assert [len(scan.require(split)) for split in ("train", "validation", "test")] == [7, 2, 1]
    assert not scan.findings
    (last,) = scan.require("test")
    assert last.image == tmp_path / "images.npy" / "00009"
    sensor = describe([], [last.image])
    assert read_image(last.image, sensor)[0, 0, 0] == 10
    assert last.mask
    assert read_mask(last.mask, sensor)[:, 0].sum() == 10
    assert [patch.id for patch in scan_images(tmp_path)] == [f"{number:05d}" for number in range(10)]


def test_more_images_than_masks_is_one_line(tmp_path: Path) -> None:
    """Which of them has none cannot be told: both numbers are."""
    stack(tmp_path, "train_", 5, masks=3)
    stack(tmp_path, "val_", 2)
    said = r"train_images.npy: train_images.npy holds 5 images, train_masks.npy 3 masks; write one for each, in their"
    with pytest.raises(DataError, match=said):
        TrainingData.prepare(tmp_path, tmp_path / "packs")
    assert [finding.kind for finding in check(tmp_path).findings if finding.severity == "error"] == [
        "numbers of patches"
    ]


def test_the_test_split_is_not_looked_into_until_it_is_opened(tmp_path: Path) -> None:
    """A file that is no NumPy file stands for it: training does not mind, and a check says so in a line."""
    stack(tmp_path, "train_", 4)
    stack(tmp_path, "val_", 2)
    for kind in ("images", "masks"):
        (tmp_path / f"test_{kind}.npy").write_bytes(b"sealed")
    assert len(TrainingData.prepare(tmp_path, tmp_path / "packs").train) == 4
    with pytest.raises(DataError, match=r"test_images.npy: not an array as numpy.save writes it; replace it by"):
        Scan.of(tmp_path, ("test",)).require("test")


def test_one_patch_in_files_of_such_names_is_no_stack(tmp_path: Path) -> None:
    """`(H, W, C)` is one image, not many: the file is the patch, as always."""
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "image.npy", np.zeros((SIDE, SIDE, 3), np.uint8))
    np.save(tmp_path / "train" / "mask.npy", np.eye(SIDE))
    (patch,) = Scan.of(tmp_path, ("train",)).require("train")
    assert (patch.image.name, patch.mask and patch.mask.name) == ("image.npy", "mask.npy")


def test_the_same_file_under_two_names_is_leakage(tmp_path: Path) -> None:
    """Told patch by patch, as of files."""
    stack(tmp_path, "train_", 3)
    (tmp_path / "val_images.npy").hardlink_to(tmp_path / "train_images.npy")
    (tmp_path / "val_masks.npy").hardlink_to(tmp_path / "train_masks.npy")
    with pytest.raises(DataError, match=r"is the same file as .*, so image of train and image of validation at once"):
        Scan.of(tmp_path, ("train", "validation")).require("train")


def test_a_changed_stack_is_packed_anew(tmp_path: Path) -> None:
    """By its size and times, as of files."""
    stack(tmp_path, "train_", 3)
    stack(tmp_path, "val_", 2)
    before = TrainingData.prepare(tmp_path, tmp_path / "packs").train.fingerprint
    stack(tmp_path, "train_", 4)
    assert TrainingData.prepare(tmp_path, tmp_path / "packs").train.fingerprint != before
