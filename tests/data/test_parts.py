"""Image and mask in one file: which array is which, the same packs as of two files, and the same guards."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lsml.data.checks import check
from lsml.data.description import describe, draft
from lsml.data.formats import read_image, read_mask
from lsml.data.packing import pack_split
from lsml.data.scan import Scan, scan_images
from lsml.data.sensor import Band, Sensor
from lsml.data.splits import TrainingData
from lsml.errors import DataError

SIDE = 16
FIVE = "bands: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]\n"
SENSOR = Sensor("five", tuple(Band(name) for name in "abcde"))
Write = Callable[[Path, dict[str, np.ndarray]], None]


def image(number: int, bands: int = 5) -> np.ndarray:
    """uint16 `(16, 16, bands)`, other values for each number."""
    return np.random.default_rng(number).integers(0, 9000, (SIDE, SIDE, bands)).astype(np.uint16)


def mask(number: int) -> np.ndarray:
    """The first `number` rows are landslide."""
    return np.repeat(np.arange(SIDE)[:, None] < number, SIDE, axis=1).astype(np.uint8)


def hdf5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(path, **arrays)


WRITERS: dict[str, Write] = {".h5": hdf5, ".npz": npz}


def write(folder: Path, ending: str, numbers: range, names: tuple[str, str] = ("img", "mask")) -> None:
    """Files that hold both, of each number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        arrays = {names[0]: image(number), names[1]: mask(number)}
        WRITERS[ending](folder / f"{number}{ending}", arrays)


@pytest.mark.parametrize("ending", WRITERS)
def test_a_pack_is_the_same_as_of_two_files(ending: str, tmp_path: Path) -> None:
    """In folders of splits; names of arrays do not count."""
    for split, numbers in (("train", range(1, 5)), ("valid", range(5, 7)), ("test", range(7, 9))):
        write(tmp_path / "one" / split, ending, numbers, ("x", "y"))
        for kind, array in (("images", image), ("masks", mask)):
            (tmp_path / "two" / split / kind).mkdir(parents=True)
            for number in numbers:
                np.save(tmp_path / "two" / split / kind / f"{number}.npy", array(number))
    packs = []
    for name in ("one", "two"):
        (tmp_path / name / "dataset.yaml").write_text(FIVE)
        packs.append(TrainingData.prepare(tmp_path / name, tmp_path / "packs" / name))
    one, two = packs
    assert (one.train.fingerprint, one.validation.fingerprint) == (two.train.fingerprint, two.validation.fingerprint)
    assert one.train.ids == ("1", "2", "3", "4")
    assert "image and mask in one file" in one.source
    found = check(tmp_path / "one")
    assert found.errors == 0
    assert [(split.patches, split.masks) for split in found.splits] == [(4, 4), (2, 2), (2, 2)]
    assert [patch.id for patch in scan_images(tmp_path / "one" / "test")] == ["7", "8"]


@pytest.mark.parametrize("ending", WRITERS)
def test_one_folder_is_divided_in_blocks(ending: str, tmp_path: Path) -> None:
    """Ten patches: seven train, two of the rest validation and one test (70 %, 15 % rounded up, the rest)."""
    write(tmp_path / "all", ending, range(1, 11))
    (tmp_path / "dataset.yaml").write_text(FIVE)
    scan = Scan.of(tmp_path, ("train", "validation", "test"))
    assert [len(scan.require(split)) for split in ("train", "validation", "test")] == [7, 2, 1]
    (last,) = scan.require("test")
    assert last.image == last.mask == tmp_path / "all" / f"10{ending}"


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "arrays",
    [
        {"img": image(3), "mask": mask(3)},
        {"label": mask(3), "image": image(3)},
        {"y": mask(3), "x": image(3)},
        {"y": mask(3)[..., None], "x": image(3)},
        {"truth": mask(3), "image": image(3)},
        {"Image": np.moveaxis(image(3), -1, 0), "gt": mask(3), "lat": np.zeros(3)},
    ],
    ids=lambda arrays: "-".join(arrays),
)
def test_image_and_mask_are_told_apart(arrays: dict[str, np.ndarray], ending: str, tmp_path: Path) -> None:
    """By names that are usual, else by their axes where there are two."""
    path = tmp_path / f"1{ending}"
    WRITERS[ending](path, arrays)
    np.testing.assert_array_equal(read_image(path, SENSOR), image(3))
    np.testing.assert_array_equal(read_mask(path, SENSOR), mask(3))


@pytest.mark.parametrize("ending", WRITERS)
def test_what_cannot_be_told_is_named_in_the_description(ending: str, tmp_path: Path) -> None:
    """Two of one shape; a model knows the names afterwards, and a changed name makes another pack."""
    write(tmp_path / "train", ending, range(1, 4), ("before", "after"))
    for number in range(1, 4):
        both = {"before": image(number), "after": image(number + 9), "where": mask(number), "clouds": mask(9)}
        WRITERS[ending](tmp_path / "train" / f"{number}{ending}", both)
    noun = {".h5": "dataset", ".npz": "array"}[ending]
    path = tmp_path / "train" / f"1{ending}"
    with pytest.raises(DataError, match=rf"no {noun} 'img' \(found: .*'before'.*\); .* arrays: {{image: NAME}} in"):
        read_image(path, SENSOR)
    packs = []
    for name in ("before", "after"):
        (tmp_path / "dataset.yaml").write_text(FIVE + f"arrays: {{image: {name}, mask: where}}")
        sensor = describe([tmp_path], [path])
        assert Sensor.from_dict(sensor.to_dict()) == sensor
        files = Scan.of(tmp_path, ("train",)).require("train")
        packs.append(pack_split("train", files, tmp_path / "packs", sensor, fill=None))
    np.testing.assert_array_equal(packs[0].image(0), image(1))
    np.testing.assert_array_equal(packs[1].image(0), image(10))
    np.testing.assert_array_equal(packs[1].mask(2), mask(3))
    (tmp_path / "dataset.yaml").write_text(FIVE + "arrays: {image: befor}")
    with pytest.raises(DataError, match=rf"no {noun} 'befor' \(found: .*\); correct arrays in dataset.yaml"):
        read_image(path, describe([tmp_path], [path]))


@pytest.mark.parametrize("ending", WRITERS)
def test_a_draft_looks_at_the_image(ending: str, tmp_path: Path) -> None:
    """Where the description names it already; it keeps that."""
    path = tmp_path / f"1{ending}"
    WRITERS[ending](path, {"a": image(1, 4), "b": image(2, 6), "c": mask(1)})
    told = "arrays: {image: b, mask: c}\n"
    (tmp_path / "dataset.yaml").write_text(draft([path], told))
    sensor = describe([tmp_path], [path])
    assert (len(sensor), sensor.arrays) == (6, ("b", "c"))


def test_pictures_in_archives_need_no_bands(tmp_path: Path) -> None:
    """Colours of 8 bits, as in other formats, of the size that headers declare."""
    npz(tmp_path / "1.npz", {"x": image(1, 3).astype(np.uint8), "y": mask(1)})
    sensor = describe([], [tmp_path / "1.npz"])
    assert (sensor.name, sensor.tile) == ("RGB", None)


def no_mask(path: Path) -> None:
    WRITERS[path.suffix](path, {"img": image(1)})


def no_image(path: Path) -> None:
    WRITERS[path.suffix](path, {"mask": mask(1)})


def pickled(path: Path) -> None:
    np.savez(path, img=np.array([{"a": 1}], dtype=object), mask=mask(1))


def declared_large(path: Path) -> None:
    """A header of 2**40 values, and nothing behind it."""
    held = io.BytesIO()
    description = {"descr": "<u2", "fortran_order": False, "shape": (2**20, 2**20)}
    np.lib.format.write_array_header_1_0(held, description)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img.npy", held.getvalue())
        archive.writestr("mask.npy", held.getvalue())


def long_header(path: Path) -> None:
    """A header that declares 200 MB of itself, packed into some kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img.npy", b"\x93NUMPY\x02\x00" + (2 * 10**8).to_bytes(4, "little") + b" " * 2 * 10**7)


def truncated(path: Path) -> None:
    npz(path, {"img": image(1), "mask": mask(1)})
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    """A bit of the stored values: the archive's checksum tells."""
    np.savez(path, img=image(1), mask=mask(1))
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(bytes(content))


def text(path: Path) -> None:
    path.write_text("no archive")


def linked(path: Path) -> None:
    hdf5(path.with_name("other.h5"), {"x": image(1)})
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = h5py.ExternalLink("other.h5", "x"), mask(1)


@pytest.mark.parametrize(
    ("spoil", "ending", "said"),
    [
        (no_mask, ".h5", "'img' has shape"),
        (no_mask, ".npz", "which of them are landslide|has shape|channels"),
        (no_image, ".h5", r"no dataset 'img' \(found: 'mask'\); name the right one 'img'"),
        (no_image, ".npz", r"no array 'img' \(found: 'mask'\)"),
        (pickled, ".npz", "holds object, not numbers|cannot be read"),
        (declared_large, ".npz", "declares 1,099,511,627,776 values"),
        (long_header, ".npz", "cannot be read"),
        (truncated, ".npz", "cannot be read"),
        (flipped, ".npz", "cannot be read"),
        (text, ".npz", "not an archive as numpy.savez writes it"),
        (linked, ".h5", "'x' is an external link: refused, not followed"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    spoil: Callable[[Path], None], ending: str, said: str, tmp_path: Path
) -> None:
    """In one line, and found by a check."""
    write(tmp_path / "train", ending, range(1, 5))
    (tmp_path / "dataset.yaml").write_text(FIVE)
    spoil(tmp_path / "train" / f"2{ending}")
    with pytest.raises(DataError, match=said) as refused:
        TrainingData.prepare(tmp_path, tmp_path / "packs")
    assert "\n" not in str(refused.value)
    assert check(tmp_path).errors


def test_an_image_is_never_read_from_a_mask(tmp_path: Path) -> None:
    """Of one band, they could be taken for each other."""
    for ending, writer in WRITERS.items():
        writer(tmp_path / f"1{ending}", {"label": mask(1)})
        with pytest.raises(DataError, match=r"no (dataset|array) 'img'"):
            read_image(tmp_path / f"1{ending}", Sensor("one", (Band("a"),)))


def test_the_test_split_is_not_looked_into(tmp_path: Path) -> None:
    """Its folder may hold anything: training lists it as little as others'."""
    write(tmp_path / "train", ".h5", range(1, 5))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.h5").write_bytes(b"sealed")
    (tmp_path / "dataset.yaml").write_text(FIVE)
    assert len(TrainingData.prepare(tmp_path, tmp_path / "packs").train) == 3
