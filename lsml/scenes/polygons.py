"""The landslides of a map as polygons with area and mean probability: a GeoPackage and GeoJSON, which QGIS opens."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from rasterio.features import shapes
from scipy import ndimage

from lsml.errors import ConfigError, DataError
from lsml.scenes.degrees import all_continuous, areas_of, as_geojson_texts, box_of
from lsml.scenes.maps import NODATA, STEPS, UNCERTAIN, Unfinished, level_of

GEOPACKAGE, GEOJSON = "landslides.gpkg", "landslides.geojson"
_LAYER = "landslides"
_DENSE = 16
"""Pixels: edges are cut into pieces of this length where areas are measured, as a parallel is no straight line."""
_TOGETHER, _WRITTEN_TOGETHER = 256, 10_000
"""Polygons that are worked on in one call, and put into a GeoPackage: memory is not that of all as bytes."""
_WRITTEN = "1970-01-01T00:00:00.000Z"
"""When a GeoPackage says that it was made: always the same, so that the same map gives the same bytes."""


def check_installed(otherwise: str = "") -> None:
    """Raises ConfigError where a package that polygons are made with is missing; `otherwise` is what can be done."""
    for name in ("shapely", "pyproj", "pyogrio"):
        try:
            import_module(name)
        except ImportError:
            fix = f"pip install 'lsml[scenes]'{otherwise}"
            raise ConfigError("polygons", f"{name} is not installed", fix) from None


@dataclass(slots=True)
class _Area:
    """A part of the map of pixels that are landslide and share edges, in one strip of it or in all.

    Attributes:
        pixels, total, deviation: how many, and the sums of their stored probabilities and deviations.
        top, left, bottom, right: the rows and columns that hold it, the last ones excluded.
        first: row and column of one of its pixels.
        outline: along its pixels' edges, in columns and rows of the map, as WKB, which takes half the memory of
            shapely's polygon; None where it reaches the edge of a strip.
    """

    pixels: int
    total: int
    deviation: int
    top: int
    left: int
    bottom: int
    right: int
    first: tuple[int, int]
    outline: bytes | None = None

    def join(self, other: "_Area") -> None:
        """Takes in another, which it touches."""
        self.pixels += other.pixels
        self.total += other.total
        self.deviation += other.deviation
        self.top, self.left = min(self.top, other.top), min(self.left, other.left)
        self.bottom, self.right = max(self.bottom, other.bottom), max(self.right, other.right)
        self.first = min(self.first, other.first)


def _areas(unfinished: Unfinished, level: int) -> list[_Area]:
    """All areas of a map, found strip by strip: what touches across the border of two strips is one."""
    areas: list[_Area] = []
    parents: list[int] = []

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = place = parents[parents[place]]
        return place

    above = np.full(unfinished.shape[1], -1)
    deviations = unfinished.strips("deviation") if unfinished.layers == UNCERTAIN else itertools.repeat((0, None))
    for (row, strip), (_, spread) in zip(unfinished.strips(), deviations, strict=False):
        labels, count = ndimage.label(_landslide(strip, level))
        found = _of_strip(strip, spread, labels, count, row)
        offset = len(areas)
        parents.extend(range(offset, offset + count))
        areas.extend(found)
        here = np.where(labels[0] > 0, labels[0] + offset - 1, -1)
        both = (above >= 0) & (here >= 0)
        for one, other in {(root(int(a)), root(int(b))) for a, b in zip(above[both], here[both], strict=True)}:
            one, other = sorted((root(one), root(other)))
            if one != other:
                areas[one].join(areas[other])
                parents[other] = one
        above = np.where(labels[-1] > 0, labels[-1] + offset - 1, -1)
    return [area for place, area in enumerate(areas) if parents[place] == place]


def _landslide(probability: np.ndarray, level: int) -> np.ndarray:
    return (probability >= level) & (probability != NODATA)


def _of_strip(
    strip: np.ndarray, spread: np.ndarray | None, labels: np.ndarray, count: int, row: int
) -> Iterator[_Area]:
    """The areas of a strip that begins at a row of the map, in the order of their labels from 1."""
    inside = labels > 0
    own = labels[inside]
    pixels = np.bincount(own, minlength=count + 1)
    totals = np.bincount(own, strip[inside], minlength=count + 1)
    deviations = np.zeros(count + 1) if spread is None else np.bincount(own, spread[inside], minlength=count + 1)
    outlines = _outlines(labels, row)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        first = columns.start + int(np.argmax(labels[rows.start, columns] == label))
        box = (row + rows.start, columns.start, row + rows.stop, columns.stop)
        sums = int(pixels[label]), int(totals[label]), int(deviations[label])
        yield _Area(*sums, *box, (row + rows.start, first), outlines.get(label))


def _outlines(labels: np.ndarray, row: int) -> dict[int, bytes]:
    """By label, as WKB, those of the areas that reach neither the first nor the last row of a strip, in one call."""
    import shapely

    within = np.ones(labels.max() + 1, bool)
    within[0] = False
    within[labels[[0, -1]]] = False
    place = rasterio.Affine.translation(0, row)
    drawn = shapes(labels.astype(np.int32, copy=False), within[labels], connectivity=4, transform=place)
    outlines = {int(label): outline["coordinates"] for outline, label in drawn}
    return dict(zip(outlines, shapely.to_wkb(_polygons([*outlines.values()])), strict=True))


def _polygons(outlines: Sequence[Sequence[Any]]) -> np.ndarray:
    """Of the rings of each, the outer one first, `(N,)`."""
    import shapely

    rings = [ring for outline in outlines for ring in outline]
    places = np.array([place for ring in rings for place in ring], float).reshape(-1, 2)
    made = shapely.linearrings(places, indices=np.repeat(np.arange(len(rings)), [*map(len, rings)]))
    return shapely.polygons(made, indices=np.repeat(np.arange(len(outlines)), [*map(len, outlines)]))


class Landslide(NamedTuple):
    """What was found of one.

    Attributes:
        own_wkb, degrees_wkb: its polygon in the scene's coordinates, and in degrees on WGS 84, as `continuous` gives
            it; as WKB, as there may be hundreds of thousands.
        area: on the ellipsoid, in square metres.
        mean: of its pixels' probabilities, 0..1.
        pixels: how many.
        uncertainty: mean standard deviation of their probabilities, 0...5; None where it is not known.
    """

    own_wkb: bytes
    degrees_wkb: bytes
    area: float
    mean: float
    pixels: int
    uncertainty: float | None

    @property
    def own(self) -> Any:
        """Its polygon in the scene's coordinates."""
        import shapely

        return shapely.from_wkb(self.own_wkb)

    @property
    def degrees(self) -> Any:
        """Its polygon in degrees."""
        import shapely

        return shapely.from_wkb(self.degrees_wkb)

    def properties(self, number: int) -> dict[str, Any]:
        """What both files say of it; the bounding box in degrees, west being more than east across the antimeridian."""
        west, south, east, north = box_of(self.degrees)
        return {
            "id": number,
            "area_m2": round(self.area, 1),
            "mean_probability": round(self.mean, 4),
            **({} if self.uncertainty is None else {"mean_uncertainty": round(self.uncertainty, 4)}),
            "pixels": self.pixels,
            **{"west": west, "south": south, "east": east, "north": north},
        }


def _features(
    unfinished: Unfinished,
    level: int,
    *,
    crs: "rasterio.CRS",
    transform: rasterio.Affine,
    min_area: float,
    progress: Callable[[int, int], None],
) -> list[Landslide]:
    """The landslides of a map from a size on, the largest first."""
    import pyproj
    import shapely

    turn = pyproj.Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True).transform
    longest = _DENSE * abs(transform.determinant) ** 0.5

    def in_degrees(polygons: np.ndarray) -> np.ndarray:
        return shapely.transform(polygons, turn, interleaved=False)

    def in_place(polygons: np.ndarray) -> np.ndarray:
        return shapely.transform(polygons, lambda x, y: transform @ (x, y), interleaved=False)

    features: list[Landslide] = []
    # Once: rasterio would set one up, and take it down, for each polygon.
    with rasterio.Env():
        areas = _areas(unfinished, level)
        areas.reverse()
        count = len(areas)
        while areas:
            # Taken away, so that their memory is the landslides'.
            group, areas[-_TOGETHER:] = areas[: -_TOGETHER - 1 : -1], []
            outlines = [area.outline or _outline(unfinished, level, area) for area in group]
            own = in_place(shapely.from_wkb(np.array(outlines, object)))
            broken = ~shapely.is_valid(own)
            own[broken] = shapely.make_valid(own[broken])
            own = shapely.orient_polygons(own)
            sizes = areas_of(in_degrees(shapely.segmentize(own, longest))).tolist()
            degrees = shapely.to_wkb(all_continuous(in_degrees(own)))
            for area, polygon, turned, size in zip(group, shapely.to_wkb(own), degrees, sizes, strict=True):
                if size >= min_area:
                    mean, spread = (total / area.pixels / STEPS for total in (area.total, area.deviation))
                    uncertainty = spread if unfinished.layers == UNCERTAIN else None
                    features.append(Landslide(polygon, turned, size, mean, area.pixels, uncertainty))
            progress(count - len(areas), count)
    return sorted(features, key=lambda feature: -feature.area)


def _outline(unfinished: Unfinished, level: int, area: _Area) -> bytes:
    """That of an area, with its holes, in columns and rows of the map, as WKB."""
    import shapely

    rows = unfinished.read(first=area.top, last=area.bottom)
    labels, _ = ndimage.label(_landslide(rows[:, area.left : area.right], level))
    own = labels == labels[area.first[0] - area.top, area.first[1] - area.left]
    place = rasterio.Affine.translation(area.left, area.top)
    ((outline, _),) = shapes(own.astype(np.uint8), mask=own, connectivity=4, transform=place)
    return bytes(shapely.to_wkb(_polygons([outline["coordinates"]])[0]))


def write_polygons(
    unfinished: Unfinished,
    threshold: float,
    out: Path,
    *,
    grid: Mapping[str, Any],
    facts: Mapping[str, str],
    min_area: float,
    progress: Callable[[int, int], None],
) -> list[Landslide]:
    """Writes `landslides.gpkg`, in the scene's coordinate system, and `landslides.geojson`, by RFC 7946 in degrees.

    Their polygons follow the edges of the mask's pixels: rasterised again they are the mask. Pixels that share an edge
    are one landslide. Besides the map, memory is that of the largest landslide's bounding box and of all polygons.

    Args:
        unfinished, threshold, grid, facts: as of `lsml.scenes.maps.write_maps`.
        min_area: square metres; smaller ones are left out.
        progress: hears how many outlines of how many are drawn.

    Returns:
        The landslides, the largest first.

    Raises:
        DataError: a file cannot be written.
    """
    crs = rasterio.CRS.from_user_input(grid["crs"])
    options: dict[str, Any] = {"crs": crs, "transform": grid["transform"], "min_area": min_area, "progress": progress}
    features = _features(unfinished, level_of(threshold), **options)
    facts = {**facts, "min_area_m2": f"{min_area:g}", "smoothing": "none"}
    try:
        uncertainty = 0.0 if unfinished.layers == UNCERTAIN else None
        _write_geopackage(unfinished.folder / GEOPACKAGE, features, crs.to_wkt(), facts, uncertainty)
        _write_geojson(unfinished.folder / GEOJSON, features, facts)
        for name in (GEOPACKAGE, GEOJSON):
            copied = shutil.copyfile(unfinished.folder / name, out / f"{name}.partial")
            copied.replace(out / name)
    except (OSError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or str(error).splitlines()[0]
        fix = "free space or give another --out; the same command resumes"
        raise DataError(f"polygons in {out}", f"cannot be written: {said}", fix) from None
    return features


def _write_geopackage(
    path: Path, features: Sequence[Landslide], crs: str, facts: Mapping[str, str], uncertainty: float | None
) -> None:
    import pyogrio
    import pyogrio.raw
    import shapely

    kinds = {"id": np.int64, "pixels": np.int64}
    names = [*Landslide(b"", shapely.to_wkb(shapely.box(0, 0, 1, 1)), 0, 0, 0, uncertainty).properties(0)]
    path.unlink(missing_ok=True)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
    # An empty layer is one too.
    for start in range(0, max(len(features), 1), _WRITTEN_TOGETHER):
        part = features[start : start + _WRITTEN_TOGETHER]
        rows = [feature.properties(number) for number, feature in enumerate(part, start=start + 1)]
        pyogrio.raw.write(
            path,
            np.array([feature.own_wkb for feature in part], object),
            [np.array([row[name] for row in rows], kinds.get(name, np.float64)) for name in names],
            names,
            layer=_LAYER,
            driver="GPKG",
            geometry_type="MultiPolygon",
            promote_to_multi=True,
            crs=crs,
            append=start > 0,
            **({} if start else {"layer_metadata": dict(facts)}),
        )


def _write_geojson(path: Path, features: Sequence[Landslide], facts: Mapping[str, str]) -> None:
    """A feature a line; what the file says of itself is its member `lsml`."""
    import shapely

    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"type": "FeatureCollection", "lsml": {json.dumps(facts)}, "features": [')
        for start in range(0, len(features), _TOGETHER):
            part = features[start : start + _TOGETHER]
            polygons = shapely.from_wkb(np.array([feature.degrees_wkb for feature in part], object))
            outlines = as_geojson_texts(polygons)
            for number, (feature, outline) in enumerate(zip(part, outlines, strict=True), start=start + 1):
                properties = feature.properties(number)
                entry = {
                    "type": "Feature",
                    "id": number,
                    "bbox": [properties[name] for name in ("west", "south", "east", "north")],
                    "properties": properties,
                }
                file.write(f'{"," if number > 1 else ""}\n{json.dumps(entry)[:-1]}, "geometry": {outline}}}')
        file.write("\n]}\n")
