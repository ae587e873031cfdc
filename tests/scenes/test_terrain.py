"""Slope by planes worked out by hand, and elevations of a DEM on another grid."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.transform import Affine

from lsml.errors import DataError, DataWarning
from lsml.scenes.terrain import Terrain, pixel_areas, slope_degrees
from tests.scenes.made import NORTH_UP, write_scene

TURNED = Affine.translation(500_000, 3_100_000) @ Affine.rotation(30) @ Affine.scale(10, -10)


def plane(transform: Affine, east: float, north: float, size: int = 8) -> np.ndarray:
    """Elevations that rise by so much a unit of the coordinates, with a pixel more on each side."""
    rows, columns = np.indices((size, size)) - 0.5
    x, y = transform @ (columns, rows)
    return 100 + east * (x - transform.c) + north * (y - transform.f)


@pytest.mark.parametrize(
    "transform", [NORTH_UP, NORTH_UP @ Affine.scale(1, -1), TURNED], ids=["north", "south", "turned"]
)
@pytest.mark.parametrize(
    ("east", "north", "degrees"),
    # arctan of 0, 1, 3/4 and 4/3 (5/4 along the slope would be arctan(1.25)); of .3 and .4 together, .5.
    [(0, 0, 0), (1, 0, 45), (0, -0.75, 36.869898), (0.3, 0.4, 26.565051)],
)
def test_the_slope_of_a_plane(transform: Affine, east: float, north: float, degrees: float) -> None:
    """The same whichever way a grid lies on the ground."""
    found = slope_degrees(plane(transform, east, north), transform, (1.0, 1.0))
    np.testing.assert_allclose(found, degrees, rtol=0, atol=1e-4)


def test_the_slope_is_horns() -> None:
    """By his formula on nine numbers: 10 m pixels, right less left over 80, below less above over 80.

    Right (3 + 2 * 7 + 9) - left (1 + 2 * 4 + 2) = 15, so .1875; below (2 + 2 * 8 + 9) - above (1 + 2 * 5 + 3) = 13, so
    .1625. The root of the squares' sum is .248118, its arctangent 13.934 degrees.
    """
    heights = np.array([[1, 5, 3], [4, 6, 7], [2, 8, 9]])
    assert slope_degrees(heights, NORTH_UP, (1.0, 1.0)).item() == pytest.approx(13.934, abs=1e-3)


def test_beside_a_hole_there_is_no_slope() -> None:
    """Of nine pixels one is lacking: all that have it as a neighbour lack a slope."""
    heights = plane(NORTH_UP, 0.1, 0.1, size=7)
    heights[1, 1] = np.nan
    np.testing.assert_array_equal(
        np.isnan(slope_degrees(heights, NORTH_UP, (1.0, 1.0)))[:3, :3], [[1, 1, 0]] * 2 + [[0, 0, 0]]
    )


def warped(folder: Path, scene: Path, dem: Path) -> dict[str, np.ndarray]:
    """Elevation and slope of all of a scene."""
    with rasterio.open(scene) as file, Terrain.of(dem, file) as terrain:
        return terrain.read(0, 0, file.height, file.width)


def test_a_dem_of_another_grid_comes_onto_the_scenes(tmp_path: Path) -> None:
    """A plane of 30 m pixels, .2 up a metre east, on pixels of 10 m: interpolated linearly, it is the same plane."""
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 40, 50), np.uint8))
    coarse = Affine(30, 0, 499_700, 0, -30, 3_100_300)
    heights = np.broadcast_to(1000 + 0.2 * 30 * (np.arange(40) + 0.5), (1, 40, 40)).astype(np.float32)
    found = warped(tmp_path, scene, write_scene(tmp_path / "dem.tif", heights, transform=coarse))
    # The first pixel's middle is 305 m east of the DEM's edge.
    np.testing.assert_allclose(found["elevation"][0], 1000 + 0.2 * (305 + 10 * np.arange(50)), rtol=0, atol=1e-2)
    # arctan(.2) = 11.309932 degrees.
    np.testing.assert_allclose(found["slope"], 11.309932, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("latitude", "metres"), [(0, 110_574.28), (45, 111_131.78), (70, 111_561.98)])
def test_slopes_in_degrees_are_of_metres_on_the_ground(tmp_path: Path, latitude: float, metres: float) -> None:
    """A degree of latitude is so many metres on WGS 84; .0001 degrees a pixel that rise a tenth of that: arctan(.1).

    Of longitude at 45 degrees it is 78,846.8 m, at 70 degrees 38,187.5, at the equator 111,319.5.
    """
    grid = Affine(1e-4, 0, 10, 0, -1e-4, latitude + 0.0015)
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 30, 30), np.uint8), crs="EPSG:4326", transform=grid)
    for axis, unit in ((0, metres), (1, {0: 111_319.49, 45: 78_846.81, 70: 38_187.55}[latitude])):
        place = grid @ Affine.translation(-5, -5)
        heights = np.indices((40, 40))[axis][None] * (0.1 * 1e-4 * unit)
        found = warped(tmp_path, scene, write_scene(tmp_path / "dem.tif", heights, crs="EPSG:4326", transform=place))
        # arctan(.1) = 5.710593 degrees.
        np.testing.assert_allclose(found["slope"], 5.710593, rtol=0, atol=1e-3)


@pytest.mark.parametrize("latitude", [28.0, 60.0])
def test_slopes_in_web_mercator_are_those_on_the_ground(tmp_path: Path, latitude: float) -> None:
    """A plane in UTM, .2 up a metre east: arctan(.2), or .1 degrees from it, though a metre is 1 / cos of a latitude.

    Without that, 1.132 at 28 degrees and 1.995 at 60, it would be 10.0 and 5.7 degrees. Whatever the window.
    """
    ((east,), (north,)) = rasterio.warp.transform("EPSG:4326", "EPSG:32645", [87.0], [latitude])
    place = Affine(10, 0, east - 2000, 0, -10, north + 2000)
    heights = np.broadcast_to(1000 + 0.2 * 10 * np.arange(400), (1, 400, 400)).astype(np.float32)
    dem = write_scene(tmp_path / "dem.tif", heights, transform=place)
    ((west,), (top,)) = rasterio.warp.transform("EPSG:4326", "EPSG:3857", [87.0], [latitude])
    grid = Affine(10, 0, west, 0, -10, top)
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 150, 100), np.uint8), crs="EPSG:3857", transform=grid)
    whole = warped(tmp_path, scene, dem)["slope"]
    # arctan(.2) = 11.309932 degrees.
    np.testing.assert_allclose(whole, 11.309932, rtol=0, atol=0.1)
    with rasterio.open(scene) as file, Terrain.of(dem, file) as terrain:
        np.testing.assert_allclose(terrain.read(70, 30, 40, 50)["slope"], whole[70:110, 30:80], rtol=0, atol=0.01)


def test_a_dem_in_another_system_is_reprojected(tmp_path: Path) -> None:
    """Elevation by longitude, 100,000 m a degree, from zone 45's middle, 87 degrees: 9 m lie in .0000916 degrees there.

    A degree of longitude at 28.025 degrees north is 98,343 m, of which UTM makes .9996: 98,303 m.
    """
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 20, 20), np.uint8))
    place = Affine(1e-4, 0, 86.99, 0, -1e-4, 28.03)
    longitude = 86.99 + 1e-4 * (np.arange(200) + 0.5)
    heights = np.broadcast_to(100_000 * (longitude - 87), (1, 100, 200))
    found = warped(tmp_path, scene, write_scene(tmp_path / "dem.tif", heights, crs="EPSG:4326", transform=place))
    np.testing.assert_allclose(found["elevation"][0], (5 + 10 * np.arange(20)) * 100_000 / 98_303, rtol=0, atol=0.1)
    np.testing.assert_allclose(found["slope"], np.degrees(np.arctan(100_000 / 98_303)), rtol=0, atol=0.02)


def test_a_window_is_that_part_of_the_whole(tmp_path: Path) -> None:
    """Slopes at a window's edge are made of what lies beyond it."""
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 60, 60), np.uint8))
    heights = np.random.default_rng(0).random((1, 80, 80), np.float32) * 50
    dem = write_scene(tmp_path / "dem.tif", heights, transform=NORTH_UP @ Affine.translation(-10, -10))
    whole = warped(tmp_path, scene, dem)
    with rasterio.open(scene) as file, Terrain.of(dem, file) as terrain:
        part = terrain.read(20, 30, 15, 25)
    for name in ("elevation", "slope"):
        np.testing.assert_array_equal(part[name], whole[name][20:35, 30:55])


def test_a_dem_of_another_place_is_refused_and_of_a_part_is_told(tmp_path: Path) -> None:
    """Of two neighbours, 200 m wide, none covers the other; moved by half, it covers half."""
    scene = write_scene(tmp_path / "scene.tif", np.ones((1, 20, 20), np.uint8))
    heights = np.ones((1, 20, 20), np.float32)
    beside = write_scene(tmp_path / "beside.tif", heights, transform=NORTH_UP @ Affine.translation(20, 0))
    with pytest.raises(DataError, match="does not cover the scene; give one of the same place"):
        warped(tmp_path, scene, beside)
    half = write_scene(tmp_path / "half.tif", heights, transform=NORTH_UP @ Affine.translation(10, 0))
    with pytest.warns(DataWarning, match="covers 50% of the scene"):
        found = warped(tmp_path, scene, half)
    assert np.isnan(found["elevation"][:, :9]).all()
    assert (found["elevation"][:, 11:] == 1).all()
    lost = write_scene(tmp_path / "lost.tif", heights, crs=None)
    with pytest.raises(DataError, match="has no coordinate system"):
        warped(tmp_path, scene, lost)


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        # A thousandth of a degree each way: N cos pi / 180,000 by M pi / 180,000, N = a / sqrt(1 - e2 sin**2) and
        # M = N (1 - e2) / (1 - e2 sin**2): 111.3195 m by 110.5743 m at the equator, 38.1865 m by 111.5620 m at 70.
        ("EPSG:4326", Affine(1e-3, 0, 179.99, 0, -1e-3, 0.0005), 111.3195 * 110.5743),
        ("EPSG:4326", Affine(1e-3, 0, 10, 0, -1e-3, 70.0005), 38.18654 * 111.56203),
        # By its definition at the pole: a metre is .994 of one.
        ("EPSG:32761", Affine(10, 0, 1_999_800, 0, -10, 2_000_005), 100 / 0.994**2),
        # At the middle of a zone .9996.
        ("EPSG:32645", Affine(10, 0, 499_800, 0, -10, 3_100_000), 100 / 0.9996**2),
        # Web Mercator at 45 degrees: cos**2 N M / a**2 of it, with 6,388,838.3 and 6,367,381.8 m: .4999944.
        ("EPSG:3857", Affine(10, 0, 0, 0, -10, 5_621_526.5), 49.99944),
    ],
    ids=["equator", "70 degrees", "pole", "UTM", "Web Mercator"],
)
def test_the_area_of_a_pixel_is_that_on_the_ground(
    tmp_path: Path, crs: str, transform: Affine, expected: float
) -> None:
    """Whatever the projection, and across the antimeridian; of the first row."""
    path = write_scene(tmp_path / "raster.tif", np.ones((1, 2, 40), np.uint8), crs=crs, transform=transform)
    with rasterio.open(path) as file:
        assert pixel_areas(file)[0] == pytest.approx(expected, rel=1e-5)
