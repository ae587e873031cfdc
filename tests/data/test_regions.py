"""Regions of patches by a table, folders or position; each mistake in one line; splits and folds that keep them."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio

from lsml.data.holdout import fold_patches, training_splits
from lsml.data.layout import PatchFiles
from lsml.data.listing import SPLITS
from lsml.data.regions import fold_indices, regions_near
from lsml.data.scan import Scan
from lsml.data.sealed import split_protocol
from lsml.data.sealed import test_split as sealed_test_split
from lsml.data.splits import FoldData, FoldedData, TrainingData
from lsml.errors import ConfigError, DataError
from lsml.workflows.data import describe as describe_dataset
from tests.data.test_formats import noise, picture, raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

ALL = "patches: patches.csv"


def touch(root: Path, *paths: str) -> Path:
    """Empty files, where only names matter: each image, and its mask where its folder has one."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def bare(root: Path, *names: str) -> Path:
    """A pair of folders with these patches, as HDF5."""
    return touch(root, *(f"{kind}/{name}.h5" for name in names for kind in ("img", "mask")))


def described(root: Path, text: str, table: str | bytes = "") -> Path:
    """The dataset with this `dataset.yaml` and, if any, this table."""
    (root / "dataset.yaml").write_text(text)
    if table:
        (root / "patches.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def by_region(patches: Iterable[PatchFiles]) -> dict[str, list[str]]:
    """The ids of patches by region."""
    found: dict[str, list[str]] = {}
    for patch in patches:
        found.setdefault(patch.region, []).append(patch.id)
    return found


def refusal(root: Path) -> str:
    """The one line in which training refuses a dataset."""
    with pytest.raises((ConfigError, DataError)) as caught:
        fold_patches(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def folds_of(root: Path) -> dict[str, list[str]]:
    """The ids of the patches that folds may train on, by region."""
    return by_region(fold_patches(root)[0])


def test_a_table_names_the_region_of_each_patch(tmp_path: Path) -> None:
    """By the file's name or its path, in capitals or not, with a byte-order mark as spreadsheets write it."""
    table = "\ufeffPatch , REGION\na1.h5,Nepal\nimg/a2.h5,Népal\n\n./img/a3.h5, Nepal \n"
    root = described(bare(tmp_path, "a1", "a2", "a3"), ALL, table)
    assert folds_of(root) == {"Nepal": ["a1", "a3"], "Népal": ["a2"]}
    assert Scan.of(root, SPLITS).unused == ()


def test_a_table_says_the_splits_of_one_folder(tmp_path: Path) -> None:
    """In any of the words for a split; what it calls test is neither trained on nor in folds."""
    names = [f"a{n}" for n in range(1, 7)]
    words = ["train", "Training", "val", "validation", "test", "testing"]
    table = "patch,split\n" + "".join(f"{name}.h5,{word}\n" for name, word in zip(names, words, strict=True))
    root = described(bare(tmp_path, *names), ALL, table)
    splits = training_splits(root)
    assert [patch.id for patch in splits.train] == ["a1", "a2"]
    assert [patch.id for patch in splits.validation] == ["a3", "a4"]
    assert [patch.id for patch in sealed_test_split(root)] == ["a5", "a6"]
    assert folds_of(root) == {"": ["a1", "a2"]}
    assert splits.held_out == split_protocol(root) == "the dataset's own split"
    assert "listed layout: train from img, validation from img" in splits.source


def test_a_table_without_validation_has_it_made_of_train(tmp_path: Path) -> None:
    """15 % of 4 are .6: the last patch; and without test there is none to evaluate on."""
    names = [f"a{n}" for n in range(1, 5)]
    root = described(bare(tmp_path, *names), ALL, "patch,split\n" + "".join(f"{name}.h5,train\n" for name in names))
    splits = training_splits(root)
    assert [patch.id for patch in splits.validation] == ["a4"]
    assert "the table of patches names no validation split, so validation is the last 15 % of img" in splits.source
    with pytest.raises(DataError, match="no line of the table says test; lsml evaluate needs one with masks"):
        sealed_test_split(root)


THREE = "patch,split,region\na1.h5,train,x\na2.h5,val,y\na3.h5,test,z\n"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,region\na1.h5,x\n", r"no column patch \(there are: name, region\); name the columns in the first line"),
        ("patch,place\na1.h5,x\n", r"no column split or region \(there are: patch, place\)"),
        ("patch,region,region\na1.h5,x,y\n", "column region is there twice"),
        ("\n\n", r"no column patch \(there are: none\)"),
        ("patch,region\na1.h5,Népal\n".encode("latin1"), "not text in UTF-8; correct patches in dataset.yaml, or"),
        ('patch,region\n"a1.h5,x\n', "not CSV: unexpected end of data; correct patches in dataset.yaml"),
        (THREE + "a4.h5,train,x\n", "line 5: there is no image 'a4.h5'; correct its name, or remove the line"),
        (THREE + "a1.h5,train,x\n", "line 5: 'a1.h5' is there twice, first in line 2; remove one"),
        (THREE + "img/a1.h5,train,x\n", "line 5: 'img/a1.h5' is there twice, first in line 2; remove one"),
        (THREE.replace("val", "vallidation"), "line 3: 'vallidation' is no split; write train, validation or test"),
        (THREE.replace(",y", ","), "line 3: no region; fill the cell in"),
        (THREE.replace("train", ""), "line 2: no split; fill the cell in"),
        (THREE.replace(",y", ""), "line 3: 2 cells under 3 columns; put cells with commas in quotes"),
        (THREE.replace(",z", ",x"), "line 4: region 'x' is of test here and of train in line 2; keep a region in one"),
        ("patch,region\na1.h5,x\na3.h5,x\n", "patches.csv has no line for img/a2.h5; add one for each, or move"),
    ],
)
def test_each_mistake_of_a_table_is_one_line(table: str | bytes, said: str, tmp_path: Path) -> None:
    """With the file, the line as editors count them, what is wrong and what to do."""
    line = refusal(described(bare(tmp_path, "a1", "a2", "a3"), ALL, table))
    assert str(tmp_path / "patches.csv") in line or "img/a2.h5" in line
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALL, "table of patches .*patches.csv: No such file or directory; correct patches in dataset.yaml"),
        ("patches: ../patches.csv", "patches: '../patches.csv' is no file's name; put the file beside this one"),
        ("regions: country", "regions: must be '', 'folders' or 'position', not 'country'"),
        ("regions: position\nregion_metres: 10", "region_metres: must be at least 1000, not 10"),
        ("region_metres: 5000\ntile: 64", "bands: is required; add it"),
    ],
)
def test_each_mistake_of_the_description_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    """Regions alone need no bands; whatever else is said does."""
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refusal(described(bare(tmp_path, "a1", "a2", "a3"), text)))


def test_regions_are_told_once(tmp_path: Path) -> None:
    """By the table or by folders."""
    root = described(touch(tmp_path, "img/x/1.h5", "mask/x/1.h5"), f"{ALL}\nregions: folders", "patch,region\n1.h5,x")
    assert "regions are told twice: column region, and regions: folders in dataset.yaml" in refusal(root)


def test_a_region_of_the_table_stays_in_one_split(tmp_path: Path) -> None:
    """Also where folders say the splits; one region alone tells nothing, and is divided as without."""
    for split, name in (("train", "a1"), ("train", "a2"), ("val", "a3")):
        touch(tmp_path, f"{split}/images/{name}.h5", f"{split}/masks/{name}.h5")
    described(tmp_path, ALL, "patch,region\na1.h5,x\na2.h5,y\na3.h5,x\n")
    with pytest.raises(
        DataError, match="line 4: region 'x' is of validation here and of train in line 2; keep a region"
    ):
        training_splits(tmp_path)
    described(tmp_path, ALL, "patch,split,region\na1.h5,train,x\na2.h5,train,x\na3.h5,val,x\n")
    assert "one region (x): splits and folds are made as without regions" in training_splits(tmp_path).source


def test_a_table_without_train_cannot_be_trained_on(tmp_path: Path) -> None:
    """In folds or not."""
    root = described(bare(tmp_path, "a1", "a2"), ALL, "patch,split\na1.h5,val\na2.h5,test\n")
    assert "no line of the table says train; add some" in refusal(root)
    with pytest.raises(DataError, match="no line of the table says train; add some"):
        training_splits(root)


def test_a_name_that_two_images_have_needs_its_path(tmp_path: Path) -> None:
    """In folders by region the same numbers come again."""
    paths = [f"{kind}/{place}/1.h5" for kind in ("img", "mask") for place in ("x", "y")]
    table = "patch,split\n1.h5,train\nimg/y/1.h5,test\n"
    line = refusal(described(touch(tmp_path, *paths), f"{ALL}\nregions: folders", table))
    assert "line 2: 2 images are called '1.h5'; give the path from dataset.yaml's folder" in line


def test_a_table_cannot_move_a_patch_out_of_its_splits_folder(tmp_path: Path, write_names) -> None:
    """A test patch stays sealed: neither its name nor its path in the table brings it into train."""
    for folder, numbers in (("TrainData", (1, 2)), ("ValidData", (3,)), ("TestData", (4,))):
        write_names(tmp_path / folder / "img", tmp_path / folder / "mask", numbers)
    rows = "patch,split\nimage_1.h5,train\nimage_2.h5,train\nimage_3.h5,validation\n"
    for name in ("image_4.h5", "TestData/img/image_4.h5"):
        line = refusal(described(tmp_path, ALL, f"{rows}{name},train\n"))
        assert f"line 5: there is no image '{name}'" in line
    assert folds_of(described(tmp_path, ALL, f"{rows}image_4.h5,test\n")) == {"": ["image_1", "image_2"]}
    described(tmp_path, ALL, rows.replace("image_3.h5,validation", "image_3.h5,train"))
    with pytest.raises(DataError, match=r"line 4: 'image_3.h5' lies in the validation split; correct the table"):
        training_splits(tmp_path)


FOLDERS = {
    "below the kinds": "{kind}/{region}/{name}.h5",
    "above the kinds": "{region}/{kind}/{name}.h5",
    "one folder too high": "data/{kind}/{region}/{name}.h5",
    "in a continent": "{kind}/asia/{region}/{name}.h5",
}


@pytest.mark.parametrize("pattern", FOLDERS.values(), ids=FOLDERS)
def test_folders_name_regions(pattern: str, tmp_path: Path) -> None:
    """The one right above the image, but for those of a split or kind; patches of one name keep apart by it."""
    names = {"nepal": ("1", "2"), "hokkaido": ("1", "02", "10")}
    for kind, region in itertools.product(("images", "masks"), names):
        touch(tmp_path, *(pattern.format(kind=kind, region=region, name=name) for name in names[region]))
    top = tmp_path / "data" if pattern.startswith("data") else tmp_path
    described(top, "regions: folders")
    assert folds_of(tmp_path) == {
        "hokkaido": ["hokkaido/1", "hokkaido/02", "hokkaido/10"],
        "nepal": ["nepal/1", "nepal/2"],
    }
    patches, _, source = fold_patches(tmp_path)
    assert all(patch.mask and patch.mask.name == patch.image.name for patch in patches)
    assert "all 5 patches in folds, no test split" in source
    assert source.endswith("; 2 regions")
    assert Scan.of(tmp_path, SPLITS).findings == ()


def test_folders_name_regions_within_splits(tmp_path: Path) -> None:
    """Below or above the split; a test split is not looked into by training."""
    for split, region in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "d")):
        touch(tmp_path, f"{split}/images/{region}/1.h5", f"{split}/masks/{region}/1.h5")
    described(tmp_path, "regions: folders")
    splits = training_splits(tmp_path)
    assert (by_region(splits.train), by_region(splits.validation)) == ({"a": ["a/1"], "b": ["b/1"]}, {"c": ["c/1"]})
    assert by_region(sealed_test_split(tmp_path)) == {"d": ["d/1"]}
    assert Scan.of(tmp_path, ("train", "validation")).notes[-1] == "3 regions"


def test_a_region_in_two_splits_is_refused(tmp_path: Path) -> None:
    """Its score would not be one of ground that no one trained on; where there is no other, regions tell nothing."""
    for split, region in (("train", "a"), ("train", "b"), ("val", "a")):
        touch(tmp_path, f"{split}/images/{region}/1.h5", f"{split}/masks/{region}/1.h5")
    described(tmp_path, "regions: folders")
    with pytest.raises(DataError, match=r"region 'a' is in train too, as train/images/a/1\.h5; keep a region in one"):
        training_splits(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind / "b" / "1.h5").unlink()
    assert "one region (a): splits and folds are made as without regions" in training_splits(tmp_path).source


def test_an_image_beside_the_regions_folders_is_refused(tmp_path: Path) -> None:
    """It is of no region; and a region without masks lacks one for each image."""
    root = touch(tmp_path / "one", "images/1.h5", "masks/1.h5", "images/a/1.h5", "masks/a/1.h5")
    assert "lies in no folder that names a region; put it into one" in refusal(described(root, "regions: folders"))
    root = touch(tmp_path / "two", "images/b/image_1.h5", "masks/b/mask_1.h5", "images/a/image_1.h5")
    assert "images/a/image_1.h5: no masks/a/mask_1.h5; add it" in refusal(described(root, "regions: folders"))


def test_a_description_beside_other_folders_is_not_overlooked(tmp_path: Path) -> None:
    """One folder too high with something else in it: the line says which folder to give."""
    touch(tmp_path, "data/img/a1.h5", "data/mask/a1.h5", "notes/readme.txt")
    described(tmp_path / "data", ALL, "patch,region\na1.h5,x\n")
    assert f"give {tmp_path / 'data'} as the dataset" in refusal(tmp_path)


def at(path: Path, east: float, north: float, *, crs: str = "EPSG:32645") -> Path:
    """A GeoTIFF of three bands, 320 m wide and high, with its upper left corner there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = rasterio.Affine(10, 0, east, 0, -10, north)
    return raster(path, noise(32, 32, 3), crs=crs, transform=transform)


def test_scenes_that_lie_apart_are_regions(tmp_path: Path) -> None:
    """Three in a row, each 8 km from the next, are one region by 10 km, although its ends are 16 km apart.

    In zone 45 of UTM, whose middle is 87 degrees east: 500,160 m east is .0015 degrees further, and 3,099,840 m north
    is 28.024 degrees. The fourth, 20 km on, is another, and so is one in degrees that lies in the next zone.
    """
    for number, kilometres in enumerate((0, 8, 16, 36), start=1):
        at(tmp_path / "img" / f"{number}.tif", 500_000 + 1000 * kilometres, 3_100_000)
    transform = rasterio.Affine(0.0001, 0, 93, 0, -0.0001, 28)
    raster(tmp_path / "img" / "5.tif", noise(32, 32, 3), crs="EPSG:4326", transform=transform)
    touch(tmp_path, *(f"mask/{number}.png" for number in range(1, 6)))
    described(tmp_path, "regions: position")
    found = folds_of(tmp_path)
    assert list(found.values()) == [["1", "2", "3"], ["4"], ["5"]]
    first, _, last = found
    # The middle of the fifth is 16 pixels of .0001 degrees from its corner.
    assert (first, last) == ("28.024N 87.002E", "27.998N 93.002E")
    described(tmp_path, "regions: position\nregion_metres: 25000")
    assert list(folds_of(tmp_path).values()) == [["1", "2", "3", "4"], ["5"]]


@pytest.mark.parametrize("write", ["picture", "plain", "local"])
def test_without_a_position_there_is_no_region(write: str, tmp_path: Path) -> None:
    """A picture, a TIFF without a transform, and one in a system of its own site."""
    (tmp_path / "img").mkdir()
    if write == "picture":
        path = picture(tmp_path / "img" / "1.png", noise(32, 32, 3))
    elif write == "plain":
        path = raster(tmp_path / "img" / "1.tif", noise(32, 32, 3))
    else:
        path = at(tmp_path / "img" / "1.tif", 0, 0, crs='LOCAL_CS["site",UNIT["metre",1]]')
    touch(tmp_path, "mask/1.png")
    line = refusal(described(tmp_path, "regions: position"))
    assert line.startswith(f"file {path}: does not say where on the ground it lies; write GeoTIFF")


@pytest.mark.parametrize(
    ("sizes", "patches", "chosen"),
    [
        ({"a": 50, "b": 30, "c": 20}, 15, {"c"}),  # 5 off instead of 15; b would bring it to 35 off
        ({"c": 20, "b": 30, "a": 50}, 15, {"c"}),  # a and b are too large, whatever the order
        ({"a": 84, "b": 8, "c": 8}, 15, {"b", "c"}),  # 8, then 16: 7 off, then 1
        ({"a": 50, "b": 50}, 15, {"b"}),  # none is near: the smallest, the last of equals
        ({"a": 60, "b": 1, "c": 1}, 15, {"b", "c"}),  # all but one
    ],
)
def test_whole_regions_near_a_share(sizes: Mapping[str, int], patches: float, chosen: set[str]) -> None:
    """From the last to the first, each that brings the number nearer."""
    assert regions_near(Counter(sizes).elements(), patches) == chosen


def random_regions(seed: int) -> list[str]:
    """One to eight regions of any sizes, in any order."""
    random = np.random.default_rng(seed)
    return [f"r{number}" for number in random.integers(0, random.integers(1, 9), random.integers(4, 60))]


def write_table(root: Path, regions: list[str]) -> Path:
    names = [f"p{number}" for number in range(len(regions))]
    rows = "".join(f"{name}.h5,{region}\n" for name, region in zip(names, regions, strict=True))
    return described(bare(root, *names), ALL, "patch,region\n" + rows)


@pytest.mark.parametrize("seed", range(40))
def test_no_region_is_on_both_sides_of_a_fold(seed: int) -> None:
    """Every patch is held out once, every fold holds something out, and there are as many as asked or as regions."""
    regions = random_regions(seed)
    for folds in (2, 3, 5):
        if folds > len(regions):
            continue
        parts = fold_indices(len(regions), folds, regions)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(regions)))
        if len(set(regions)) > 1:
            assert len(parts) == min(folds, len(set(regions)))
            sides = [{regions[index] for index in part} for part in parts]
            assert sum(map(len, sides)) == len(set(regions))
        else:
            assert [part.tolist() for part in parts] == [
                part.tolist() for part in np.array_split(np.arange(len(regions)), folds)
            ]


@pytest.mark.parametrize("seed", range(20))
def test_other_partitions_are_of_whole_regions_too(seed: int) -> None:
    """Every patch is held out once, no region is on both sides, no fold is empty, and it is the same each time."""
    regions = random_regions(seed)
    for folds, partition in itertools.product((2, 3), (1, 2)):
        if len(set(regions)) < 2:
            continue
        parts = fold_indices(len(regions), folds, regions, partition)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(regions)))
        assert len(parts) == min(folds, len(set(regions)))
        assert sum(len({regions[index] for index in part}) for part in parts) == len(set(regions))
        again = fold_indices(len(regions), folds, regions, partition)
        assert [part.tolist() for part in parts] == [part.tolist() for part in again]


def test_regions_are_put_together_in_every_way() -> None:
    """Four regions of two patches each make two pairs in three ways, and then the first again.

    Of regions of 4, 2 and 1 patches in two folds, those of 2 and 1 come together where the one of 4 has its turn before
    the last of them; where it comes last, it goes to the one of 1. No order puts those of 4 and 2 together.
    """
    pairs = [_together("aabbccdd", 2, partition) for partition in range(4)]
    assert set(pairs[:3]) == {frozenset({"ab", "cd"}), frozenset({"ac", "bd"}), frozenset({"ad", "bc"})}
    assert pairs[3] == pairs[0]
    unequal = [_together("aaaabbc", 2, partition) for partition in range(3)]
    assert unequal == [frozenset({"a", "bc"}), frozenset({"ac", "b"}), frozenset({"a", "bc"})]


def _together(regions: str, folds: int, partition: int) -> frozenset[str]:
    """Which regions, of one letter each, are held out together."""
    held_out = fold_indices(len(regions), folds, list(regions), partition)
    return frozenset("".join(sorted({regions[index] for index in fold})) for fold in held_out)


def test_a_fold_for_each_region_is_the_only_partition() -> None:
    """Two regions in two folds are held out one after the other, whatever the partition."""
    for partition in range(3):
        assert [fold.tolist() for fold in fold_indices(4, 2, list("abba"), partition)] == [[0, 3], [1, 2]]


@pytest.mark.parametrize("seed", range(12))
def test_no_region_is_on_both_sides_of_a_split(seed: int, tmp_path: Path) -> None:
    """Of one folder, three regions or more; of two, test is one by itself; of one, blocks as without regions."""
    regions = random_regions(seed)
    root = write_table(tmp_path, regions)
    splits, test = training_splits(root), by_region(sealed_test_split(root))
    train, validation = by_region(splits.train), by_region(splits.validation)
    together = [*splits.train, *splits.validation, *sealed_test_split(root)]
    assert sorted(patch.id for patch in together) == sorted(f"p{number}" for number in range(len(regions)))
    assert train
    assert validation
    assert test
    count = len(set(regions))
    if count >= 3:
        assert len(train) + len(validation) + len(test) == count
        assert splits.held_out == split_protocol(root) == "whole regions, near 15 % of one folder"
    elif count == 2:
        assert not {*test} & {*train, *validation}
        assert "two regions are test and train, so validation is the last 15 % of img" in splits.source


def test_a_missing_validation_split_is_whole_regions_of_train(tmp_path: Path) -> None:
    """Of 10 patches 1.5 are wanted: b's 2 are nearer than none, and c's 3 after them are not."""
    regions = ["a"] * 5 + ["c"] * 3 + ["{b}"] * 2
    names = [f"p{number}" for number in range(10)]
    touch(tmp_path, *(f"train/{kind}/{name}.h5" for name in names for kind in ("images", "masks")))
    rows = "".join(f"{name}.h5,{region}\n" for name, region in zip(names, regions, strict=True))
    splits = training_splits(described(tmp_path, ALL, "patch,region\n" + rows))
    assert by_region(splits.validation) == {"{b}": ["p8", "p9"]}
    assert len(splits.train) == 8
    assert splits.held_out == "whole regions, near 15 % of train"
    assert "so validation is {b} of train/images, whole regions near 15 %" in splits.source


def pictures(root: Path, regions: Mapping[str, int], *, pattern: str = "{kind}/{region}/{name}.png") -> Path:
    """Pictures of 32 x 32 pixels whose left half is landslide, in folders that name their regions."""
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    for place, (region, count) in enumerate(regions.items()):
        for number, kind in itertools.product(range(count), ("images", "masks")):
            path = root / pattern.format(kind=kind, region=region, name=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.full((32, 32, 3), 20 * (place + 1) + number, np.uint8)
            picture(path, mask if kind == "masks" else image)
    return described(root, "regions: folders")


def test_folds_are_of_whole_regions(tmp_path: Path) -> None:
    """Three regions in 5 folds are three folds; what they are, the pack, the scores and the source say."""
    root = pictures(tmp_path / "data", {"a": 3, "b": 1, "c": 2})
    data = FoldedData.prepare(root, tmp_path / "packs", folds=5, repeats=1)
    assert data.train.regions == ("a", "a", "a", "b", "c", "c")
    assert data.folds == 3
    assert "3 folds, not 5, as there are no more regions" in data.source
    assert data.scored_patches.split == "leave one region out, 3 regions, 1 repeat"
    assert [FoldData.of(data.train, fold, 3).validation.ids for fold in range(3)] == [
        ("a/0", "a/1", "a/2"),
        ("b/0",),
        ("c/0", "c/1"),
    ]
    two = FoldedData.prepare(root, tmp_path / "packs", folds=2, repeats=1)
    assert two.scored_patches.split == "2 folds of whole regions, 1 repeat"
    # Three patches each: the largest region, and the two others.
    assert sorted(len(FoldData.of(two.train, fold, 2).validation) for fold in range(2)) == [3, 3]


def test_other_regions_of_the_same_patches_are_another_study(tmp_path: Path) -> None:
    """The packs' contents are the same, and so is what was trained without folds; the folds are not."""
    root = pictures(tmp_path / "data", {"a": 2, "b": 2}, pattern="{kind}/{region}{name}.png")
    found = []
    for table in ("a0.png,x\na1.png,x\nb0.png,y\nb1.png,y\n", "a0.png,x\na1.png,y\nb0.png,y\nb1.png,x\n"):
        described(root, ALL, f"patch,region\n{table}")
        found.append(FoldedData.prepare(root, tmp_path / "packs", folds=2, repeats=1))
    first, second = found
    assert first.train.fingerprint == second.train.fingerprint
    assert first.identity["regions"] != second.identity["regions"]
    assert first.scored_patches.fingerprint != second.scored_patches.fingerprint
    (root / "dataset.yaml").unlink()
    without = FoldedData.prepare(root, tmp_path / "packs", folds=2, repeats=1)
    assert without.train.fingerprint == first.train.fingerprint
    assert "regions" not in without.identity
    assert without.scored_patches == ("2 contiguous folds, 1 repeat", without.train.fingerprint)


def test_squares_of_an_image_are_of_its_region(tmp_path: Path) -> None:
    """Two of each picture, 48 pixels wide, in packs of train and of validation."""
    for region in "abc":
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind / region).mkdir(parents=True)
            array = noise(32, 48, 3) if kind == "images" else 255 * np.eye(32, 48, dtype=np.uint8)
            picture(tmp_path / "data" / kind / region / "1.png", array)
    bands = ", ".join(f"{{name: {name}, role: {name}}}" for name in ("red", "green", "blue"))
    described(tmp_path / "data", f"regions: folders\ntile: 32\nbands: [{bands}]")
    data = TrainingData.prepare(tmp_path / "data", tmp_path / "packs")
    # Test is c, the last of equals, and validation b.
    assert (data.train.ids, data.train.regions) == (("a/1_0_0", "a/1_0_16"), ("a", "a"))
    assert data.validation.regions == ("b", "b")
    assert data.validation.region(0) == "b"


def test_bands_are_drafted_beside_regions(tmp_path: Path) -> None:
    """Folders of regions are told once something names them so; that stays, and a draft is not written over."""
    for region, kind in itertools.product("abc", ("images", "masks")):
        (tmp_path / kind / region).mkdir(parents=True)
        array = noise(32, 32, 5, dtype="uint16") if kind == "images" else np.eye(32, dtype=np.uint8)[..., None]
        raster(tmp_path / kind / region / "1.tif", array)
    with pytest.raises(DataError, match=r"images/a and images/b and images/c may each .* say regions: folders"):
        describe_dataset(tmp_path)
    described(tmp_path, "regions: folders")
    describe_dataset(tmp_path)
    patches, sensor, _ = fold_patches(tmp_path)
    assert (len(sensor), [patch.region for patch in patches]) == (5, ["a", "b", "c"])
    with pytest.raises(DataError, match="already exists; edit it"):
        describe_dataset(tmp_path)


@pytest.mark.parametrize("text", ["regions: folders", ALL])
def test_regions_leave_the_test_split_sealed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither folders nor the table have training look into it."""
    for split, region in (("train", "a"), ("train", "b"), ("test", "c")):
        place = f"{region}/" if text != ALL else ""
        touch(tmp_path, f"{split}/images/{place}{region}1.h5", f"{split}/masks/{place}{region}1.h5")
    described(tmp_path, text, "patch,region\na1.h5,a\nb1.h5,b\nc1.h5,c\n")
    looked: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: (looked.append(str(path)), listdir(path))[1])
    training_splits(tmp_path)
    assert str(tmp_path / "train") in looked
    assert not [path for path in looked if path.startswith(str(tmp_path / "test"))]
