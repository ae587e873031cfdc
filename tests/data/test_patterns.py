"""Patterns of paths in `dataset.yaml`: every file that fits is of one patch, what does not is named, or refused."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from lsml.data.checks import check
from lsml.data.description import describe, draft
from lsml.data.listing import SPLITS
from lsml.data.scan import Scan
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, DataError
from tests.data.test_formats import noise, picture

PATTERNS = 'images: "{region}/{split}/{id}_s2.tif"\nmasks: "{region}/{split}/{id}_ref.tif"\n'
TRAINED = ("train", "validation")


def dataset(root: Path, text: str, names: Iterable[str]) -> Path:
    """A folder with that `dataset.yaml` and empty files of these names: where they lie, names alone say."""
    for path in (root / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    root.mkdir(exist_ok=True)
    (root / "dataset.yaml").write_text(text)
    return root


def pairs(*places: str) -> list[str]:
    """The names of image and mask of each patch by `PATTERNS`."""
    return [f"{place}_{kind}.tif" for place in places for kind in ("s2", "ref")]


def listed(root: Path, splits: tuple[str, ...] = SPLITS) -> dict[str, list[str]]:
    """The ids of the patches of each split."""
    scan = Scan.of(root, splits)
    return {split: [patch.id for patch in scan.require(split)] for split in splits}


def test_paths_say_split_region_and_id(tmp_path: Path) -> None:
    """Words for splits as folders have them; by region, then by the numbers in ids."""
    names = pairs("nepal/Train/10", "nepal/Train/9", "oman/VAL/3", "italy/train/10", "japan/testing/1")
    scan = Scan.of(dataset(tmp_path, PATTERNS, names), SPLITS)
    train = scan.require("train")
    assert [(patch.id, patch.region) for patch in train] == [
        ("italy/10", "italy"),
        ("nepal/9", "nepal"),
        ("nepal/10", "nepal"),
    ]
    assert train[1].image == tmp_path / "nepal/Train/9_s2.tif"
    assert train[1].mask == tmp_path / "nepal/Train/9_ref.tif"
    assert [patch.id for patch in scan.require("test")] == ["japan/1"]
    assert scan.layout == "patterns"
    assert scan.folders["train"] == ("{region}/train/{id}_s2.tif", "{region}/train/{id}_ref.tif")
    assert not scan.findings
    assert "4 regions" in scan.notes


def test_a_region_is_in_one_split(tmp_path: Path) -> None:
    """As where folders or a table tell it."""
    with pytest.raises(DataError, match=r"region 'nepal' is in train too, as nepal/train/1_s2.tif; keep a region in"):
        listed(dataset(tmp_path, PATTERNS, pairs("oman/train/1", "nepal/train/1", "nepal/val/2")), ("train",))


@pytest.mark.parametrize(
    ("images", "masks", "names", "unused"),
    [
        # One file's name may fit both: `7_mask.tif` fits `{id}.tif` too, and the longer pattern means it.
        ("{id}.tif", "{id}_mask.tif", "7.tif 7_mask.tif", ""),
        ("{id}_img.tif", "{id}.tif", "7_img.tif 7.tif", ""),
        # Ids are equal but for zeros before numbers, as in other names.
        ("s2/x{id}.tif", "ref/{id}.png", "s2/x07.tif ref/7.png", ""),
        # A star is any text, also none; a placeholder that comes again is the same text.
        ("{id}/S2*.tif", "{id}/{id}.*", "7/S2A_2019.tif 7/7.png 7/8.png", "7/8.png"),
        ("a/S2*_{id}.tif", "b/{id}.*", "a/S2_7.tif b/7.png a/7.tif", "a/7.tif"),
        # What patterns have for themselves is no expression, and capitals count.
        ("(x)+{id}.tif", "[y]{id}.tif", "(x)+7.tif [y]7.tif xx7.tif y7.tif [Y]7.tif", "[Y]7.tif xx7.tif y7.tif"),
    ],
)
def test_a_pattern_fits_whole_names(images: str, masks: str, names: str, unused: str, tmp_path: Path) -> None:
    """Without a split all is one folder: with two more patches, there are three, and each is in a split of its own."""
    more = [pattern.replace("{id}", number).replace("*", "") for number in "89" for pattern in (images, masks)]
    dataset(tmp_path, f'images: "{images}"\nmasks: "{masks}"', [*names.split(), *more])
    scan = Scan.of(tmp_path, SPLITS)
    assert scan.layout == "bare"
    first, second, third = (patch for split in SPLITS for patch in scan.require(split))
    assert [int(first.id), second.id, third.id] == [7, "8", "9"]
    assert [str(path.relative_to(tmp_path)) for path in (first.image, first.mask) if path] == names.split()[:2]
    assert scan.unused == tuple(unused.split())


def test_a_region_may_have_what_parts_it_from_a_split(tmp_path: Path) -> None:
    """`new_zealand_train_1.tif` is of New Zealand, as `zealand` is no split."""
    text = 'images: "{region}_{split}_{id}.tif"\nmasks: "m/{region}_{split}_{id}.tif"'
    names = [f"{folder}new_zealand_{split}.tif" for folder in ("", "m/") for split in ("train_1", "val_2", "test_3")]
    assert listed(dataset(tmp_path, text, names), ("train",)) == {"train": ["new_zealand/1"]}


def test_what_fits_no_pattern_is_named(tmp_path: Path) -> None:
    """Files and folders beside those that fit; hidden ones do not count."""
    names = [*pairs("nepal/train/1"), "nepal/train/readme.txt", "nepal/notes/a.pdf", "nepal/train/.x", "more/a.tif"]
    scan = Scan.of(dataset(tmp_path, PATTERNS, names), TRAINED)
    assert scan.unused == ("more", "nepal/notes", "nepal/train/readme.txt")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (pairs("nepal/dev/1"), r"path .*nepal/dev/1_s2.tif: 'dev' is no split; call it train, validation or test, or"),
        ([*pairs("nepal/train/1"), *pairs("nepal/dev/2")], "'dev' is no split; call it train, validation or test"),
        (pairs("nepal/train/7", "nepal/train/07"), "7_s2.tif have the same id; remove one of them, or correct the"),
        (pairs("nepal/train/1", "nepal/train/2")[:3], "path .*2_s2.tif: no nepal/train/2_ref.tif; add it, or remove"),
        (pairs("nepal/train/1", "nepal/train/2")[::-1][:3], "path .*1_ref.tif: no nepal/train/1_s2.tif; add it, or"),
        (["nepal/train/1_s2.tif"], r"masks: no path fits '{region}/{split}/{id}_ref.tif' \(found: dataset.yaml, nepal"),
        (["img/1.tif", "mask/1.tif"], r"images: no path fits .* \(found: dataset.yaml, img, mask\); correct it in"),
        (pairs("nepal/val/1"), "there is no train split; let the paths of some say so, as images and masks in"),
        ([*pairs("nepal/train/1"), "nepal/test/2_ref.tif"], ""),
    ],
)
def test_what_cannot_be_a_patch_is_refused(names: list[str], said: str, tmp_path: Path) -> None:
    """In one line, by every command that trains; what is wrong in the test split is not seen then."""
    root = dataset(tmp_path, PATTERNS, names)
    if not said:
        assert listed(root, ("train",)) == {"train": ["nepal/1"]}
        return
    with pytest.raises(DataError, match=said) as refused:
        Scan.of(root, TRAINED).require("train")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("../{id}.tif", "'../{id}.tif' may lead out of the dataset; give a path below dataset.yaml's folder"),
        ("a/../../{id}.tif", "may lead out of the dataset"),
        ("/data/{id}.tif", "may lead out of the dataset"),
        ("~/{id}.tif", "may lead out of the dataset"),
        ("a\\\\..\\\\{id}.tif", "may lead out of the dataset"),
        ("a//{id}.tif", "has a name that none is; write names with a / between them"),
        ("./{id}.tif", "has a name that none is"),
        ("{name}.tif", "'{name}' is no placeholder; write {id}, {split}, {region} or *"),
        ("{id.tif", "has a brace without another"),
        ("{id}*.tif", "has nothing between two placeholders; write what parts them in names"),
        ("**/{id}.tif", "has nothing between two placeholders"),
        ("{split}/*.tif", "has no {id}; put it where the names of patches differ"),
        ("{region}/{id}.tif", "masks: has no {region}, as the other has; write it into both"),
        ("", "images: is required beside masks; add it"),
        ("{id}_mask.tif", "masks: '{id}_mask.tif' is that of images, whose files hold no mask; give the paths of"),
    ],
)
def test_what_is_no_pattern_is_refused(images: str, said: str, tmp_path: Path) -> None:
    """In one line that names `dataset.yaml` and the key."""
    dataset(tmp_path, f'images: "{images}"\nmasks: "{{id}}_mask.tif"', ["1.tif"])
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        Scan.of(tmp_path, TRAINED)
    assert str(refused.value).startswith(f"description {tmp_path / 'dataset.yaml'}: ")


@pytest.mark.parametrize("more", ["regions: folders", "regions: position"])
def test_regions_are_told_once(more: str, tmp_path: Path) -> None:
    """By paths, or otherwise; and so with a table."""
    with pytest.raises(
        ConfigError, match=r"regions: .*, where images and masks say what paths look like; leave it out"
    ):
        listed(dataset(tmp_path, PATTERNS + more, pairs("nepal/train/1")))
    (tmp_path / "table.csv").write_text("patch,region\nnepal/train/1_s2.tif,italy\n")
    with pytest.raises(DataError, match=r"regions are told twice: column region, and {region} in dataset.yaml"):
        listed(dataset(tmp_path, PATTERNS + "patches: table.csv", []))


def test_a_table_may_tell_splits_and_regions(tmp_path: Path) -> None:
    """Where paths tell neither."""
    text = 'images: "{id}_a.tif"\nmasks: "{id}_b.tif"\npatches: table.csv'
    dataset(tmp_path, text, [f"{number}_{kind}.tif" for number in (1, 2, 3) for kind in "ab"])
    (tmp_path / "table.csv").write_text(
        "patch,split,region\n1_a.tif,train,x\n2_a.tif,val,y\n3_a.tif,test,z\n", encoding="utf-8"
    )
    assert listed(tmp_path) == {"train": ["1"], "validation": ["2"], "test": ["3"]}


@pytest.mark.parametrize("pattern", ["{region}/{split}/{id}_", "{region}/{split}_{id}/x_", "{region}/{id}_{split}_"])
def test_training_lists_no_test_folder_and_opens_no_test_file(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether folders or files say the split; nor is test called unused, and a link into it is refused."""
    text = f'images: "{pattern}s2.tif"\nmasks: "{pattern}ref.tif"'
    filled = [pattern.format(region=r, split=s, id="1") for r, s in (("a", "train"), ("b", "test"))]
    root = dataset(tmp_path, text, [f"{start}{kind}.tif" for start in filled for kind in ("s2", "ref")])
    seen: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(str(path)) or listdir(path))
    scan = Scan.of(root, TRAINED)
    assert [patch.id for patch in scan.require("train")] == ["a/1"]
    assert scan.unused == ()
    assert not [path for path in seen if "test" in path.removeprefix(str(tmp_path))]
    used = [path for files in scan.splits.values() for paths in files for path in paths.values()]
    assert {path.relative_to(root).parts[0] for path in used} == {"a"}
    for kind in ("s2", "ref"):
        link = root / (pattern.format(region="a", split="train", id="2") + f"{kind}.tif")
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(root / f"{filled[1]}{kind}.tif")
    with pytest.raises(DataError, match=r"leads into b/.*test.*: leakage"):
        Scan.of(root, TRAINED).require("train")


def test_patches_are_packed_and_checked(tmp_path: Path) -> None:
    """As of folders that lsml can read: pictures with masks of 255, three of train and two of validation."""
    root = dataset(tmp_path / "data", 'images: "{split}/{id}/s2.png"\nmasks: "{split}/{id}/ref.png"', [])
    for number, split in enumerate(("train", "train", "train", "val", "val", "test", "test")):
        folder = root / split / f"scene {number}"
        folder.mkdir(parents=True)
        picture(folder / "s2.png", noise(24, 24, 3) // (number + 1) + number)
        picture(folder / "ref.png", 255 * np.eye(24, dtype=np.uint8))
    data = TrainingData.prepare(root, tmp_path / "packs")
    assert data.train.ids == ("scene 0", "scene 1", "scene 2")
    assert data.validation.ids == ("scene 3", "scene 4")
    assert "patterns layout: train from train/{id}/s2.png, validation from validation/{id}/s2.png" in data.source
    found = check(root)
    assert [summary.patches for summary in found.splits] == [3, 2, 2]
    assert not found.errors
    # One line says what the patches are and where they lie.
    assert found.notes[0].startswith("RGB: red, green, blue; ")
    assert "train from train/{id}/s2.png and train/{id}/ref.png" in found.notes[0]


def test_a_draft_has_a_pattern_to_fill_in(tmp_path: Path) -> None:
    """As a comment, which is a right one once its marks are removed."""
    text = draft([picture(tmp_path / "a.png", noise(8, 8, 3))])
    names = re.findall(r'^# ((?:images|masks): ".*?")', text, re.MULTILINE)
    assert [name.partition(":")[0] for name in names] == ["images", "masks"]
    told = dataset(tmp_path / "x", "\n".join(names), ["train/1_img.tif", "train/1_mask.tif"])
    assert listed(told, ("train",)) == {"train": ["1"]}
    (tmp_path / "dataset.yaml").write_text(text)
    assert len(describe([tmp_path], [])) == 3
