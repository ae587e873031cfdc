"""Finding the patches of each split in the layouts that the dataset is published in."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsml.data import splits as layout
from lsml.data.sealed import test_split as sealed_test_split
from lsml.data.splits import training_splits
from lsml.errors import DataError


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
        assert "2 patches" in refusal(tmp_path, find)


@pytest.mark.parametrize("lost", ["ValidData", "ValidData/mask"])
def test_validation_without_masks_comes_from_the_end_of_train(tmp_path: Path, write_names, lost: str) -> None:
    """Some copies lack it: 15 % of 12 are 1.8, so the last two patches, and the source says why."""
    shutil.rmtree(official(tmp_path, write_names) / lost)
    splits = training_splits(tmp_path)
    assert ids(splits.train) == numbered(range(1, 11))
    assert ids(splits.validation) == numbered([11, 12])
    words = "ValidData/mask has no masks" if lost.endswith("mask") else "ValidData/img is missing"
    assert words in splits.source
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


def test_unexpected_and_doubled_names(tmp_path: Path, write_names) -> None:
    """Data that would be silently left out is an error; other files, hidden ones and stray masks do not count."""
    img = official(tmp_path, write_names) / "TrainData/img"
    for name in ("readme.txt", "._image_1.h5", "mask_99.h5"):
        (img / name).touch()
    assert len(training_splits(tmp_path).train) == 12
    (img / "image_07.h5").touch()
    assert "have the same number" in refusal(tmp_path)
    (img / "image_07.h5").rename(img / "scene.h5")
    assert "unexpected name" in refusal(tmp_path)


def test_root_through_dots_and_a_link_is_the_same_root(tmp_path: Path, write_names) -> None:
    """How the user reaches the dataset is the user's affair; the paths that come out are plain."""
    official(tmp_path / "data", write_names)
    (tmp_path / "link").symlink_to("data")
    assert training_splits(tmp_path / "link" / ".." / "data") == training_splits(tmp_path / "data")
    assert training_splits(tmp_path / "link") == training_splits(tmp_path / "data")


@pytest.mark.parametrize(
    "place", ["TrainData", "TrainData/img", "TrainData/img/image_3.h5", "ValidData/mask/mask_1.h5"]
)
def test_link_that_leaves_the_dataset_is_refused(tmp_path: Path, write_names, place: str) -> None:
    """Row 21: a file, a folder of files and a split's folder."""
    root = official(tmp_path / "data", write_names)
    (root / place).rename(tmp_path / "outside")
    (root / place).symlink_to("../" * (place.count("/") + 1) + "outside")
    line = refusal(root)
    assert str(root / place) in line
    assert "is a link that leaves the dataset" in line


@pytest.mark.parametrize(
    ("place", "target"), [("TrainData/img/image_3.h5", "TestData/img/image_1.h5"), ("TrainData", "TestData")]
)
def test_link_into_the_test_split_is_refused(tmp_path: Path, write_names, place: str, target: str) -> None:
    """A link that stays in the dataset could carry test patches into training."""
    root = official(tmp_path, write_names)
    shutil.rmtree(root / place) if (root / place).is_dir() else (root / place).unlink()
    (root / place).symlink_to(root / target)
    assert "is a link to another place of the dataset" in refusal(root)


def test_training_splits_know_no_test_folder() -> None:
    """The module that training uses neither names the test folders nor imports the module that does."""
    tree = ast.parse(Path(layout.__file__).read_text())
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [word for word in words if "TestData" in word or word.endswith("/test")]
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "lsml.data.sealed" not in modules
    assert set(layout._TrainingSplits._fields) == {"train", "validation", "source", "held_out"}


PREPARE = """
import sys
from pathlib import Path
opened = []
events = ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in events else None)
from lsml.data.splits import TrainingData
TrainingData.prepare(Path(sys.argv[1]), Path(sys.argv[2]))
print("\\n".join(opened))
"""


@pytest.mark.parametrize("kind", ["official", "bare"])
def test_no_test_file_is_opened_while_training_data_is_prepared(tmp_path: Path, write_patch, kind: str) -> None:
    """An audit hook sees every file that is opened: all train and validation files, none of the test split."""
    root = tmp_path / "data"
    folders = {"official": ["TrainData", "ValidData", "TestData"], "bare": ["."]}[kind]
    for folder in folders:
        for number in range(1, 5):
            write_patch(root / folder / "img", root / folder / "mask", number)
    result = subprocess.run(
        [sys.executable, "-c", PREPARE, root, tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(layout.__file__).parents[2])},
    )
    opened = {Path(line) for line in result.stdout.splitlines() if line.startswith(str(root))}
    splits, test = training_splits(root), sealed_test_split(root)
    wanted = {path for patch in splits.train + splits.validation for path in (patch.image, patch.mask)}
    assert wanted <= opened
    assert not {path for patch in test for path in (patch.image, patch.mask)} & opened
    assert not [path for path in opened if "TestData" in path.parts]
