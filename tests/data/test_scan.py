"""Finding the patches of each split in the layouts that the dataset is published in."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsml.data import holdout as layout
from lsml.data.holdout import training_splits
from lsml.data.scan import Scan, scan_images
from lsml.data.sealed import test_split as sealed_test_split
from lsml.errors import DataError
from tests.patches import describe_patches


def ids(patches: tuple) -> list[str]:
    return [patch.id for patch in patches]


def numbered(numbers: range | list[int]) -> list[str]:
    return [f"image_{number}" for number in numbers]


def official(root: Path, write_names, *, train=range(1, 13), validation=range(1, 4), test=range(1, 6)) -> Path:
    for folder, numbers in (("TrainData", train), ("ValidData", validation), ("TestData", test)):
        write_names(root / folder / "img", root / folder / "mask", numbers)
    return root


def refusal(root: Path, find=training_splits) -> str:
    with pytest.raises(DataError) as caught:
        find(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_official_folders(tmp_path: Path, write_names) -> None:
    """Each zip's folder is a split, in the order of the numbers rather than of the letters."""
    splits = training_splits(official(tmp_path, write_names))
    assert ids(splits.train) == numbered(range(1, 13))
    assert ids(splits.validation) == numbered(range(1, 4))
    assert splits.train[9].image == tmp_path / "TrainData/img/image_10.h5"
    assert splits.train[9].mask == tmp_path / "TrainData/mask/mask_10.h5"
    assert "validation from ValidData/img" in splits.source
    test = sealed_test_split(tmp_path)
    assert ids(test) == numbered(range(1, 6))
    assert test[0].image == tmp_path / "TestData/img/image_1.h5"


def test_hugging_face_folders(tmp_path: Path, write_names) -> None:
    """The same dataset as Hugging Face lays it out."""
    for split, numbers in (("train", range(1, 8)), ("validation", range(1, 3)), ("test", range(1, 5))):
        write_names(tmp_path / "images" / split, tmp_path / "annotations" / split, numbers)
    splits = training_splits(tmp_path)
    assert ids(splits.train) == numbered(range(1, 8))
    assert ids(splits.validation) == numbered(range(1, 3))
    assert splits.validation[0].mask == tmp_path / "annotations/validation/mask_1.h5"
    assert "hugging-face" in splits.source
    assert ids(sealed_test_split(tmp_path)) == numbered(range(1, 5))


@pytest.mark.parametrize(
    ("n", "train", "validation"),
    [
        (3, 1, 1),  # round(.7 * 3) = 2 and round(.15 * 3) = 0 become 1 and 1, so that test has one too
        (4, 2, 1),  # round(2.8) = 3 would leave none for test
        (10, 7, 2),  # round(7.0), round(1.5)
        (12, 8, 2),  # round(8.4), round(1.8)
        (20, 14, 3),
        (100, 70, 15),
    ],
)
def test_bare_pair_becomes_contiguous_blocks(tmp_path: Path, write_names, n: int, train: int, validation: int) -> None:
    """70/15/15 in numeric order, with at least one patch each, and every patch in exactly one block."""
    numbers = range(3, 3 + 7 * n, 7)
    write_names(tmp_path / "img", tmp_path / "mask", numbers)
    splits = training_splits(tmp_path)
    test = sealed_test_split(tmp_path)
    assert len(splits.train) == train
    assert len(splits.validation) == validation
    assert ids(splits.train) + ids(splits.validation) + ids(test) == numbered(numbers)
    assert "contiguous blocks" in splits.source


def test_bare_pair_of_two_is_too_few(tmp_path: Path, write_names) -> None:
    """Three splits need three patches."""
    write_names(tmp_path / "img", tmp_path / "mask", [1, 2])
    for find in (training_splits, sealed_test_split):
        assert "2 patches; train, validation and test need one each: give at least 3" in refusal(tmp_path, find)
    (tmp_path / "img/image_1.h5").unlink()
    (tmp_path / "mask/mask_1.h5").unlink()
    assert "1 patch; " in refusal(tmp_path)


@pytest.mark.parametrize("lost", ["ValidData", "ValidData/mask", "ValidData/img/*"])
def test_validation_without_masks_comes_from_the_end_of_train(tmp_path: Path, write_names, lost: str) -> None:
    """Some copies lack it: 15 % of 12 are 1.8, so the last two patches, and the source says why."""
    official(tmp_path, write_names)
    for path in (tmp_path / "ValidData/mask", tmp_path / lost.removesuffix("/*")):
        shutil.rmtree(path, ignore_errors=True)
    if lost.endswith("*"):
        (tmp_path / "ValidData/img").mkdir()
    splits = training_splits(tmp_path)
    assert ids(splits.train) == numbered(range(1, 11))
    assert ids(splits.validation) == numbered([11, 12])
    words = {"ValidData": "ValidData/img is missing", "ValidData/mask": "ValidData/mask has no masks"}
    assert words.get(lost, "ValidData/img has no patches") in splits.source
    assert "last 15 % of TrainData/img" in splits.source


def test_one_train_patch_cannot_give_a_validation_split(tmp_path: Path, write_names) -> None:
    """There would be nothing left to train on."""
    official(tmp_path, write_names, train=[1], validation=[])
    assert "1 train patch and no validation split" in refusal(tmp_path)


@pytest.mark.parametrize(("lost", "there"), [("mask/mask_5.h5", "img/image_5"), ("img/image_5.h5", "mask/mask_5")])
def test_lonely_file_is_named(tmp_path: Path, write_names, lost: str, there: str) -> None:
    """An image without mask, or the reverse, is an incomplete copy."""
    (official(tmp_path, write_names) / "TrainData" / lost).unlink()
    assert f"{there}.h5: no TrainData/{lost};" in refusal(tmp_path)


def test_train_without_masks_is_refused(tmp_path: Path, write_names) -> None:
    """Nothing can be learnt from it."""
    shutil.rmtree(official(tmp_path, write_names) / "TrainData/mask")
    assert "no masks for the train split" in refusal(tmp_path)


def test_missing_train_split_is_refused(tmp_path: Path, write_names) -> None:
    """A folder with TestData alone can be evaluated, not trained on."""
    write_names(tmp_path / "TestData/img", tmp_path / "TestData/mask", [1, 2])
    assert "no train split" in refusal(tmp_path)
    assert ids(sealed_test_split(tmp_path)) == numbered([1, 2])


@pytest.mark.parametrize(
    ("lost", "words"), [("TestData", "no test split"), ("TestData/mask", "no masks for the test split")]
)
def test_missing_test_split_is_said(tmp_path: Path, write_names, lost: str, words: str) -> None:
    """Training goes on without it; only evaluation needs it."""
    shutil.rmtree(official(tmp_path, write_names) / lost)
    assert len(training_splits(tmp_path).train) == 12
    assert words in refusal(tmp_path, sealed_test_split)


def test_missing_root_says_what_to_do(tmp_path: Path) -> None:
    """The path and the way to a dataset."""
    line = refusal(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: no such folder" in line
    assert "lsml data synth" in line
    (tmp_path / "file").touch()
    assert "is no folder" in refusal(tmp_path / "file")


def test_unknown_layout_lists_what_is_there(tmp_path: Path) -> None:
    """The names found tell the user which folder was meant."""
    (tmp_path / "photos").mkdir()
    assert "no known layout (found: photos)" in refusal(tmp_path)
    (tmp_path / "photos/docs/images").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    assert "no known layout (found: loop, photos, up)" in refusal(tmp_path)


def test_unexpected_and_doubled_names(tmp_path: Path, write_names) -> None:
    """Data that would be silently left out is an error; other files, hidden ones and stray masks do not count."""
    img = official(tmp_path, write_names) / "TrainData/img"
    for name in ("readme.txt", "._image_1.h5", "mask_99.h5"):
        (img / name).touch()
    assert len(training_splits(tmp_path).train) == 12
    (img / "image_07.h5").touch()
    assert "have the same number" in refusal(tmp_path)
    (img / "image_07.h5").rename(img / "scene.h5")
    assert "scene.h5: no TrainData/mask/mask_scene.h5; add it" in refusal(tmp_path)


def test_root_through_dots_and_a_link_is_the_same_root(tmp_path: Path, write_names) -> None:
    """How the user reaches the dataset is the user's affair; the paths that come out are plain."""
    official(tmp_path / "data", write_names)
    (tmp_path / "link").symlink_to("data")
    assert training_splits(tmp_path / "link" / ".." / "data") == training_splits(tmp_path / "data")
    assert training_splits(tmp_path / "link") == training_splits(tmp_path / "data")


def touch(root: Path, *paths: str) -> Path:
    """The folder `root` with empty files at these paths, where only names matter."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


THREE = ("train", "validation", "test")


@pytest.mark.parametrize(
    "folders",
    [
        "train/images train/masks validation/images validation/masks test/images test/masks",
        "train/img train/label val/img val/label test/img test/label",
        "Training/Image Training/Labels Valid/Image Valid/Labels Testing/Image Testing/Labels",
        "TRAIN/IMAGES TRAIN/MASKS VAL/IMAGES VAL/MASKS TEST/IMAGES TEST/MASKS",
        "images/train annotations/train images/val annotations/val images/test annotations/test",
        "images/train labels/train images/val annotations/val images/test gt/test",
        "img/training mask/training img/valid mask/valid img/testing mask/testing",
        "train_images train_masks val_images val_masks test_images test_masks",
        "TrainData/TrainData/img TrainData/TrainData/mask ValidData/img ValidData/mask TestData/img TestData/mask",
        "TrainData/img/img TrainData/mask/mask ValidData/img ValidData/mask TestData/img/img TestData/mask/h5",
        "l4s/TrainData/img l4s/TrainData/mask l4s/ValidData/img l4s/ValidData/mask l4s/TestData/img l4s/TestData/mask",
        "a/b/train/img a/b/train/mask a/b/val/img a/b/val/mask a/b/test/img a/b/test/mask",
        "TrainData/img TrainData/mask images/val annotations/val test/images test/masks",
        "train train val val test test",
    ],
)
def test_folders_are_known_by_what_their_names_say(tmp_path: Path, folders: str) -> None:
    """Each split and kind by one of its words, in either order, in capitals too, also one folder too deep."""
    pairs = folders.split()
    for number, (images, masks) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), start=1):
        touch(tmp_path, f"{images}/image_{number}.h5", f"{masks}/mask_{number}.h5")
    splits = training_splits(tmp_path)
    assert [*ids(splits.train), *ids(splits.validation), *ids(sealed_test_split(tmp_path))] == numbered(range(1, 4))
    assert splits.train[0].image == tmp_path / pairs[0] / "image_1.h5"
    assert splits.validation[0].mask == tmp_path / pairs[3] / "mask_2.h5"
    assert f"train from {pairs[0]}, validation from {pairs[2]}" in splits.source
    assert "not used" not in splits.source
    assert Scan.of(tmp_path, THREE).findings == ()


@pytest.mark.parametrize(
    "pair",
    ["img mask", "images masks", "Image Label", "imgs annotations", "patches/images patches/gt", ". .", "all all"],
)
def test_a_bare_pair_has_many_names(tmp_path: Path, pair: str) -> None:
    """Whatever the two are called, also one folder too high."""
    images, masks = pair.split()
    for number in (1, 2, 3):
        touch(tmp_path, f"{images}/image_{number}.h5", f"{masks}/mask_{number}.h5")
    splits = training_splits(tmp_path)
    assert splits.source.startswith(f"bare {images} and {masks}: contiguous blocks")
    assert ids(sealed_test_split(tmp_path)) == ["image_3"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("images/val images/validation annotations/val", "images/val and images/validation may each be its validation"),
        ("ValidData/img valid/images", "ValidData/img and valid/images may each be its validation images"),
        ("TrainData/images", "TrainData/images and TrainData/img may each be its train images"),
    ],
)
def test_two_folders_of_one_meaning_are_refused(tmp_path: Path, write_names, files: str, words: str) -> None:
    """None is preferred, and both are named."""
    official(tmp_path, write_names, validation=[])
    if "images/val" in files:
        for split in ("TrainData", "ValidData", "TestData"):
            shutil.rmtree(tmp_path / split)
        files += " images/train annotations/train"
    touch(tmp_path, *(f"{folder}/image_1.h5" for folder in files.split()))
    assert words in refusal(tmp_path)


def test_two_folders_that_may_be_the_dataset_are_refused(tmp_path: Path, write_names) -> None:
    """One folder too high, above two datasets; the name of neither says more."""
    official(tmp_path / "nepal", write_names)
    official(tmp_path / "japan", write_names)
    assert "japan and nepal may each be meant" in refusal(tmp_path)
    touch(tmp_path / "nepal", "val/img/east/image_1.h5", "val/img/west/image_2.h5")
    line = refusal(tmp_path / "nepal")
    assert "val/img/east and val/img/west may each be meant; give one of them, put all patches into one" in line


def test_what_is_not_used_is_named(tmp_path: Path, write_names) -> None:
    """A folder that may be a split under a name that says nothing is never passed over in silence."""
    official(tmp_path, write_names, validation=[])
    shutil.rmtree(tmp_path / "ValidData")
    touch(tmp_path, "holdout/img/image_1.h5", "TrainData/notes.txt", "synthetic.json", "checksums.json", ".hidden")
    touch(tmp_path, "__MACOSX/TrainData/img/._image_1.h5", "TrainData/img/Thumbs.db", "TrainData/mask/desktop.ini")
    splits = training_splits(tmp_path)
    assert "ValidData/img is missing, so validation is the last 15 %" in splits.source
    assert splits.source.endswith("; not used: holdout, TrainData/notes.txt")
    finding = Scan.of(tmp_path, ("train", "validation")).findings[-1]
    assert (finding.severity, finding.kind) == ("warning", "not used")
    assert finding.files == ("holdout", "TrainData/notes.txt")
    (tmp_path / "ValidData").mkdir()
    assert training_splits(tmp_path).source.endswith("; not used: ValidData, holdout, TrainData/notes.txt")
    shutil.rmtree(tmp_path / "TrainData")
    assert "there is no train split (not used: ValidData, holdout); expected" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "found"),
    [
        ("image_0001.h5 image_0010.h5", "mask_0001.h5 mask_0010.h5", "image_0001 image_0010"),
        ("image_0002.h5 image_0010.h5", "mask_2.h5 mask_10.h5", "image_0002 image_0010"),
        ("image_2.hdf5 image_10.HDF5", "mask_2.hdf5 mask_10.h5", "image_2 image_10"),
        ("image_2.he5 image_10.H5", "mask_2.he5 mask_10.H5", "image_2 image_10"),
        ("image_2.h5 image_10.h5", "image_2.h5 image_10.h5", "image_2 image_10"),
        ("nepal_2.h5 nepal_10.h5", "nepal_2.h5 nepal_10.h5", "nepal_2 nepal_10"),
        ("2.h5 10.h5", "2_mask.h5 10_mask.h5", "2 10"),
        ("2_img.h5 10_img.h5", "2_gt.h5 10_gt.h5", "2_img 10_img"),
        ("image_2.h5 image_10.h5", "image_2_mask.h5 image_10_mask.h5", "image_2 image_10"),
        ("img2.h5 img10.h5", "label2.h5 label10.h5", "img2 img10"),
        ("b_2.h5 a_10.h5", "b_2.h5 a_10.h5", "b_2 a_10"),
        ("b_2.h5 coast.h5", "b_2.h5 coast.h5", "b_2 coast"),
        ("t2_9.h5 t10_1.h5", "t2_9.h5 t10_1.h5", "t2_9 t10_1"),
        ("imagery_2.h5 imagery_10.h5", "imagery_2.h5 imagery_10.h5", "imagery_2 imagery_10"),
        ("caf\u00e9_2.h5", "cafe\u0301_2.h5", "caf\u00e9_2"),
        ("image.h5", "mask.h5", "image"),
    ],
)
def test_image_and_mask_are_paired_by_what_their_names_share(
    tmp_path: Path, images: str, masks: str, found: str
) -> None:
    """Words for the kind, zeros in front of numbers and endings do not count; numbers give the order."""
    touch(tmp_path, *(f"train/img/{name}" for name in images.split()), *(f"train/mask/{n}" for n in masks.split()))
    touch(tmp_path, "val/img/image_1.h5", "val/mask/mask_1.h5")
    train = training_splits(tmp_path).train
    assert ids(train) == found.split()
    assert [patch.mask.name for patch in train if patch.mask] == masks.split()


def test_a_few_images_among_the_masks_are_left_out(tmp_path: Path, write_names) -> None:
    """Some copies have them: a warning, as long as there are masks by name."""
    root = official(tmp_path, write_names)
    touch(root, "TrainData/mask/image_3.h5")
    assert {patch.mask.name for patch in training_splits(root).train if patch.mask} == {
        f"mask_{n}.h5" for n in range(1, 13)
    }
    (finding,) = Scan.of(root, ("train",)).findings
    assert (finding.severity, finding.files) == ("warning", ("TrainData/mask/image_3.h5",))


def test_a_partner_is_named_as_its_neighbours_are(tmp_path: Path) -> None:
    """So that the file that is to be added is the right one."""
    touch(tmp_path, "train/img/a1.h5", "train/img/a2.h5", "train/gt/a1_gt.h5")
    assert "train/img/a2.h5: no train/gt/a2_gt.h5; add it" in refusal(tmp_path)


@pytest.mark.parametrize(
    "place", ["TrainData", "TrainData/img", "TrainData/img/image_3.h5", "ValidData/mask/mask_1.h5", "TestData"]
)
def test_links_are_followed(tmp_path: Path, write_names, place: str) -> None:
    """Of a file, a folder of files and a split's folder; patches keep the paths at which the dataset has them."""
    root = official(tmp_path / "data", write_names)
    plain = training_splits(root)
    (root / place).rename(tmp_path / "outside")
    (root / place).symlink_to("../" * (place.count("/") + 1) + "outside")
    splits = training_splits(root)
    assert (splits.train, splits.validation) == (plain.train, plain.validation)
    assert len(sealed_test_split(root)) == 5
    assert ("links followed: TrainData/img" in splits.source) == (place in ("TrainData", "TrainData/img"))


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        (
            "TrainData/img/image_3.h5",
            "TestData/img/image_1.h5",
            "img/image_3.h5: leads into TestData: leakage",
        ),
        ("TrainData", "TestData", "TrainData/img: leads into TestData: leakage"),
        ("TrainData/mask", "TestData/mask", "TrainData/mask: leads into TestData: leakage"),
        (
            "ValidData/img",
            "TrainData/img",
            "same file as TrainData/img/image_1.h5, so image of train and image of",
        ),
        (
            "TrainData/mask",
            "TrainData/img",
            "same file as TrainData/img/image_1.h5, so image of train and mask of",
        ),
        (
            "ValidData/img/image_2.h5",
            "TrainData/img/image_5.h5",
            "img/image_2.h5: is the same file as TrainData",
        ),
    ],
)
def test_a_file_in_two_places_is_refused(tmp_path: Path, write_names, place: str, target: str, words: str) -> None:
    """A link could carry patches from one split into another; both places are named."""
    root = official(tmp_path, write_names)
    shutil.rmtree(root / place) if (root / place).is_dir() else (root / place).unlink()
    (root / place).symlink_to(root / target)
    assert words in refusal(root)


@pytest.mark.parametrize("find", [training_splits, sealed_test_split])
def test_a_test_split_that_is_a_link_to_train_is_refused(tmp_path: Path, write_names, find) -> None:
    """Before training, and before an evaluation."""
    root = official(tmp_path, write_names)
    shutil.rmtree(root / "TestData")
    (root / "TestData").symlink_to("TrainData")
    assert "TrainData" in refusal(root, find)
    assert "leakage" in refusal(root, find)


def test_hard_links_are_told_as_links_are(tmp_path: Path, write_names) -> None:
    """They have no path of their own to compare: device and inode tell them, in a bare pair too."""
    root = official(tmp_path / "data", write_names)
    (root / "ValidData/img/image_1.h5").unlink()
    (root / "ValidData/img/image_1.h5").hardlink_to(root / "TrainData/img/image_2.h5")
    assert "same file as TrainData/img/image_2.h5" in refusal(root)
    assert "same file as TrainData/img/image_2.h5" in refusal(root, sealed_test_split)
    write_names(tmp_path / "bare/img", tmp_path / "bare/mask", range(10))
    (tmp_path / "bare/img/image_9.h5").unlink()
    (tmp_path / "bare/img/image_9.h5").hardlink_to(tmp_path / "bare/img/image_0.h5")
    assert "so image of train and image of test at once" in refusal(tmp_path / "bare")


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        ("TrainData", "/scratch/gone", "TrainData: is a link to /scratch/gone: No such file or directory; put"),
        ("TrainData/img", "nowhere", "TrainData/img: is a link to nowhere: No such file"),
        ("TrainData/img/image_3.h5", "../x.h5", "TrainData/img/image_3.h5: is a link to ../x.h5: No such file"),
        ("ValidData", "ValidData", "ValidData: is a link to ValidData: Too many levels of symbolic links; put"),
        ("TrainData", ".", "TrainData: is a link to a folder that it lies in"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, write_names, place: str, target: str, words: str) -> None:
    """Its target is named; a loop ends."""
    root = official(tmp_path, write_names)
    shutil.rmtree(root / place) if (root / place).is_dir() else (root / place).unlink()
    (root / place).symlink_to(target)
    assert words in refusal(root)


@pytest.mark.parametrize("folder", [".", "img", "images", "TestData/img", "test/images"])
def test_images_to_predict_lie_in_a_folder_or_in_the_only_one_below(tmp_path: Path, folder: str) -> None:
    """Masks beside them do not count."""
    touch(tmp_path, *(f"{folder}/scene_{number}.h5" for number in (10, 9)), "mask/mask_1.h5")
    assert ids(scan_images(tmp_path)) == ["scene_9", "scene_10"]


def test_images_to_predict_in_several_folders_are_refused(tmp_path: Path, write_names) -> None:
    """They are named, and so is what to give."""
    line = refusal(official(tmp_path, write_names), scan_images)
    assert "holds no images, but TestData/img and TrainData/img and ValidData/img do; give the folder" in line


def test_training_splits_know_no_test_folder() -> None:
    """The module that training uses neither names the test folders nor imports the module that does."""
    tree = ast.parse(Path(layout.__file__).read_text())
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [word for word in words if "TestData" in word or word.endswith("/test")]
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "lsml.data.sealed" not in modules
    assert set(layout._TrainingSplits._fields) == {"train", "validation", "sensor", "source", "held_out"}


PREPARE = """
import sys
from pathlib import Path
from lsml.data.formats import processes
# This process reads for itself, so that the hook sees it.
processes._READER.here = True
opened = []
events = ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in events else None)
from lsml.data.splits import TrainingData
TrainingData.prepare(Path(sys.argv[1]), Path(sys.argv[2]))
print("\\n".join(opened))
"""


FOLDERS = {
    "official": ["TrainData/img", "TrainData/mask", "ValidData/img", "ValidData/mask", "TestData/img", "TestData/mask"],
    "deep": ["a/train/x/img", "a/train/x/mask", "a/val/img", "a/val/mask", "a/TestData/img", "a/TestData/mask"],
    "by kind": ["img/train", "gt/train", "img/val", "gt/val", "img/TestData", "gt/TestData"],
    "linked": ["TrainData/img", "TrainData/mask", "ValidData/img", "ValidData/mask", "TestData/img", "TestData/mask"],
    "bare": ["img", "mask"] * 3,
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_no_test_file_is_opened_while_training_data_is_prepared(tmp_path: Path, write_patch, kind: str) -> None:
    """An audit hook sees every file that is opened: all train and validation files, none of the test split."""
    root = tmp_path / "data"
    folders = FOLDERS[kind]
    for images, masks in zip(folders[::2], folders[1::2], strict=True):
        for number in range(1, 5):
            write_patch(root / images, root / masks, number + 10 * len(images))
    if kind == "linked":
        root.rename(tmp_path / "scratch")
        root.mkdir()
        for split in ("TrainData", "ValidData", "TestData"):
            (root / split).symlink_to(tmp_path / "scratch" / split)
        describe_patches(root)
    result = subprocess.run(
        [sys.executable, "-c", PREPARE, root, tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(layout.__file__).parents[2])},
    )
    opened = {Path(line) for line in result.stdout.splitlines() if line.startswith(str(tmp_path))}
    splits, test = training_splits(root), sealed_test_split(root)
    wanted = {path for patch in splits.train + splits.validation for path in (patch.image, patch.mask)}
    assert wanted <= opened
    assert not {path for patch in test for path in (patch.image, patch.mask)} & opened
    assert not [path for path in opened if "TestData" in path.parts]
