"""Where to map landslides next: the squares of which a model is least certain, at a distance from each other."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform as to_system
from rasterio.windows import Window
from scipy.special import entr

from lsml.data.arrays import unreadable
from lsml.data.formats import opened
from lsml.errors import DataError
from lsml.scenes.degrees import as_geojson, box_of, continuous, middle_of
from lsml.scenes.maps import PROBABILITY, UNCERTAINTY
from lsml.scenes.terrain import check_place, pixel_areas
from lsml.workspace import replace_whole

_LEAST_KNOWN = 0.5
"""Squares of which less than this share has values are left out, as patches are."""
_SIDES = 2
"""The distance between middles without another word, in sides of a square."""


class Suggestion(NamedTuple):
    """A square that is worth mapping.

    Attributes:
        raster: of which it is a part.
        row, column: of its first pixel.
        score: mean uncertainty of its pixels.
        outline: in degrees, as `continuous` gives it.
    """

    raster: Path
    row: int
    column: int
    score: float
    outline: Any


Measure = Literal["deviation", "entropy"]
"""How far members and orientations deviate, which tells what a model does not know; or how near to .5 it comes."""


def suggest_squares(
    rasters: Sequence[Path], out: Path, *, by: Measure, count: int, size: int, distance: float | None
) -> list[Suggestion]:
    """Writes the squares to map next as GeoJSON, the most uncertain first.

    Uncertainty sampling (Lewis and Gale 1994, A sequential algorithm for training text classifiers, SIGIR) with a
    least distance, so that not all lie in one place: the square with the largest mean is taken, those whose middles
    are nearer to it than `distance` are passed over, and so on. Squares are those that `tile_scenes` cuts a scene of
    that grid into. Memory is that of a row of squares.

    Args:
        rasters: `uncertainty.tif` of `lsml predict`; `probability.tif`, of which the entropy counts in any case; a
            folder with either; or any other raster, of which the first band does.
        out: a file that is not there yet.
        by: what counts of `uncertainty.tif`.
        count: how many at most.
        size: side of a square in pixels.
        distance: in metres on the ellipsoid; None for twice the side of a square.

    Raises:
        DataError: a raster cannot be read or placed, has no values or is certain everywhere, or `out` is there already
            or cannot be written.
    """
    import pyproj

    if out.exists():
        raise DataError(f"squares {out}", "already exists", "choose another --out; what was mapped in it stays")
    paths = [_raster_in(path) for path in rasters]
    squares: list[Suggestion] = []
    least = distance or 0.0
    for path in paths:
        with opened(path) as file:
            check_place(path, file)
            squares += _squares(path, file, by, size)
            if distance is None:
                least = max(least, _SIDES * size * float(np.sqrt(np.median(pixel_areas(file)))))
    if not squares:
        raise DataError(f"raster {paths[0]}", "has no square with values in half of it", "give a smaller --size")
    squares.sort(key=lambda square: -square.score)
    if squares[0].score <= 0:
        fix = "give --by entropy, or maps of another model"
        raise DataError(f"raster {paths[0]}", "is certain everywhere, as a model of single pixels always is", fix)
    longitudes, latitudes = np.array([middle_of(square.outline) for square in squares]).T
    ellipsoid, free = pyproj.Geod(ellps="WGS84"), np.ones(len(squares), bool)
    chosen: list[Suggestion] = []
    while free.any() and len(chosen) < count:
        first = int(np.argmax(free))
        chosen.append(squares[first])
        here = np.full(len(squares), longitudes[first]), np.full(len(squares), latitudes[first])
        free &= ellipsoid.inv(*here, longitudes, latitudes)[2] >= least
        free[first] = False
    _write(out, chosen, {"size": size, "distance_m": round(least, 1)})
    return chosen


def _raster_in(path: Path) -> Path:
    """The raster to look at where a folder is given."""
    if not path.is_dir():
        return path
    for name in (UNCERTAINTY, PROBABILITY):
        if (path / name).is_file():
            return path / name
    raise DataError(f"folder {path}", f"has neither {UNCERTAINTY} nor {PROBABILITY}", "give that of lsml predict --out")


def _squares(path: Path, file: "rasterio.DatasetReader", by: Measure, size: int) -> Iterator[Suggestion]:
    """All squares of a raster that have values, with their scores."""
    across = -(-file.width // size)
    for top in range(0, file.height, size):
        values = np.full((size, across * size), np.nan)
        window = Window(0, top, file.width, min(size, file.height - top))
        values[: window.height, : file.width] = _uncertainty(path, file, by, window)
        blocks = values.reshape(size, across, size)
        known = np.isfinite(blocks).sum(axis=(0, 2))
        sums = np.nansum(blocks, axis=(0, 2))
        for place in np.flatnonzero(known >= _LEAST_KNOWN * size * size).tolist():
            left = place * size
            yield Suggestion(path, top, left, float(sums[place] / known[place]), _outline(file, top, left, size))


def _uncertainty(path: Path, file: "rasterio.DatasetReader", by: Measure, window: Window) -> np.ndarray:
    """Of a window, float64 `(rows, columns)`, NaN for none; entropy in bits."""
    said = [(text or "").partition(" ")[0] for text in file.descriptions]
    place = 1 if by == "entropy" and said[1:2] == ["predictive"] else 0
    try:
        stored = file.read(place + 1, window=window, masked=True)
    except (OSError, RasterioError) as error:
        raise unreadable(path, error) from None
    values = stored.astype(np.float64).filled(np.nan) * file.scales[place] + file.offsets[place]
    if said[0] == "probability":
        values = values.clip(0, 1)
        values = (entr(values) + entr(1 - values)) / np.log(2)
    return values


def _outline(file: "rasterio.DatasetReader", top: int, left: int, size: int) -> Any:
    import shapely

    corners = np.array([(0, 0), (0, size), (size, size), (size, 0)]) + np.array([left, top])
    longitudes, latitudes = to_system(file.crs, "EPSG:4326", *(file.transform @ tuple(corners.T)))
    return continuous(shapely.Polygon(np.column_stack([longitudes, latitudes])))


def _write(out: Path, chosen: Sequence[Suggestion], facts: dict[str, Any]) -> None:
    features = [
        {
            "type": "Feature",
            "id": rank,
            "bbox": list(box_of(square.outline)),
            "geometry": as_geojson(square.outline),
            "properties": {
                "rank": rank,
                "mean_uncertainty": round(square.score, 4),
                "raster": square.raster.name,
                "row": square.row,
                "column": square.column,
            },
        }
        for rank, square in enumerate(chosen, start=1)
    ]
    content = json.dumps({"type": "FeatureCollection", "lsml": facts, "features": features}, indent=1).encode()
    try:
        replace_whole(out, [content])
    except OSError as error:
        raise DataError(f"squares {out}", f"cannot be written: {error.strerror}", "choose another --out") from None
