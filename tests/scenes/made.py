"""GeoTIFF scenes for tests, with values and places that are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, SLOPE
from lsml.data.synthetic import synthetic_patch
from tests.processes import lsml

NORTH_UP = Affine(10, 0, 500_000, 0, -10, 3_100_000)
"""Pixels of 10 m, west to east and north to south."""


_REGION = """
name: region
data: {path: patches}
base:
  model: {filters: 4, depth: 2}
  training: {epochs: 3, batch_size: 4, learning_rate: 5e-3}
space:
  loss.jaccard: {low: 0.0, high: 1.0}
study: {trials: 1, seed: 7, pruner: none}
"""


def run_commands(folder: Path, *commands: Sequence[str]) -> None:
    """One after the other in a folder with `region.yaml`, a study of one trial on `patches`; each has to succeed."""
    (folder / "region.yaml").write_text(_REGION)
    for command in commands:
        done = lsml(folder, *command)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def write_scene(
    path: Path,
    bands: np.ndarray,
    *,
    names: Sequence[str] = (),
    crs: str | None = "EPSG:32645",
    transform: Affine = NORTH_UP,
    **options: Any,
) -> Path:
    """A GeoTIFF of bands `(C, H, W)`, in zone 45 of UTM on the northern half if nothing else is said."""
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape, **options) as file:
        file.write(bands)
        for number, name in enumerate(names, start=1):
            file.set_band_description(number, name)
    return path


def write_sentinel(folder: Path, side: int = 300, **options: Any) -> tuple[Path, Path]:
    """Twelve bands as uint16, reflectance x 10,000, of repeated synthetic patches; and elevations in metres, 30 m wide.

    The scene's bands are named `B01` to `B12` and stand in the reverse of Landslide4Sense's order.
    """
    across = -(-side // 128)
    rows = [
        np.concatenate([synthetic_patch("test", 1 + row * across + column)[0] for column in range(across)], axis=1)
        for row in range(across)
    ]
    physical = LANDSLIDE4SENSE.physical(np.concatenate(rows)[:side, :side])
    spectral = [n for n, band in enumerate(LANDSLIDE4SENSE.bands) if band.role not in (SLOPE, ELEVATION)]
    names = [f"B{n + 1:02d}" for n in spectral]
    scene = np.rint(np.moveaxis(physical[..., spectral[::-1]], -1, 0)).astype(np.uint16)
    path = write_scene(folder / "scene.tif", scene, names=names[::-1], **options)
    rows, columns = np.indices((side // 3 + 20, side // 3 + 20))
    hills = (1200 + 200 * np.sin(rows / 8) + 150 * np.cos(columns / 6)).astype(np.float32)
    place = Affine(30, 0, 499_800, 0, -30, 3_100_200)
    return path, write_scene(folder / "dem.tif", hills[None], transform=place)


def read(path: Path) -> np.ndarray:
    """The first band of a raster."""
    with rasterio.open(path) as file:
        return file.read(1)
