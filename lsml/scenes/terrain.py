"""Elevation and slope on a scene's grid, from a DEM of any grid and coordinate system."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform_bounds
from rasterio.warp import transform as to_system
from scipy import ndimage

from lsml.data.arrays import unreadable
from lsml.data.formats import opened
from lsml.data.sensor import ELEVATION, SLOPE
from lsml.errors import DataError, DataWarning

_RADIUS, _ECCENTRICITY = 6_378_137.0, 0.00669437999014
"""Of WGS 84: half the major axis in metres, and the square of the eccentricity."""
_TOLERANCE = 0.001
"""Pixels by which places in a DEM may be wrong; with GDAL's usual .125 steep slopes are wrong by a degree."""
_PLACES = 8
"""Of a row of a raster, at which the area of its pixels is taken."""
_APART = 64
"""Pixels between the places at which lengths on the ground are worked out."""
_STRETCHED = 0.01
"""Of a length on the ground, by which one in a projection may be off; UTM's is by .001, and slopes are gdaldem's."""
_WHOLE = 0.999
"""A share of the scene beyond which it is all of it."""


@dataclass(frozen=True)
class Terrain:
    """An open DEM, read window by window on the grid of a scene."""

    path: Path
    dem: "rasterio.DatasetReader"
    scene: "rasterio.DatasetReader"
    stretched: bool
    """Whether a unit of the scene's projection is another length on the ground, as in Web Mercator."""

    @classmethod
    @contextmanager
    def of(cls, path: Path, scene: "rasterio.DatasetReader") -> Iterator["Terrain"]:
        """The DEM in the first band of a GeoTIFF, open within the block.

        Raises:
            DataError: it cannot be read, does not say where it lies, or lies elsewhere.
        """
        with opened(path) as dem:
            check_place(path, dem)
            _check_cover(path, dem, scene)
            yield cls(path, dem, scene, not scene.crs.is_geographic and _is_stretched(scene))

    def read(self, row: int, column: int, height: int, width: int) -> dict[str, np.ndarray]:
        """Elevation in metres and slope in degrees of a window, float32 `(height, width)`, NaN for none.

        Elevations are interpolated linearly between the DEM's pixels.

        Raises:
            DataError: the DEM cannot be read.
        """
        # A pixel more on each side, of which slopes at the edges are made.
        wide = np.full((height + 2, width + 2), np.nan, np.float32)
        transform = self.scene.transform @ rasterio.Affine.translation(column, row)
        try:
            reproject(
                rasterio.band(self.dem, 1),
                wide,
                dst_transform=transform @ rasterio.Affine.translation(-1, -1),
                dst_crs=self.scene.crs,
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
                tolerance=_TOLERANCE,
            )
        except (OSError, RasterioError) as error:
            raise unreadable(self.path, error) from None
        return {
            ELEVATION: wide[1:-1, 1:-1],
            SLOPE: slope_degrees(wide, transform, self._metres(transform, row, column, height, width)),
        }

    def _metres(self, transform: rasterio.Affine, row: int, column: int, height: int, width: int) -> tuple[Any, Any]:
        """On the ground, of a unit of the first and of the second coordinate; numbers, or arrays of the window."""
        if self.scene.crs.is_geographic:
            return _metres_per_degree(transform, height, width)
        if not self.stretched:
            return (self.scene.crs.linear_units_factor[1],) * 2
        # Of places on the scene's own grid, between which lengths change evenly: no window differs from another.
        rows, columns = (
            np.arange(start // _APART, (start + length) // _APART + 2) * _APART
            for start, length in ((row, height), (column, width))
        )
        known = _metres_per_unit(self.scene, *np.meshgrid(columns, rows))
        wanted = np.meshgrid(
            (np.arange(height) + 0.5 + row - rows[0]) / _APART,
            (np.arange(width) + 0.5 + column - columns[0]) / _APART,
            indexing="ij",
        )
        return tuple(ndimage.map_coordinates(each, wanted, order=1) for each in known)


def _metres_per_unit(file: "rasterio.DatasetReader", columns: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Metres on the ellipsoid of a unit of the first and of the second coordinate at places of a raster."""
    step = abs(file.transform.determinant) ** 0.5
    x, y = file.transform @ (np.asarray(columns, float), np.asarray(rows, float))

    def across(right: float, up: float) -> np.ndarray:
        ends = [
            _from_the_middle(
                *np.radians(to_system(file.crs, "EPSG:4326", (x + s * right).ravel(), (y + s * up).ravel()))
            )
            for s in (step, -step)
        ]
        return np.linalg.norm(ends[0] - ends[1], axis=1).reshape(x.shape) / (2 * step)

    return across(1, 0), across(0, 1)


def _is_stretched(file: "rasterio.DatasetReader") -> bool:
    """Whether a unit of a projection is another length on the ground, at a corner or in the middle of a raster."""
    columns = np.array([0, file.width, file.width / 2, 0, file.width])
    rows = np.array([0, 0, file.height / 2, file.height, file.height])
    lengths = np.stack(_metres_per_unit(file, columns, rows)) / file.crs.linear_units_factor[1]
    return bool((abs(lengths - 1) > _STRETCHED).any())


def slope_degrees(
    elevation: np.ndarray, transform: rasterio.Affine, metres: tuple[np.ndarray | float, np.ndarray | float]
) -> np.ndarray:
    """How steep the ground is, by Horn (1981), Hill shading and the reflectance map, Proc. IEEE 69(1).

    The gradient is the mean of the eight neighbours' differences, those beside the pixel counted twice.

    Args:
        elevation: in metres, `(H + 2, W + 2)`: a pixel more on each side.
        transform: from columns and rows to coordinates; it may turn, mirror and shear.
        metres: on the ground, of a unit of the first and of the second coordinate; numbers or `(H, W)`.

    Returns:
        float32 `(H, W)` in 0..90, NaN where one of the nine is.
    """
    heights = elevation.astype(np.float64)
    sums = heights[:-2] + 2 * heights[1:-1] + heights[2:]
    by_column = (sums[:, 2:] - sums[:, :-2]) / 8
    sums = heights[:, :-2] + 2 * heights[:, 1:-1] + heights[:, 2:]
    by_row = (sums[2:] - sums[:-2]) / 8
    # Of by_column = a * by_x + d * by_y and by_row = b * by_x + e * by_y.
    by_x = (transform.e * by_column - transform.d * by_row) / transform.determinant / metres[0]
    by_y = (transform.a * by_row - transform.b * by_column) / transform.determinant / metres[1]
    # The formula leaves the middle one out: what has no elevation has no slope.
    by_x[np.isnan(heights[1:-1, 1:-1])] = np.nan
    return np.degrees(np.arctan(np.hypot(by_x, by_y))).astype(np.float32)


def _metres_per_degree(transform: rasterio.Affine, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Metres on the ellipsoid of a degree of longitude and of latitude at each pixel of a window, `(H, W)` each."""
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    latitude = np.radians(transform.d * columns + transform.e * rows + transform.f)
    curved = 1 - _ECCENTRICITY * np.sin(latitude) ** 2
    across = _RADIUS / np.sqrt(curved) * np.cos(latitude)
    along = _RADIUS * (1 - _ECCENTRICITY) / curved**1.5
    return np.radians(across), np.radians(along)


def pixel_areas(file: "rasterio.DatasetReader") -> np.ndarray:
    """Square metres on the ellipsoid of a pixel in each row of a raster, float64 `(H,)`, whatever its projection.

    That of a row is the mean over a few places of it: of the parallelogram between the middles of a pixel's sides, in
    coordinates from the Earth's middle, which neither the antimeridian nor a pole disturbs.
    """
    columns, rows = np.meshgrid((np.arange(_PLACES) + 0.5) * file.width / _PLACES, np.arange(file.height) + 0.5)

    def place(right: float, down: float) -> np.ndarray:
        x, y = file.transform @ (columns.ravel() + right, rows.ravel() + down)
        return _from_the_middle(*np.radians(to_system(file.crs, "EPSG:4326", x, y)))

    across, along = place(0.5, 0) - place(-0.5, 0), place(0, 0.5) - place(0, -0.5)
    areas = np.linalg.norm(np.cross(across, along), axis=1)
    return areas.reshape(columns.shape).mean(axis=1)


def _from_the_middle(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Metres from the Earth's middle, `(N, 3)`, of places on WGS 84, in radians."""
    across = _RADIUS / np.sqrt(1 - _ECCENTRICITY * np.sin(latitude) ** 2)
    east, north = across * np.cos(latitude) * np.cos(longitude), across * np.cos(latitude) * np.sin(longitude)
    return np.column_stack([east, north, across * (1 - _ECCENTRICITY) * np.sin(latitude)])


def check_place(path: Path, file: "rasterio.DatasetReader") -> None:
    """Raises DataError where a raster does not say where on the ground its pixels lie."""
    if file.crs is None or file.transform.is_identity or file.transform.is_degenerate:
        what = "coordinate system" if file.crs is None else "position and pixel size"
        fix = "write them into the file: gdal_edit.py -a_srs EPSG:CODE -a_ullr WEST NORTH EAST SOUTH FILE"
        raise DataError(f"file {path}", f"has no {what}", fix)
    if not (file.crs.is_geographic or file.crs.is_projected):
        why = "its coordinate system is neither geographic nor projected"
        raise DataError(f"file {path}", why, "reproject it: gdalwarp -t_srs EPSG:CODE")


def _check_cover(path: Path, dem: "rasterio.DatasetReader", scene: "rasterio.DatasetReader") -> None:
    """Whether a DEM covers the scene, as far as their bounds tell; warns where it covers a part."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError

    left, bottom, right, top = _bounds(scene)
    try:
        west, south, east, north = transform_bounds(dem.crs, scene.crs, *_bounds(dem))
    except (CRSError, CPLE_BaseError):
        west = south = east = north = np.nan
    common = max(min(right, east) - max(left, west), 0) * max(min(top, north) - max(bottom, south), 0)
    share = common / ((right - left) * (top - bottom))
    if not share > 0:
        raise DataError(f"DEM {path}", "does not cover the scene", "give one of the same place")
    if share < _WHOLE:
        why = f"covers {int(100 * share)}% of the scene; elsewhere the train median stands for slope and elevation"
        warnings.warn(DataWarning(f"DEM {path}: {why}"), stacklevel=2)


def _bounds(file: "rasterio.DatasetReader") -> tuple[float, float, float, float]:
    """West, south, east and north, of a raster that may be turned."""
    corners = [
        file.transform @ corner for corner in ((0, 0), (file.width, 0), (0, file.height), (file.width, file.height))
    ]
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)
