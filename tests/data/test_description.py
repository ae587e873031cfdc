"""What a dataset's patches are: by its `dataset.yaml`, each mistake in one line, or told by looking at them."""

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from lsml.cli.config import _table
from lsml.data.description import _BandFields, _DatasetFields, _Role, describe, draft
from lsml.data.formats import read_image
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import PatchFiles
from lsml.data.packing import pack_split
from lsml.data.sensor import GROUPS, LANDSLIDE4SENSE, RGB, Band, Sensor, Unit
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, DataError
from tests.data.test_formats import array_file, noise, picture, raster
from tests.processes import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PLANET = """
name: PlanetScope
pixel_metres: 3
tile: 256
bands:
  - {name: blue, role: blue, unit: reflectance, scale: 1.0e-4, nodata: 0, typical: 900, valid: [0, 1.6]}
  - {name: rain, unit: metres, scale: 0.001, offset: -1}
mask: {landslide: [255, [255, 0, 0]]}
"""


def described(folder: Path, text: str | bytes, *images: Path) -> Sensor:
    """What a `dataset.yaml` of that content says of images."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "dataset.yaml").write_bytes(content)
    return describe([folder], images)


def test_a_description_is_read_as_it_stands(tmp_path: Path) -> None:
    """Reflectance 0..1 becomes ten thousandths, in scale, offset and range; what is not said has its default."""
    assert described(tmp_path, PLANET) == Sensor(
        "PlanetScope",
        (
            # 1e-4 * 10,000 = 1; 1.6 * 10,000 = 16,000; nodata and typical are stored values.
            Band("blue", "blue", Unit.REFLECTANCE, 1.0, 0.0, 1.0, 900.0, (0.0, 16_000.0), 0.0),
            Band("rain", "", Unit.METRES, 0.001, -1.0),
        ),
        pixel_metres=3.0,
        tile=256,
        landslide=((255,), (255, 0, 0)),
    )


def test_the_first_folder_with_a_description_counts(tmp_path: Path) -> None:
    """The dataset's own stands before that of a folder in it, and images are not looked at."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "dataset.yaml").write_text("bands: [{name: inner}]")
    assert describe([tmp_path, inner], [tmp_path / "missing.png"]).bands == (Band("inner"),)
    (tmp_path / "dataset.yaml").write_text("bands: [{name: outer}]")
    assert describe([tmp_path, inner], [tmp_path / "missing.png"]).bands == (Band("outer"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("band: []", r"unknown key 'band'; did you mean 'bands'\?"),
        ("bands: [{name: a, rol: red}]", r"unknown key 'bands.0.rol'; did you mean 'role'\?"),
        ("bands: [{name: 8}, {nmae: b}]", r"unknown key 'bands.1.nmae'; did you mean 'name'\?"),
        ("bands: []\nmask: {landslide: [1], ignroe: [2]}", r"unknown key 'mask.ignroe'; did you mean 'ignore'\?"),
        ("name: x", "bands: is required; add it"),
        ("", "must be a mapping, not None"),
        ("- a", "must be a mapping, not"),
        ("bands: []", "bands: none are listed; list each band of the files, in their order"),
        ("bands: [{role: red}]", "bands.0.name: is required; add it"),
        ("bands: [{name: 8}]", "bands.0.name: must be text, not 8"),
        ("bands: [{name: ' '}]", "bands: one has no name; give each band a name of its own"),
        ('bands: [{name: "a\\nb"}]', "bands: a name has a line break or another control character; give each"),
        ("bands: [{name: a}, {name: a}]", "bands: 'a' is there twice; give each band a name of its own"),
        (
            "bands: [{name: a, role: red}, {name: b, role: red}]",
            "bands: 'red' is there twice; give each role to one band",
        ),
        ("bands: [{name: a, role: crimson}]", "bands.0.role: must be '', 'coastal'"),
        ("bands: [{name: a, unit: kelvin}]", "bands.0.unit: must be 'reflectance'"),
        ("bands: [{name: a, scale: small}]", "bands.0.scale: must be a number, not 'small'"),
        ("bands: [{name: a, scale: .nan}]", "bands.0.scale: must be a finite number"),
        ("bands: [{name: a, scale: 0}]", "bands: scale of 'a' is 0; give what stored values are multiplied by"),
        ("bands: [{name: a, typical: 0}]", "bands.0.typical: must be above 0, not 0"),
        ("bands: [{name: a, valid: [5, 1]}]", r"bands: valid of 'a' is \[5, 1\]; give the least value first"),
        ("bands: [{name: a, valid: [5]}]", "bands.0.valid.1: is required"),
        ("bands: [{name: a}]\ntile: 8", "tile: must be at least 16, not 8"),
        ("bands: [{name: a}]\ntile: 4096", "tile: must be at most 2048, not 4096"),
        ("bands: [{name: a}]\npixel_metres: 0", "pixel_metres: must be above 0, not 0"),
        ("bands: [{name: a}]\nmask: {landslide: [red]}", "mask.landslide.0: must be a number, not 'red'"),
        ("bands: [{name: a}]\nmask: {landslide: [[1, 2]]}", "mask.landslide.0: must be a number, not"),
        ("mask: {landslide: [1], at_least: 0.5}", "mask: has landslide and at_least; leave one of them out"),
        ("mask: {at_least: 0}", "mask.at_least: must be above 0, not 0"),
        ("bands: [{name: a}]\nbands: [{name: b}]", "line 2: key 'bands' is repeated; correct the YAML"),
        ("bands: [{name: a", "line 1: .*; correct the YAML"),
        ("bands: &a [*a]", "line 1: aliases are not allowed"),
        ("bands: !!python/object:os.system {}", "line 1: .*; correct the YAML"),
        ("bands: [{name: \x07}]", r"not YAML \(ReaderError\)"),
        ("name: Méxi".encode("latin1"), "not text in UTF-8; write it anew: lsml data describe DIR"),
    ],
)
def test_each_mistake_is_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    """With the file, the field, what is wrong and what to do."""
    with pytest.raises(ConfigError, match=said) as refused:
        described(tmp_path, text)
    assert str(refused.value).startswith(f"description {tmp_path / 'dataset.yaml'}")
    assert "\n" not in str(refused.value)


def test_roles_are_those_of_the_sensors() -> None:
    """What `dataset.yaml` takes is what indices, groups and pictures ask for."""
    assert set(get_args(_Role)) == {"", *(role for roles in GROUPS.values() for role in roles)}


def fields_table() -> str:
    """The table of `dataset.yaml` in docs/data.md."""
    outer, inner = _DatasetFields.fields(), _BandFields.fields("bands[].")
    return _table(itertools.chain(outer, inner))


def test_the_page_has_every_field_of_a_description() -> None:
    """docs/data.md has them with their defaults and bounds, as docs/configuration.md has those of experiments."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert fields_table() in page


def test_the_examples_of_the_page_are_right(tmp_path: Path) -> None:
    """Taken as they stand: names of arrays, patterns of paths, colours, four bands of reflectance, radar."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    image = picture(tmp_path / "image.png", noise(32, 32, 3))
    texts = re.findall("```yaml\n(.*?)```", page, re.DOTALL)
    both, paths, drone, planet, radar = (described(tmp_path, text, image) for text in texts)
    assert both == replace(RGB, arrays=("after", "landslides"))
    assert paths == RGB
    assert drone == replace(RGB, landslide=((255, 255, 0),), ignore=((128, 128, 128),))
    # .0001 times 10,000.
    assert [(band.scale, band.nodata) for band in planet.bands] == [(1.0, 0.0)] * 4
    assert planet.has("blue", "green", "red", "near_infrared")
    assert radar.bands == (Band("VV", unit=Unit.DECIBELS, typical=12.0, valid=(-50.0, 20.0)),)


@pytest.mark.parametrize("ending", [".tif", ".npy", ".h5"])
def test_images_and_masks_may_be_of_different_formats(ending: str, tmp_path: Path) -> None:
    """Five bands beside masks of 0 and 255 as PNG, in folders that say what they are; cut into squares as described."""
    image, mask = noise(40, 32, 5, dtype="uint16", most=9000), np.eye(40, 32, dtype=np.uint8)
    write = {".tif": raster, ".npy": array_file, ".h5": lambda path, array: path.write_bytes(encode("img", array))}
    for split, kind, number in itertools.product(("train", "val"), ("images", "masks"), (1, 2)):
        path = tmp_path / "data" / split / kind / f"{number}{ending if kind == 'images' else '.png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write[ending](path, image) if kind == "images" else picture(path, 255 * mask)
    (tmp_path / "data" / "dataset.yaml").write_text(
        "tile: 32\nbands: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]"
    )
    data = TrainingData.prepare(tmp_path / "data", tmp_path / "packs")
    # 40 x 32 pixels are two squares, from rows 0 and 8.
    assert data.train.ids == ("1_0_0", "1_8_0", "2_0_0", "2_8_0")
    np.testing.assert_array_equal(data.train.image(1), image[8:])
    np.testing.assert_array_equal(data.train.mask(1), mask[8:])


def pictures(folder: Path, *sizes: tuple[int, int], ending: str = ".png") -> list[Path]:
    """Colour pictures of these heights and widths."""
    return [picture(folder / f"{n}{ending}", noise(*size, 3)) for n, size in enumerate(sizes)]


def test_hdf5_without_a_description_is_landslide4sense(tmp_path: Path) -> None:
    """Its files are not looked at: reading them says what does not fit. So is what has no images."""
    assert describe([tmp_path], [tmp_path / "image_1.h5"]) == LANDSLIDE4SENSE
    assert describe([tmp_path], []) == LANDSLIDE4SENSE


@pytest.mark.parametrize(
    ("sizes", "tile"),
    [
        ([(128, 128)] * 3, None),
        ([(384, 200)] * 2, None),
        ([(385, 200)] * 2, 512),
        ([(385, 200), (128, 130)], 512),
        ([(128, 128), (128, 130)], 256),
    ],
)
def test_pictures_without_a_description_are_rgb(sizes: list[tuple[int, int]], tile: int | None, tmp_path: Path) -> None:
    """Cut into squares where the first is longer than 384 pixels, or they are of several sizes."""
    for ending in (".png", ".jpg"):
        sensor = describe([tmp_path], pictures(tmp_path, *sizes, ending=ending))
        assert sensor == Sensor("RGB", RGB.bands, tile=tile)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (noise(20, 30, 5), "uint8 of shape (20, 30, 5)"),
        (noise(20, 30, 3, dtype="uint16"), "uint16 of shape (20, 30, 3)"),
        (noise(20, 30, 4).astype("float32"), "float32 of shape (20, 30, 4)"),
    ],
)
def test_other_bands_have_to_be_described(array: np.ndarray, shown: str, tmp_path: Path) -> None:
    """The command that makes a draft is named."""
    for path in (array_file(tmp_path / "a.npy", array), raster(tmp_path / "a.tif", array)):
        with pytest.raises(DataError, match="what its bands are is not known") as refused:
            describe([tmp_path], [path])
        assert f"file {path}: {shown}: " in str(refused.value)
        assert "describe them in dataset.yaml: lsml data describe DIR writes a draft" in str(refused.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")])
def test_a_description_that_is_no_file_is_not_overlooked(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A folder, a pipe, from which nothing would ever come, and a link that leads nowhere."""
    make(tmp_path / "dataset.yaml")
    with pytest.raises(ConfigError, match="not a regular file, nor a link to one; write it anew"):
        describe([tmp_path], [])


@pytest.mark.parametrize("ending", [".npy", ".tif", ".h5"])
def test_a_draft_describes_the_files_as_it_is(ending: str, tmp_path: Path) -> None:
    """Taken unchanged it has a band for each of the files', named by number, and the files are read by it.

    Bands: 100 throughout; -20; NaN throughout; 0; and 0.5 but for an infinite pixel.
    """
    image = np.zeros((20, 30, 5), np.float32)
    image += (100, -20, np.nan, 0, 0.5)
    image[0, 0, 4] = np.inf
    paths = [tmp_path / f"image_{n}{ending}" for n in range(3)]
    for path in paths:
        if ending == ".npy":
            np.save(path, image)
        elif ending == ".tif":
            raster(path, image)
        else:
            path.write_bytes(encode("img", image))
    text = draft(paths)
    assert "100 to 100" in text
    sensor = described(tmp_path, text)
    assert sensor.tile is None
    # Typical is the median of absolute values, 1e-6 where that is 0, and 1, the default, where nothing was measured.
    assert [(band.name, band.typical) for band in sensor.bands] == [
        ("band 1", 100),
        ("band 2", 20),
        ("band 3", 1),
        ("band 4", 1e-6),
        ("band 5", 0.5),
    ]
    np.testing.assert_array_equal(read_image(paths[0], sensor), image)


def test_a_draft_cuts_large_images(tmp_path: Path) -> None:
    """400 pixels are more than 384; a network sees more of the surroundings in a square of 512 than in one of 256."""
    images = [array_file(tmp_path / f"{n}.npy", noise(400, 300, 5)) for n in range(2)]
    assert described(tmp_path, draft(images)).tile == 512


def test_a_draft_cuts_images_of_several_sizes(tmp_path: Path) -> None:
    """They could not be packed otherwise."""
    images = [array_file(tmp_path / f"{n}.npy", noise(*size, 5)) for n, size in enumerate([(20, 30), (40, 30)])]
    assert described(tmp_path, draft(images)).tile == 256


def test_a_draft_of_colour_pictures_says_which_band_is_which(tmp_path: Path) -> None:
    """As they are without a description."""
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), np.full((20, 30, 3), 200, np.uint8))
    bands = described(tmp_path, draft([path])).bands
    assert [(band.name, band.role, band.typical) for band in bands] == [(c, c, 200) for c in ("red", "green", "blue")]


def test_images_of_several_numbers_of_bands_have_no_draft(tmp_path: Path) -> None:
    """Both are named."""
    images = [array_file(tmp_path / f"{n}.npy", noise(20, 30, bands)) for n, bands in enumerate((5, 6))]
    with pytest.raises(DataError, match=r"1\.npy: has 6 bands, where .*0\.npy has 5; keep those of one sensor"):
        draft(images)


def test_hdf5_of_other_bands_is_packed_by_its_description(tmp_path: Path) -> None:
    """Five bands, first or last; a file of another number is refused with what to do."""
    sensor = described(tmp_path, "bands: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]")
    files = []
    for number in (1, 2):
        image, mask = tmp_path / f"image_{number}.h5", tmp_path / f"mask_{number}.h5"
        bands = noise(20, 30, 5) if number == 1 else np.moveaxis(noise(20, 30, 5), -1, 0)
        image.write_bytes(encode("img", bands))
        mask.write_bytes(encode("mask", np.eye(20, 30, dtype="uint8")))
        files.append(PatchFiles(image.stem, image, mask))
    pack = pack_split("train", files, tmp_path, sensor, fill=None)
    np.testing.assert_array_equal(pack.image(0), noise(20, 30, 5))
    np.testing.assert_array_equal(pack.image(1), pack.image(0))
    with pytest.raises(DataError, match=r"expected \(H, W, 14\) numeric; describe its bands in dataset.yaml"):
        read_image(files[0].image, LANDSLIDE4SENSE)
