"""A product of Sentinel-2, made by the tests in its own layout, as one scene."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import Affine

from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.errors import ConfigError, DataError, DataWarning
from lsml.scenes.reading import Scene
from lsml.scenes.sentinel import AssembledScene, assemble
from tests.processes import lsml
from tests.scenes.made import NORTH_UP, write_scene

PIXELS = {"B01": 60, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20}
"""Metres; 10 of the other bands."""
ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
SIDE = 1200
"""Metres of the tile."""


def metadata(level: str, baseline: str, offsets: str, year: int = 2023) -> str:
    """The part of a product's metadata that says what values mean."""
    quantification = "QUANTIFICATION_VALUE" if level == "1C" else "BOA_QUANTIFICATION_VALUE"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{year}-02-15T05:00:11.024Z</PRODUCT_START_TIME>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
    </Product_Info>
    <Product_Image_Characteristics>
      <{quantification} unit="none">10000</{quantification}>
      {offsets}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level}_User_Product>"""


def listed(name: str, value: int = -1000) -> str:
    """Offsets of all bands."""
    return "".join(f'<{name} band_id="{place}">{value - place}</{name}>' for place in range(len(ORDER)))


def plane(pixel: int, start: int) -> np.ndarray:
    """Stored values that rise by 1 with every metre eastward, uint16 `(1, H, W)`."""
    count = SIDE // pixel
    return np.broadcast_to(start + pixel * (np.arange(count) + 0.5), (1, count, count)).astype(np.uint16)


def write_image(path: Path, pixel: int, start: int) -> None:
    """A band, as JPEG 2000 where the file is called so, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix(".tif")
    write_scene(plain, plane(pixel, start), transform=NORTH_UP @ Affine.scale(pixel / 10))
    if path.suffix == ".jp2":
        rasterio.shutil.copy(plain, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        plain.unlink()


@pytest.fixture(scope="module")
def level_1c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All thirteen bands as JPEG 2000; band number n, in the order of the metadata, begins at 2,000 + 100 n."""
    folder = tmp_path_factory.mktemp("product") / "S2A_MSIL1C_20230215T050011_N0509_R119_T45RVM_20230215T065436.SAFE"
    images = folder / "GRANULE" / "L1C_T45RVM_A039953_20230215T050625" / "IMG_DATA"
    for place, name in enumerate(ORDER):
        write_image(images / f"T45RVM_20230215T050011_{name}.jp2", PIXELS.get(name, 10), 2000 + 100 * place)
    (images / "T45RVM_20230215T050011_TCI.jp2").write_bytes(b"a picture")
    offsets = f"<Radiometric_Offset_List>{listed('RADIO_ADD_OFFSET')}</Radiometric_Offset_List>"
    (folder / "MTD_MSIL1C.xml").write_text(metadata("1C", "05.09", offsets))
    return folder


def write_level_2a(folder: Path, baseline: str, offsets: str, start: int = 2000, year: int = 2023) -> Path:
    """Three bands as GeoTIFF, of which B02 lies there on two grids."""
    images = folder / "T.SAFE" / "GRANULE" / "L2A_T45RVM_A039953_20230215T050625" / "IMG_DATA"
    for resolution, name in ((10, "B02"), (20, "B02"), (20, "B11"), (60, "B01"), (20, "SCL")):
        path = images / f"R{resolution}m" / f"T45RVM_20230215T050011_{name}_{resolution}m.tif"
        write_image(path, resolution, start + resolution)
    (folder / "T.SAFE" / "MTD_MSIL2A.xml").write_text(metadata("2A", baseline, offsets, year))
    return folder / "T.SAFE"


def assembled(product: Path, out: Path, **options: object) -> AssembledScene:
    """`out` made of a product."""
    return assemble(product, out, progress=lambda *_: None, **options)


def test_a_product_becomes_bands_on_its_finest_grid(level_1c: Path, tmp_path: Path) -> None:
    """Thirteen bands of 120 x 120 pixels: those of 10 m as they are stored, coarser ones linear between pixels."""
    done = assembled(level_1c, tmp_path / "scene.tif")
    assert (done.bands, done.shape, done.level) == (ORDER, (120, 120), "Level-1C")
    with rasterio.open(tmp_path / "scene.tif") as file:
        assert (file.descriptions, file.nodata, file.transform) == (ORDER, 0, NORTH_UP)
        assert file.scales == (pytest.approx(1e-4),) * 13
        # -1000 less the band's place, each over 10,000.
        assert file.offsets == tuple(pytest.approx(-(1000 + place) / 10_000) for place in range(13))
        assert file.tags()["TIFFTAG_DATETIME"] == "2023:02:15 05:00:11"
        stored = file.read()
    np.testing.assert_array_equal(stored[1:2], plane(10, 2100))
    # A pixel of 60 m from the edge on all are between two middles: the plane goes on, to its rounding.
    expected = 2000 + 10 * (np.arange(120) + 0.5)
    for place in range(13):
        np.testing.assert_allclose(stored[place, 50, 6:-6], expected[6:-6] + 100 * place, atol=1.01)


def test_a_model_finds_its_bands_with_slope_and_elevation(level_1c: Path, tmp_path: Path) -> None:
    """Landslide4Sense's 14 by their names, in their units: reflectance less the offset, degrees and metres.

    A DEM that rises by .2 m a metre eastward, from 1,000 m at the scene's edge: 11.31 degrees.
    """
    place = NORTH_UP @ Affine.translation(-5, -5) @ Affine.scale(3)
    heights = np.broadcast_to(1000 + 0.2 * (30 * (np.arange(60) + 0.5) - 50), (1, 60, 60)).astype(np.float32)
    dem = write_scene(tmp_path / "dem.tif", heights, transform=place)
    done = assembled(level_1c, tmp_path / "scene.tif", dem=dem)
    assert done.bands == (*ORDER, "slope", "elevation")
    with Scene.of(tmp_path / "scene.tif", LANDSLIDE4SENSE, dem=None, bands={}) as scene:
        stored = scene.read(0, 0, 120)
    assert stored is not None
    physical = LANDSLIDE4SENSE.physical(stored)
    # B4 is the band at place 3: 2,300 less 1,003 at the edge; B12, at place 12, 3,200 less 1,012.
    metres = 10 * (np.arange(120) + 0.5)
    np.testing.assert_allclose(physical[40, :, 3], 1297 + metres, atol=0.01)
    np.testing.assert_allclose(physical[40, 6:-6, 11], 2188 + metres[6:-6], atol=1.01)
    np.testing.assert_allclose(physical[40, :, 12], 11.31, atol=0.01)
    np.testing.assert_allclose(physical[40, :, 13], 1000 + 0.2 * metres, atol=0.11)


def test_a_part_and_some_bands(level_1c: Path, tmp_path: Path) -> None:
    """By the command line: pixels whose longitude is between .005 and .01 degrees east of 87, about 490 to 983 m."""
    arguments = ("--only", "b04,B8A", "--bounds", "87.005,28.015,87.01,28.02", "--out", "part.tif")
    done = lsml(tmp_path, "scene", "assemble", str(level_1c), *arguments)
    assert done.returncode == 0, done.stderr
    assert "Level-1C of 2023-02-15T05:00:11.024Z, baseline 05.09: B04, B8A" in done.stdout
    with rasterio.open(tmp_path / "part.tif") as file:
        assert file.descriptions == ("B04", "B8A")
        assert (file.bounds.left, file.bounds.right) == (500_490, 500_990)
        stored = file.read()
    np.testing.assert_array_equal(stored[0, 0], plane(10, 2300)[0, 0, 49:99])
    np.testing.assert_allclose(stored[1, 0], 2800 + 10 * (np.arange(49, 99) + 0.5), atol=1.01)


def test_of_a_part_the_dem_is_asked_for_that_part(level_1c: Path, tmp_path: Path, recwarn: Any) -> None:
    """A DEM from 400 m to 1,080 m east and from 500 m to 1,180 m south covers the part, and not all of the product.

    It rises by .2 m a metre eastward, from 1,000 m at the scene's edge.
    """
    place = NORTH_UP @ Affine.translation(40, 50)
    heights = np.broadcast_to(1000 + 0.2 * (400 + 10 * (np.arange(68) + 0.5)), (1, 68, 68)).astype(np.float32)
    dem = write_scene(tmp_path / "dem.tif", heights, transform=place)
    assembled(level_1c, tmp_path / "scene.tif", only=["B04"], bounds=(87.005, 28.015, 87.01, 28.02), dem=dem)
    assert [str(warning.message) for warning in recwarn if warning.category is DataWarning] == []
    with rasterio.open(tmp_path / "scene.tif") as file:
        elevation = file.read(3) * file.scales[2] + file.offsets[2]
        # Its first column's middle is 495 m from the edge.
        np.testing.assert_allclose(elevation[20], 1000 + 0.2 * (495 + 10 * np.arange(50)), atol=0.11)


def test_of_level_2a_each_band_is_the_finest_there_is(tmp_path: Path) -> None:
    """And before baseline 04.00 there is no offset."""
    done = assembled(write_level_2a(tmp_path, "03.01", ""), tmp_path / "scene.tif")
    assert (done.bands, done.level) == (("B01", "B02", "B11"), "Level-2A")
    with rasterio.open(tmp_path / "scene.tif") as file:
        assert file.offsets == (0, 0, 0)
        np.testing.assert_array_equal(file.read(2), plane(10, 2010)[0])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The product of a year before, without offsets, and one of level 2A that has them."""
    before = write_level_2a(tmp_path / "before", "03.01", "", start=1500, year=2022)
    return before, write_level_2a(tmp_path / "after", "05.09", listed("BOA_ADD_OFFSET"))


def test_what_changed_since_an_earlier_product_is_a_band(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """B02, at place 1 of offsets: 2,010 + x - 1,001 less 1,510 + x is -501, over 10,000. Where one has none, neither.

    B11, at place 11, has 500 - 1,011 = -511; between its pixels of 20 m both are rounded.
    """
    before, after = pair
    with rasterio.open(next(before.rglob("*R10m/*B02*.tif")), "r+") as file:
        values = file.read(1)
        values[7, 9] = 0
        file.write(values, 1)
    scene = tmp_path / "scene.tif"
    done = lsml(tmp_path, "scene", "assemble", str(after), "--before", str(before), "--only", "B02,B11")
    assert done.returncode == 0, done.stderr
    with rasterio.open(scene) as file:
        assert file.descriptions == ("B02", "B11", "B02-change", "B11-change")
        stored, (scale, offset) = file.read(), (file.scales[2], file.offsets[2])
    assert stored[2, 7, 9] == 0
    measured = stored[2] > 0
    assert measured.sum() == 120 * 120 - 1
    np.testing.assert_allclose(stored[2][measured] * scale + offset, -0.0501, atol=1e-9)
    np.testing.assert_allclose(stored[3] * scale + offset, -0.0511, atol=1.01e-4)


def test_an_earlier_product_that_does_not_suit_is_refused(
    pair: tuple[Path, Path], level_1c: Path, tmp_path: Path
) -> None:
    """Of another level, of a later day, of another place, or without a band."""
    before, after = pair
    for one, other, says in (
        (level_1c, before, "is of Level-2A, not Level-1C; give both of one level"),
        (before, after, "is of 2023-02-15T05:00:11.024Z, not before 2022-02-15T05:00:11.024Z"),
        (after, after, "not before 2023"),
    ):
        with pytest.raises(ConfigError, match=says):
            assembled(one, tmp_path / "scene.tif", before=other)
    for path in before.rglob("*.tif"):
        with rasterio.open(path, "r+") as file:
            file.transform = Affine.translation(100_000, 0) @ file.transform
    with pytest.raises(ConfigError, match="does not cover the scene; give one of the same place"):
        assembled(after, tmp_path / "scene.tif", before=before)
    for path in before.rglob("*B01*.tif"):
        path.unlink()
    with pytest.raises(ConfigError, match="no such band of the product"):
        assembled(after, tmp_path / "scene.tif", before=before)
    assert not (tmp_path / "scene.tif").exists()


def test_what_was_not_measured_stays_so(tmp_path: Path) -> None:
    """0 in a band is none, also where a coarser one is interpolated beside it: neighbours are not drawn towards 0."""
    product = write_level_2a(tmp_path, "05.09", listed("BOA_ADD_OFFSET"))
    (path,) = product.rglob("*_B11_20m.tif")
    with rasterio.open(path, "r+") as file:
        stored = file.read(1)
        stored[:, :30] = 0
        file.write(stored, 1)
    assembled(product, tmp_path / "scene.tif")
    with rasterio.open(tmp_path / "scene.tif") as file:
        # Thirty pixels of 20 m are sixty of 10 m.
        found = file.read(3)
    assert (found[:, :59] == 0).all()
    assert (found[:, 61:] >= 2020 + 600).all()


def test_what_is_no_product_is_refused(tmp_path: Path, level_1c: Path) -> None:
    """In one line: an empty folder, metadata without offsets or of no sense, bands and parts that are not there."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no metadata file MTD_MSIL\*\.xml; give the folder \*\.SAFE"):
        assembled(tmp_path / "empty", tmp_path / "scene.tif")
    product = write_level_2a(tmp_path, "04.00", "")
    with pytest.raises(DataError, match=r"has no offsets, which baseline 04\.00 uses"):
        assembled(product, tmp_path / "scene.tif")
    for text, says in (("<a>", "is no XML"), (metadata("2A", "five", ""), "cannot be read"), ("<a/>", "has no PROC")):
        (product / "MTD_MSIL2A.xml").write_text(text)
        with pytest.raises(DataError, match=says):
            assembled(product, tmp_path / "scene.tif")
    with pytest.raises(ConfigError, match="--only B99: no such band of the product; its bands are B01, B02"):
        assembled(level_1c, tmp_path / "scene.tif", only=["B99"])
    with pytest.raises(ConfigError, match="--bounds 10,10,11,11: the product does not reach there"):
        assembled(level_1c, tmp_path / "scene.tif", bounds=(10, 10, 11, 11))
    assert not (tmp_path / "scene.tif").exists()
    (tmp_path / "scene.tif").write_text("mine")
    with pytest.raises(DataError, match="already exists; choose another --out"):
        assembled(level_1c, tmp_path / "scene.tif")


def test_a_band_that_is_damaged_is_named(tmp_path: Path) -> None:
    """And nothing is left."""
    product = write_level_2a(tmp_path, "03.01", "")
    (path,) = product.rglob("*_B01_60m.tif")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"B01_60m\.tif"):
        assembled(product, tmp_path / "scene.tif")
    assert not list(tmp_path.glob("scene*"))
