"""Which band of a scene is which of a model's, in which unit, and scenes that are none."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from lsml.data.sensor import ELEVATION, GREEN, LANDSLIDE4SENSE, RED, RGB, SLOPE, Band, Sensor, Unit
from lsml.errors import ConfigError, DataError
from lsml.scenes.reading import Scene
from lsml.scenes.tiling import Tiling
from tests.scenes.made import NORTH_UP, read, write_scene, write_sentinel

COLOURS = np.stack([np.full((70, 80), value, np.uint8) for value in (10, 20, 30)])
TERRAIN = Sensor("terrain", (Band("green", GREEN), Band("slope", SLOPE, Unit.DEGREES), Band("height", ELEVATION)))


def bands(path: Path, sensor: Sensor = RGB, dem: Path | None = None, **options: Any) -> list[float]:
    """What the first pixel of a scene is read as."""
    with Scene.of(path, sensor, dem=dem, bands=options.pop("bands", {}), **options) as scene:
        stored = scene.read(0, 0, 64)
        assert stored is not None
        assert (stored.shape, stored.dtype) == ((64, 64, len(sensor)), np.float32)
        return stored[0, 0].tolist()


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        ((), {}, [10, 20, 30]),
        (("blue", "green", "red"), {}, [30, 20, 10]),
        (("Blue (492 nm)", "GREEN", "Red"), {}, [30, 20, 10]),
        ((), {"red": 2, "green": 2, "blue": 1}, [20, 20, 10]),
        (("blue", "green", "red"), {"red": 1}, [10, 20, 10]),
        (("blue", "green", "odd"), {"red": 3}, [30, 20, 10]),
    ],
)
def test_bands_go_by_what_is_given_then_by_name_then_by_order(
    tmp_path: Path, names: tuple[str, ...], given: dict[str, int], expected: list[float]
) -> None:
    """Red, green and blue of a model, of bands that hold 10, 20 and 30."""
    assert bands(write_scene(tmp_path / "a.tif", COLOURS, names=names), bands=given) == expected


@pytest.mark.parametrize(
    ("bands_there", "names", "says"),
    [
        (
            2,
            (),
            "has 2 bands without names, and the model takes 3; say which is which, for instance --bands red=1,green=2",
        ),
        (3, ("red", "green", "nir"), r"no band 'blue' \(found: red, green, nir\); say which is which.*--bands blue=1"),
        (3, ("red", "Red 2", "blue"), "2 bands that may be 'red'"),
    ],
)
def test_bands_that_cannot_be_told_are_named(tmp_path: Path, bands_there: int, names: Any, says: str) -> None:
    """With what to give instead."""
    with pytest.raises(DataError, match=says):
        bands(write_scene(tmp_path / "a.tif", COLOURS[:bands_there], names=names))


@pytest.mark.parametrize(("given", "says"), [({"purple": 1}, "give one of red, green"), ({"red": 4}, "are 1 to 3")])
def test_bands_that_there_are_not_cannot_be_given(tmp_path: Path, given: dict[str, int], says: str) -> None:
    """Neither of the model nor of the scene."""
    with pytest.raises(ConfigError, match=says):
        bands(write_scene(tmp_path / "a.tif", COLOURS), bands=given)


def test_sentinel_bands_become_those_of_landslide4sense(tmp_path: Path) -> None:
    """`B04` is its `B4 red`; whole numbers are reflectance x 10,000, which it stores over the band's constant."""
    path, dem = write_sentinel(tmp_path, side=64)
    found = bands(path, LANDSLIDE4SENSE, dem)
    with rasterio.open(path) as file:
        first = dict(zip(file.descriptions, file.read()[:, 0, 0], strict=True))
    expected = [first[f"B{number:02d}"] / band.scale for number, band in enumerate(LANDSLIDE4SENSE.bands[:12], start=1)]
    assert found[:12] == pytest.approx(expected, rel=1e-6)
    # The middle of the scene's first pixel lies 205 m from the DEM's edges, between the 7th and the 8th of its pixels.
    assert 1000 < found[13] * LANDSLIDE4SENSE.bands[13].scale < 1600


def test_a_files_own_scale_gives_reflectance(tmp_path: Path) -> None:
    """Of a sensor that stores half of it: 3000 * .0001 - .1 is .2, stored as .1; or by `values` as it is."""
    sensor = Sensor("half", (Band("red", RED, Unit.REFLECTANCE, scale=20_000.0),))
    path = write_scene(tmp_path / "a.tif", np.full((1, 64, 64), 3000, np.int16))
    assert bands(path, sensor) == [3000]
    assert bands(path, sensor, values="physical") == pytest.approx([0.15])
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,), (-0.1,)
    assert bands(path, sensor) == pytest.approx([0.1])
    assert bands(path, sensor, values="stored") == [3000]
    # Fractions are 0..1 themselves.
    path = write_scene(tmp_path / "b.tif", np.full((1, 64, 64), 0.3))
    assert bands(path, sensor, values="physical") == pytest.approx([0.15])
    assert bands(path, sensor) == pytest.approx([0.3])


def test_what_stands_for_none_is_none(tmp_path: Path) -> None:
    """By the file's header, by its alpha channel, by the model's description, and NaN; a square of nothing is None."""
    scene = COLOURS.copy()
    scene[:, :64, :64] = 0
    scene[0, 0, 70] = 0
    with Scene.of(write_scene(tmp_path / "a.tif", scene, nodata=0), RGB, dem=None, bands={}) as opened:
        assert opened.read(0, 0, 64) is None
        stored = opened.read(0, 64, 64)
        assert stored is not None
        # Beyond the 80th column it is mirrored: the 71st comes again.
        assert np.argwhere(np.isnan(stored)).tolist() == [[0, 6, 0], [0, 25, 0], [0, 38, 0], [0, 57, 0]]
        assert opened.known(stored).all()
    alpha = np.concatenate([COLOURS, np.full((1, 70, 80), 255, np.uint8)])
    alpha[3, 0, 0] = 0
    path = write_scene(tmp_path / "b.tif", alpha, photometric="rgb", alpha="yes")
    assert np.isnan(bands(path)).all()
    described = Sensor("one", (Band("red", RED, nodata=10.0),))
    with Scene.of(write_scene(tmp_path / "c.tif", COLOURS[:1]), described, dem=None, bands={}) as opened:
        assert opened.read(0, 0, 64) is None
    holes = np.full((1, 64, 64), np.nan)
    holes[0, 5, 5] = 3.5
    with Scene.of(write_scene(tmp_path / "d.tif", holes), described, dem=None, bands={}) as opened:
        stored = opened.read(0, 0, 64)
        assert stored is not None
        assert (np.nansum(stored), opened.known(stored).sum()) == (3.5, 1)


def test_a_scene_without_a_value_is_refused(tmp_path: Path) -> None:
    """Before anything is predicted."""
    path = write_scene(tmp_path / "a.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with Scene.of(path, RGB, dem=None, bands={}) as scene, pytest.raises(DataError, match="all of it is nodata"):
        scene.examine(Tiling.of(64, 64, tile=64, overlap=0))


def test_a_dem_makes_the_terrain(tmp_path: Path) -> None:
    """In the place of a scene's own; a model without terrain takes none."""
    wider = NORTH_UP @ rasterio.Affine.translation(-2, -2)
    dem = write_scene(tmp_path / "dem.tif", np.full((1, 80, 90), 500, np.int16), transform=wider)
    green = write_scene(tmp_path / "green.tif", COLOURS[:1])
    assert bands(green, TERRAIN, dem) == [10, 0, 500]
    with pytest.raises(DataError, match=r"has 1 bands .* or give a DEM: --dem DEM\.tif"):
        bands(green, TERRAIN)
    named = write_scene(tmp_path / "named.tif", COLOURS, names=("green", "slope", "height"))
    assert bands(named, TERRAIN) == [10, 20, 30]
    assert bands(named, TERRAIN, dem) == [10, 0, 500]
    with pytest.raises(ConfigError, match="the model has neither slope nor elevation"):
        bands(named, RGB, dem)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _without_system(path: Path) -> None:
    write_scene(path, COLOURS, crs=None)


def _without_place(path: Path) -> None:
    write_scene(path, COLOURS, transform=rasterio.Affine.identity())


def _complex(path: Path) -> None:
    write_scene(path, COLOURS.astype(np.complex64))


def _of_a_site(path: Path) -> None:
    write_scene(path, COLOURS, crs='LOCAL_CS["site",UNIT["metre",1]]')


def _text(path: Path) -> None:
    path.write_text("no raster")


def _truncated(path: Path) -> None:
    write_scene(path, np.random.default_rng(0).integers(0, 255, (3, 70, 80), np.uint8))
    path.write_bytes(path.read_bytes()[:9000])


def _in_one_block(path: Path) -> None:
    options = {
        "blockxsize": 16_384,
        "blockysize": 16_384,
        "height": 20_000,
        "width": 20_000,
        "tiled": True,
        "sparse_ok": True,
    }
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=3,
        dtype="uint8",
        crs="EPSG:32645",
        transform=(10, 0, 5e5, 0, -10, 3e6),
        **options,
    ):
        pass


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("write", "says"),
    [
        (_empty, "neither TIFF, PNG nor JPEG"),
        (_text, "neither TIFF, PNG nor JPEG"),
        (_truncated, "cannot be read"),
        (_without_system, "has no coordinate system; write them into the file: gdal_edit"),
        (_without_place, "has no position and pixel size"),
        (_of_a_site, "neither geographic nor projected"),
        (_complex, "holds complex64, not numbers"),
        (_in_one_block, "is stored in blocks of 805,306,368 bytes"),
    ],
)
def test_what_is_no_scene_is_refused(tmp_path: Path, write: Any, says: str) -> None:
    """Each with a line on what to do."""
    write(tmp_path / "a.tif")
    with pytest.raises(DataError, match=says):
        bands(tmp_path / "a.tif")


@pytest.mark.parametrize("damaged", ["scene", "dem"])
def test_a_damaged_file_is_named_and_no_other(tmp_path: Path, damaged: str) -> None:
    """Scene and DEM are read side by side; which of them cannot be is said."""
    noise = np.random.default_rng(0).random((1, 300, 300), np.float32)
    place = NORTH_UP @ rasterio.Affine.translation(-5, -5)
    paths = {
        "scene": write_scene(tmp_path / "scene.tif", noise[:, :250, :250]),
        "dem": write_scene(tmp_path / "dem.tif", noise, transform=place),
    }
    paths[damaged].write_bytes(paths[damaged].read_bytes()[:100_000])
    with (
        Scene.of(paths["scene"], TERRAIN, dem=paths["dem"], bands={}) as scene,
        pytest.raises(DataError, match=rf"{damaged}\.tif: cannot be read"),
    ):
        scene.read(128, 0, 128)


def test_a_scene_upside_down_is_read_as_it_lies(tmp_path: Path) -> None:
    """Rows from south to north stay rows; the grid says where they are."""
    up = rasterio.Affine(10, 0, 500_000, 0, 10, 3_000_000)
    colours = np.arange(3 * 64 * 64, dtype=np.float64).reshape(3, 64, 64)
    path = write_scene(tmp_path / "a.tif", colours, transform=up)
    with Scene.of(path, RGB, dem=None, bands={}) as scene:
        np.testing.assert_array_equal(scene.read(0, 0, 64), np.moveaxis(colours, 0, -1))
        assert scene.grid["transform"] == up
    np.testing.assert_array_equal(read(path), colours[0])


@pytest.mark.parametrize(("dtype", "nodata", "bits"), [("uint8", 0, 1), ("int16", -1, 16), ("uint8", None, 8)])
def test_whole_numbers_are_read_as_any_others(tmp_path: Path, dtype: str, nodata: int | None, bits: int) -> None:
    """0 and 1 in single bits, where 0 is none; -1, which is none, to 1; and 0 and 1 where none stands for none."""
    values = np.random.default_rng(0).integers(min(nodata or 0, 0), 2, (3, 64, 64)).astype(dtype)
    path = write_scene(tmp_path / "a.tif", values, nodata=nodata, nbits=bits)
    with Scene.of(path, RGB, dem=None, bands={}) as scene:
        stored = scene.read(0, 0, 64)
    expected = np.where(values == (-9 if nodata is None else nodata), np.nan, values.astype(np.float32))
    np.testing.assert_array_equal(stored, np.moveaxis(expected, 0, -1))


def test_a_turned_scene_is_read_as_it_lies(tmp_path: Path) -> None:
    """Rows and columns stay what they are; the grid says how they lie on the ground."""
    turned = rasterio.Affine.translation(5e5, 3.1e6) @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(10, -10)
    colours = np.arange(3 * 64 * 64, dtype=np.float32).reshape(3, 64, 64)
    with Scene.of(write_scene(tmp_path / "a.tif", colours, transform=turned), RGB, dem=None, bands={}) as scene:
        np.testing.assert_array_equal(scene.read(0, 0, 64), np.moveaxis(colours, 0, -1))
        assert scene.grid["transform"] == turned


def test_what_fails_beside_an_open_scene_is_not_said_of_its_file(tmp_path: Path) -> None:
    """A reader of the output that has gone, or a full disk, is no fault of the scene that is open meanwhile."""
    path = write_scene(tmp_path / "scene.tif", np.ones((3, 64, 64), np.uint16))
    with pytest.raises(BrokenPipeError), Scene.of(path, RGB, dem=None, bands={}):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
