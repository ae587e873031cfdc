"""A synthetic scene with a place on the ground: its bands, its DEM, and its landslides as a mask and as polygons."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.features import shapes
from rasterio.warp import transform_geom
from rasterio.windows import Window

from lsml.data.domains import domains
from lsml.data.layout import MARK
from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, SLOPE
from lsml.data.synthetic.landscape import METRES, Landscape, draw_landscape
from lsml.errors import ConfigError, DataError
from lsml.names import VERSION
from lsml.workspace import rename_durably

SCENE, DEM, MASK, POLYGONS = "scene.tif", "dem.tif", "mask.tif", "landslides.geojson"

_STREAM = 11
"""Keeps draws apart from those of patches and regions of the same seed."""
_CRS, _WEST, _NORTH = "EPSG:32645", 500_000.0, 3_100_000.0
_FRAME = 2
"""Pixels of the DEM around the scene, whose slope at the edges is made of them."""
_LEAST, _MOST = 128, 2**25
"""Pixels of a side, and of all of a scene, which is drawn as a whole."""
_STRIP = 256
_DECIMALS = 7


def synthesize_scene(
    out: Path, *, height: int, width: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes a folder with a scene of one landscape, without seams; or nothing.

    `scene.tif` has Landslide4Sense's twelve spectral bands by name, reflectance x 10,000 as uint16, on pixels of 10 m
    of UTM; `dem.tif` elevations in metres, float32; `mask.tif` 1 for landslide and 0 for none; `landslides.geojson` the
    same as polygons in longitude and latitude; `synthetic.json` says what they are. It is drawn from the distributions
    of test patches and holds none of them.

    Args:
        out: a folder that does not exist yet, or is empty.
        height, width: in pixels, 128 at least, and 2**25 in all at most: each takes up to 200 bytes of memory.
        seed: the same seed and size write the same values.
        progress: called with (rows written, rows in all).

    Raises:
        ConfigError: a size or a seed that cannot be.
        DataError: `out` already holds something, or cannot be written.
    """
    if min(height, width) < _LEAST or height * width > _MOST or seed < 0:
        fix = f"give sides of at least {_LEAST}, at most {_MOST:,} pixels in all, and a seed of at least 0"
        raise ConfigError("synthetic scene", f"{height} x {width} pixels with seed {seed}", fix)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"synthetic scene {out}", "already exists", "choose another folder")
    rng = np.random.default_rng([seed, _STREAM])
    (domain,) = domains({"test": 1})["test"]
    landscape = draw_landscape(rng, (height + 2 * _FRAME, width + 2 * _FRAME), domain)
    made_by = {"made_by": f"lsml {VERSION}", "seed": seed, "height": height, "width": width}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            unfinished = Path(staging) / "scene"
            unfinished.mkdir()
            _write_bands(unfinished / SCENE, landscape, rng, progress)
            _write(unfinished / DEM, landscape.elevation.astype(np.float32), _FRAME, "elevation")
            mask = (_inner(landscape.landslides) > 0).astype(np.uint8)
            _write(unfinished / MASK, mask, 0, "landslide")
            _write_polygons(unfinished / POLYGONS, mask)
            (unfinished / MARK).write_text(json.dumps(made_by), encoding="utf-8")
            rename_durably(unfinished, out)
    except (OSError, RasterioError) as error:
        why = f"cannot be written ({getattr(error, 'strerror', None) or error})"
        fix = f"free {height * width * 34 / 1e6:.0f} MB there or choose another folder"
        raise DataError(f"synthetic scene {out}", why, fix) from None


def _inner(array: np.ndarray) -> np.ndarray:
    """Without the frame."""
    return array[_FRAME:-_FRAME, _FRAME:-_FRAME]


def _transform(frame: int = 0) -> rasterio.Affine:
    return rasterio.Affine(METRES, 0, _WEST - frame * METRES, 0, -METRES, _NORTH + frame * METRES)


def _profile(array_shape: tuple[int, int], count: int, dtype: str, frame: int) -> dict[str, Any]:
    shape = {"height": array_shape[0], "width": array_shape[1], "count": count, "dtype": dtype}
    place = {"crs": _CRS, "transform": _transform(frame)}
    return {"driver": "GTiff", "tiled": True, "compress": "deflate", "zlevel": 1, **shape, **place}


def _write_bands(
    path: Path, landscape: Landscape, rng: np.random.Generator, progress: Callable[[int, int], None] | None
) -> None:
    spectral = [band for band in LANDSLIDE4SENSE.bands if band.role not in (SLOPE, ELEVATION)]
    height, width = _inner(landscape.slope).shape
    with rasterio.open(path, "w", interleave="band", **_profile((height, width), len(spectral), "uint16", 0)) as file:
        for number, band in enumerate(spectral, start=1):
            file.set_band_description(number, band.name)
        for rows in _strips(height):
            seen = landscape.picture(rng, slice(rows.start + _FRAME, rows.stop + _FRAME))[:, _FRAME:-_FRAME]
            stored = np.moveaxis(np.rint(seen).clip(0, 65_535).astype(np.uint16), -1, 0)
            file.write(stored, window=Window(0, rows.start, width, rows.stop - rows.start))
            if progress is not None:
                progress(rows.stop, height)


def _strips(height: int) -> Iterator[slice]:
    return (slice(row, min(row + _STRIP, height)) for row in range(0, height, _STRIP))


def _write(path: Path, values: np.ndarray, frame: int, description: str) -> None:
    height, width = values.shape
    with rasterio.open(path, "w", **_profile((height, width), 1, values.dtype.name, frame)) as file:
        file.write(values, 1)
        file.set_band_description(1, description)


def _write_polygons(path: Path, mask: np.ndarray) -> None:
    """By RFC 7946; pixels that share an edge are one landslide."""
    features = [
        {
            "type": "Feature",
            "properties": {"id": number},
            "geometry": transform_geom(_CRS, "EPSG:4326", outline, precision=_DECIMALS),
        }
        for number, (outline, _) in enumerate(shapes(mask, mask=mask > 0, transform=_transform()), start=1)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
