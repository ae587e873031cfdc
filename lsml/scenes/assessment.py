"""Points on a mask for people to look at, drawn at random within its two classes, and what they said of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform as to_system
from rasterio.windows import Window

from lsml.data.arrays import unreadable
from lsml.data.formats import opened
from lsml.errors import DataError
from lsml.scenes.terrain import check_place, pixel_areas
from lsml.workspace import replace_whole, sha256_of

CLASSES = ("landslide", "not landslide")
"""Of a mask, in the order of everything that is counted of them: pixels of 1, and pixels of 0."""

_STRIP = 512
_DECIMALS = 7
_DIGITS = 12
"""Of the mask's SHA-256, which each point carries: programs keep what a feature says, not what a file does."""
_FIX = "draw points of this mask: lsml map assess MASK"


@dataclass(frozen=True)
class Mask:
    """A mask of a scene, as counts.

    Attributes:
        path: of the GeoTIFF.
        counts: pixels of each class by row, int64 `(H, 2)`.
        pixels: square metres of a pixel by row, float64 `(H,)`.
    """

    path: Path
    counts: np.ndarray
    pixels: np.ndarray

    @classmethod
    def of(cls, path: Path) -> "Mask":
        """The mask in the first band of a GeoTIFF, read strip by strip.

        Raises:
            DataError: it cannot be read or placed, holds other values than 0, 1 and nodata, or but one of the classes.
        """
        with opened(path) as file:
            check_place(path, file)
            strips = [
                Window(0, row, file.width, min(_STRIP, file.height - row)) for row in range(0, file.height, _STRIP)
            ]
            counts = np.concatenate([_counts(_read(path, file, strip)) for strip in strips])
            pixels = pixel_areas(file)
        for name, pixels_of_class in zip(CLASSES, counts.sum(axis=0), strict=True):
            if pixels_of_class < 2:
                why = f"holds {pixels_of_class} pixels of {name}, and an estimate takes 2 points of each class at least"
                raise DataError(f"mask {path}", why, "give a mask with both classes")
        return cls(path, counts, pixels)

    @property
    def areas(self) -> tuple[float, float]:
        """Of both classes, in square metres."""
        landslide, other = self.pixels @ self.counts
        return float(landslide), float(other)

    def write_points(self, out: Path, points: tuple[int, int], *, seed: int) -> tuple[int, int]:
        """Writes a GeoJSON of random points, in random order, that do not say what the mask says of them.

        Within a class every place is as likely as every other; no pixel is taken twice, and of a class that has fewer
        pixels than points all are taken.

        Returns:
            How many points of each class there are.

        Raises:
            DataError: the mask cannot be read, or the file is there already or cannot be written.
        """
        if out.exists():
            raise DataError(f"points {out}", "already exists", "choose another --out; what was labelled stays")
        rng = np.random.default_rng(seed)
        places = [self._draw(rng, place, count) for place, count in enumerate(points)]
        drawn = rng.permutation(np.concatenate(places))
        content = json.dumps(self._collection(drawn, seed), indent=1).encode()
        try:
            replace_whole(out, [content])
        except OSError as error:
            raise DataError(f"points {out}", f"cannot be written: {error.strerror}", "choose another --out") from None
        return len(places[0]), len(places[1])

    def _draw(self, rng: np.random.Generator, place: int, count: int) -> np.ndarray:
        """Rows and columns of so many pixels of a class, int64 `(N, 2)`."""
        pixels = self.counts[:, place]
        if count >= pixels.sum():
            rows = np.repeat(np.arange(len(pixels)), pixels)
            ranks = np.concatenate([np.arange(number) for number in pixels])
            return self._columns(np.column_stack([rows, ranks]), place)
        weights = self.pixels * pixels
        found: dict[tuple[int, int], None] = {}
        while len(found) < count:
            row = int(rng.choice(len(pixels), p=weights / weights.sum()))
            found[row, int(rng.integers(pixels[row]))] = None
        return self._columns(np.array([*found]), place)

    def _columns(self, places: np.ndarray, place: int) -> np.ndarray:
        """Rows and columns of the pixels of a class that are the n-th of their rows, from 0."""
        with opened(self.path) as file:
            found = []
            # In the order of rows, as blocks of the file hold several.
            for row, rank in sorted(map(tuple, places.tolist())):
                values = _read(self.path, file, Window(0, row, file.width, 1))[0]
                found.append((row, np.flatnonzero(values == 1 - place)[rank]))
        return np.array(found)

    def _collection(self, drawn: np.ndarray, seed: int) -> dict[str, Any]:
        with opened(self.path) as file:
            x, y = rasterio.transform.xy(file.transform, drawn[:, 0], drawn[:, 1])
            longitudes, latitudes = to_system(file.crs, "EPSG:4326", x, y)
        mask = sha256_of(self.path)[:_DIGITS]
        features = [
            {
                "type": "Feature",
                "id": number,
                "geometry": {"type": "Point", "coordinates": [round(longitude, _DECIMALS), round(latitude, _DECIMALS)]},
                "properties": {"id": number, "label": None, "row": int(row), "column": int(column), "mask": mask},
            }
            for number, ((row, column), longitude, latitude) in enumerate(
                zip(drawn, longitudes, latitudes, strict=True), start=1
            )
        ]
        return {"type": "FeatureCollection", "lsml": {"seed": seed, "mask": self.path.name}, "features": features}

    def count_labels(self, path: Path) -> np.ndarray:
        """Labelled points by class of the mask (rows) and what people saw (columns), int64 `(2, 2)`.

        Raises:
            DataError: no GeoJSON of points of this mask, one without a label, or fewer than 2 of a class.
        """
        counts, name = np.zeros((2, 2), np.int64), f"points {path}"
        digits = sha256_of(self.path)[:_DIGITS]
        with opened(self.path) as file:
            for number, point in enumerate(_properties(path), start=1):
                row, column = (_whole(point, key, name, number) for key in ("row", "column"))
                inside = 0 <= row < file.height and 0 <= column < file.width
                if point.get("mask") != digits or not inside:
                    raise DataError(name, f"point {number} is not one of {self.path}", _FIX)
                mapped = int(_read(self.path, file, Window(column, row, 1, 1))[0, 0])
                if mapped not in (0, 1):
                    raise DataError(name, f"point {number} is where {self.path} has no value", _FIX)
                counts[1 - mapped, 1 - _label(point, name, number)] += 1
        for points, mapped_class in zip(counts.sum(axis=1), CLASSES, strict=True):
            if points < 2:
                why = f"{points} points of what the mask calls {mapped_class}, and an estimate takes 2 at least"
                raise DataError(name, why, _FIX)
        return counts


def _read(path: Path, file: "rasterio.DatasetReader", window: Window) -> np.ndarray:
    """A part of a mask, uint8 `(rows, columns)` of 0, 1, and 255 for none.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        values = file.read(1, window=window)
    except (OSError, RasterioError) as error:
        raise unreadable(path, error) from None
    known = np.isin(values, (0, 1)) & (values != file.nodata)
    strange = ~known & (values != file.nodata)
    if strange.any():
        why = f"holds {values[strange][0]:g}, where a mask has 1 for landslide and 0 for none"
        raise DataError(f"mask {path}", why, "give the mask.tif of lsml predict")
    return np.where(known, values, 255).astype(np.uint8)


def _counts(strip: np.ndarray) -> np.ndarray:
    """Pixels of both classes by row, `(rows, 2)`."""
    return np.stack([(strip == 1).sum(axis=1), (strip == 0).sum(axis=1)], axis=1)


def _properties(path: Path) -> list[Mapping[str, Any]]:
    """What a GeoJSON says of each of its features.

    Raises:
        DataError: it cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["features"]
        return [dict(feature["properties"]) for feature in found]
    except OSError as error:
        raise DataError(f"points {path}", f"cannot be read: {error.strerror}", "check the path") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"points {path}", "is no GeoJSON of features", _FIX) from None


def _whole(point: Mapping[str, Any], key: str, name: str, number: int) -> int:
    value = point.get(key)
    if not isinstance(value, int) and not (isinstance(value, float) and value.is_integer()):
        raise DataError(name, f"point {number} has no {key}", _FIX)
    return int(value)


_LABELS = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0, CLASSES[0]: 1, CLASSES[1]: 0}


def _label(point: Mapping[str, Any], name: str, number: int) -> int:
    """1 for landslide, 0 for none."""
    said = point.get("label")
    if said is None or said == "":
        fix = "set label to 1 for landslide and 0 for none; remove points that nobody can tell"
        raise DataError(name, f"point {number} has no label", fix)
    label = _LABELS.get(str(said).strip().lower())
    if label is None:
        raise DataError(name, f"point {number} has the label {str(said)[:40]!r}", "give 1 for landslide and 0 for none")
    return label
