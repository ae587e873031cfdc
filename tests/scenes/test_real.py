"""Real ground: slopes of DEMs against GDAL's own, and a Landsat scene from polygons to patches, a model and a map.

The scene and its DEM are of Debian's package r-cran-stars, which the tests fetch; another DEM comes with matplotlib.
"""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from filelock import FileLock
from matplotlib import cbook
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import transform as to_system
from rasterio.warp import transform_geom

from lsml.errors import DataWarning
from lsml.scenes.terrain import Terrain
from tests.scenes.gdaldem import gdaldem_slope
from tests.scenes.made import run_commands, write_scene

PACKAGE = "r-cran-stars"


class Landsat(NamedTuple):
    """Six bands of Landsat 7, 349 x 352 pixels of 28.5 m, and elevations of the same place in pixels of 90 m."""

    scene: Path
    dem: Path


@pytest.fixture(scope="session")
def landsat(shared: Path) -> Landsat:
    """Fetched once by a session, where Debian's packages can be had."""
    folder = shared / PACKAGE
    place = folder / "usr/lib/R/site-library/stars/tif"
    with FileLock(f"{folder}.lock"):
        if not place.exists():
            folder.mkdir(exist_ok=True)
            try:
                subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"Debian's {PACKAGE} cannot be fetched: {getattr(error, 'stderr', error)!r}")
            (package,) = folder.glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return Landsat(place / "L7_ETMs.tif", place / "olinda_dem_utm25s.tif")


def terrain(dem: Path, scene: Path) -> dict[str, np.ndarray]:
    """Elevation and slope of all of a scene."""
    with rasterio.open(scene) as file, Terrain.of(dem, file) as found:
        return found.read(0, 0, file.height, file.width)


def assert_gdals(slope: np.ndarray, gdals: np.ndarray) -> None:
    """Equal within a thousandth of a degree, wherever GDAL has one."""
    known = gdals != -9999
    # All but the rim has one.
    assert known.sum() >= (known.shape[0] - 2) * (known.shape[1] - 2)
    np.testing.assert_allclose(slope[known & np.isfinite(slope)], gdals[known & np.isfinite(slope)], rtol=0, atol=1e-3)
    assert np.isfinite(slope[1:-1, 1:-1]).all()


@pytest.mark.full
def test_slopes_on_a_dems_own_grid_are_gdals(landsat: Landsat, tmp_path: Path) -> None:
    found = terrain(landsat.dem, landsat.dem)["slope"]
    assert np.nanmax(found) > 5
    assert_gdals(found, gdaldem_slope(landsat.dem, tmp_path / "slope.tif"))


@pytest.mark.full
def test_slopes_of_a_dem_brought_onto_a_scenes_grid_are_gdals(landsat: Landsat, tmp_path: Path) -> None:
    """GDAL's of the elevations that lsml interpolates, 90 m to 28.5 m."""
    with pytest.warns(DataWarning, match="covers 99% of the scene"):
        found = terrain(landsat.dem, landsat.scene)
    with rasterio.open(landsat.scene) as file:
        options = {"crs": file.crs, "transform": file.transform, "nodata": np.nan}
    fine = write_scene(tmp_path / "fine.tif", found["elevation"][None], **options)
    inside = np.s_[8:-8, 8:-8]
    assert_gdals(found["slope"][inside], gdaldem_slope(fine, tmp_path / "slope.tif")[inside])


def test_slopes_on_a_grid_of_degrees_are_gdals_of_metres(tmp_path: Path) -> None:
    """Mountains by Jacksboro, 403 x 344 pixels of about 90 m: GDAL is given each row's neighbourhood in metres.

    The size of a pixel in metres comes of a projection whose middle lies in that row.
    """
    with np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as file:
        heights = file["elevation"].astype(np.float32)
        west, south, dx, dy = (float(file[name]) for name in ("xmin", "ymin", "dx", "dy"))
    grid = Affine(dx, 0, west, 0, -dy, south + dy * len(heights))
    dem = write_scene(tmp_path / "degrees.tif", heights[None], crs="EPSG:4326", transform=grid)
    found = terrain(dem, dem)["slope"]
    assert np.nanmax(found) > 30
    for row in range(40, len(heights) - 1, 60):
        longitude, latitude = grid @ (100.5, row + 0.5)
        here = f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +datum=WGS84"
        steps = to_system("EPSG:4326", here, [longitude + dx / 2, longitude], [latitude, latitude + dy / 2])
        metres = Affine(2 * steps[0][0], 0, 0, 0, -2 * steps[1][1], 0)
        strip = write_scene(tmp_path / f"{row}.tif", heights[None, row - 1 : row + 2], transform=metres)
        gdals = gdaldem_slope(strip, tmp_path / f"slope-{row}.tif")
        np.testing.assert_allclose(found[row, 1:-1], gdals[1, 1:-1], rtol=0, atol=1e-3)


@pytest.mark.full
def test_a_landsat_scene_is_tiled_trained_on_and_mapped(landsat: Landsat, tmp_path: Path) -> None:
    """Labels are made up by a rule: land that is brighter in red than in near infrared. No score is claimed."""
    with rasterio.open(landsat.scene) as file:
        bands, crs, grid = file.read(), file.crs, file.transform
    ruled = (bands[2] > bands[3]) & (bands[2] > 60)
    assert 0.005 < ruled.mean() < 0.5
    found = [
        {"type": "Feature", "properties": {}, "geometry": transform_geom(crs, "EPSG:4326", outline)}
        for outline, _ in shapes(ruled.astype(np.uint8), mask=ruled, transform=grid)
    ]
    (tmp_path / "bare.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": found}))
    names = ("--bands", "blue=1,green=2,red=3,nir=4,swir1=5,swir2=6")
    scene, dem = str(landsat.scene), ("--dem", str(landsat.dem))
    run_commands(
        tmp_path,
        ("data", "tile", scene, *dem, *names, "--landslides", "bare.geojson", "--size", "64", "--out", "patches"),
        ("data", "check", "patches"),
        ("tune", "region.yaml"),
        ("evaluate", "region"),
        ("predict", scene, *dem, *names, "--model", "region@candidate", "--uncertainty", "--out", "maps"),
    )
    for name in ("probability", "mask", "uncertainty"):
        with rasterio.open(tmp_path / "maps" / f"{name}.tif") as file:
            assert (file.shape, file.crs, file.transform) == ((352, 349), crs, grid)
    features = json.loads((tmp_path / "maps" / "landslides.geojson").read_text())["features"]
    with rasterio.open(tmp_path / "maps" / "mask.tif") as file:
        assert sum(feature["properties"]["pixels"] for feature in features) == (file.read(1) == 1).sum()
