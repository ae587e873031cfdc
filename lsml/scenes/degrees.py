"""Outlines in longitude and latitude, also where they cross the antimeridian or hold a pole, as GeoJSON has them."""

import json
import math
from typing import Any

import numpy as np

DECIMALS = 7
"""Of degrees: a centimetre."""


def continuous(polygon: Any) -> Any:
    """A polygon of longitudes and latitudes without a jump at the antimeridian: longitudes go on beyond 180 degrees.

    One that holds a pole reaches around all longitudes and up to it. Exteriors run against the clock.

    Args:
        polygon: of one part or several, whose neighbouring points are less than 180 degrees of longitude apart.
    """
    import shapely

    parts: list[Any] = []
    middle = None
    for part in shapely.get_parts(polygon):
        rings = [_unrolled(shapely.get_coordinates(ring)) for ring in (part.exterior, *part.interiors)]
        middle = rings[0][:, 0].mean() if middle is None else middle
        for ring in rings:
            # All on the same turn around the Earth.
            ring[:, 0] += 360 * np.round((middle - ring[:, 0].mean()) / 360)
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return shapely.orient_polygons(whole)


def all_continuous(polygons: np.ndarray) -> np.ndarray:
    """Each as `continuous` gives it, `(N,)`; those that are less than 180 degrees wide have no jump."""
    import shapely

    found = shapely.orient_polygons(polygons)
    west, _, east, _ = shapely.bounds(polygons).T
    for place in np.flatnonzero((east - west >= 180) | (shapely.get_num_geometries(polygons) > 1)):
        found[place] = continuous(polygons[place])
    return found


def areas_of(polygons: np.ndarray) -> np.ndarray:
    """Square metres on the ellipsoid of WGS 84 of polygons of one place in degrees, float64 `(N,)`.

    Around the pole of their hemisphere there is no antimeridian to cross. Edges are straight on that map, which differs
    from a geodesic by a millimetre in 160 m.
    Source: Lambert's azimuthal equal-area projection of an ellipsoid, Snyder 1987, "Map projections", section 24.
    """
    import pyproj
    import shapely

    south = shapely.get_coordinates(polygons)[:, 1].mean() < 0
    flat = pyproj.Proj(f"+proj=laea +ellps=WGS84 +lat_0={-90 if south else 90}")
    return shapely.area(shapely.transform(polygons, flat, interleaved=False))


def _unrolled(ring: np.ndarray) -> np.ndarray:
    """A ring `(N, 2)` without a jump; around a pole it is closed by way of that."""
    longitudes = np.unwrap(ring[:, 0], period=360)
    unrolled = np.column_stack([longitudes, ring[:, 1]])
    if abs(longitudes[-1] - longitudes[0]) < 180:
        return unrolled
    pole = math.copysign(90, ring[:, 1].mean())
    return np.vstack([unrolled, [longitudes[-1], pole], [longitudes[0], pole], unrolled[0]])


def as_geojson(polygon: Any) -> dict[str, Any]:
    """The geometry of what `continuous` gives, by RFC 7946: cut in two at the antimeridian.

    Coordinates are rounded to a centimetre.
    """
    import shapely

    west, _, east, _ = polygon.bounds
    if -180 <= west <= east <= 180 and polygon.geom_type == "Polygon":
        return _plain(shapely.transform(polygon, _rounded))
    pieces = []
    for turn in range(math.floor((west + 180) / 360), math.ceil((east + 180) / 360)):
        piece = shapely.intersection(polygon, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90))
        areas = [part for part in shapely.get_parts(piece) if part.geom_type == "Polygon"]
        pieces += [shapely.transform(part, lambda places, by=360 * turn: places - (by, 0)) for part in areas]
    # What was cut where the ring around a pole begins is one again.
    whole = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    return _plain(shapely.transform(shapely.orient_polygons(whole), _rounded))


def as_geojson_texts(polygons: np.ndarray) -> np.ndarray:
    """Of each the text of what `as_geojson` gives, `(N,)`."""
    import shapely

    west, _, east, _ = shapely.bounds(polygons).T
    plain = (west >= -180) & (east <= 180) & (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON)
    texts = np.empty(len(polygons), object)
    texts[plain] = shapely.to_geojson(shapely.transform(polygons[plain], _rounded))
    texts[~plain] = [json.dumps(as_geojson(polygon)) for polygon in polygons[~plain]]
    return texts


def _rounded(places: np.ndarray) -> np.ndarray:
    return places.round(DECIMALS)


def _plain(polygon: Any) -> dict[str, Any]:
    import shapely

    rings = [[shapely.get_coordinates(ring).tolist() for ring in (part.exterior, *part.interiors)]
             for part in shapely.get_parts(polygon)]  # fmt: skip
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def box_of(polygon: Any) -> tuple[float, float, float, float]:
    """West, south, east and north of what `continuous` gives, each in -180..180 or -90..90.

    West is more than east where the antimeridian lies between them (RFC 7946, 5.2).
    """
    west, south, east, north = polygon.bounds
    if east - west >= 360:
        west, east = -180.0, 180.0
    elif not -180 <= west <= east <= 180:
        west, east = (west + 180) % 360 - 180, 180 - (180 - east) % 360
    return tuple(round(value, DECIMALS) for value in (west, south, east, north))


def middle_of(polygon: Any) -> tuple[float, float]:
    """Longitude and latitude of the middle of the box of what `continuous` gives."""
    west, south, east, north = polygon.bounds
    return ((west + east) / 2 + 180) % 360 - 180, (south + north) / 2
