"""Polygons that somebody mapped, of any format and coordinate system, drawn on the grid of a scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.features import rasterize

from lsml.errors import DataError


class Polygons(NamedTuple):
    """Outlines in a file, and their coordinate system as WKT or a code."""

    path: Path
    outlines: np.ndarray
    crs: str

    @classmethod
    def of(cls, path: Path, layer: str | None = None) -> "Polygons":
        """The polygons in a file of any format that OGR reads.

        Args:
            layer: of several; without a name there has to be one.

        Raises:
            DataError: it cannot be read, says no coordinate system, or holds no polygons or something else.
        """
        import pyogrio
        import pyogrio.raw
        import shapely
        from pyogrio.errors import DataLayerError, DataSourceError

        what = f"polygons {path}"
        try:
            layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind]
            if layer is None and len(layers) > 1:
                raise DataError(what, f"has the layers {', '.join(layers[:8])}", "name one with --layer")
            meta, _, content, _ = pyogrio.raw.read(path, layer=layer or 0, columns=[], force_2d=True)
        except (DataLayerError, DataSourceError, OSError, ValueError) as error:
            # What comes after the first sentence is advice to programmers.
            why = str(error).splitlines()[0].partition(".; ")[0]
            raise DataError(what, f"cannot be read: {why}", "give a file that OGR reads, such as GeoPackage") from None
        if content is None or not meta["crs"]:
            lacking = "coordinate system" if content is not None else "geometry"
            raise DataError(what, f"says no {lacking}", "write it in a format that does, such as GeoPackage")
        outlines = shapely.from_wkb([one for one in content if one is not None])
        outlines = outlines[~shapely.is_empty(outlines)]
        kinds = {str(one.geom_type) for one in outlines}
        if wrong := sorted(kinds - {"Polygon", "MultiPolygon"}):
            raise DataError(what, f"holds {', '.join(wrong)}", "give polygons alone")
        if not len(outlines):
            raise DataError(what, "holds no polygon", "give one with the landslides of the scenes")
        return cls(path, outlines, meta["crs"])


class Outlines:
    """Polygons in the coordinates of a scene, to be drawn square by square.

    Attributes:
        met: the places of those that touched a square, among all.
    """

    def __init__(self, given: Sequence[Polygons], scene: "rasterio.DatasetReader") -> None:
        import pyproj
        import shapely

        parts = []
        for polygons in given:
            turn = pyproj.Transformer.from_crs(polygons.crs, scene.crs.to_wkt(), always_xy=True).transform
            parts.append(shapely.transform(polygons.outlines, turn, interleaved=False))
        self._outlines = np.concatenate(parts)
        # Those far away have no place in the scene's coordinates.
        placed = np.isfinite(shapely.bounds(self._outlines)).all(axis=1)
        self._outlines[~placed] = shapely.Polygon()
        self._tree = shapely.STRtree(self._outlines)
        self.met: set[int] = set()

    def draw(self, transform: rasterio.Affine, size: int) -> np.ndarray:
        """bool `(size, size)`: the pixels whose middle lies in one; notes which meet the square in `met`."""
        import shapely

        corners = [transform @ corner for corner in ((0, 0), (size, 0), (size, size), (0, size))]
        places = self._tree.query(shapely.Polygon(corners), predicate="intersects")
        if not len(places):
            return np.zeros((size, size), bool)
        self.met.update(places.tolist())
        return rasterize(self._outlines[places], (size, size), transform=transform, dtype=np.uint8) > 0
