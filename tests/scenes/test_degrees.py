"""Outlines in degrees that cross the antimeridian, with holes and in parts, by hand."""

import json

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from lsml.scenes.degrees import all_continuous, as_geojson, as_geojson_texts, box_of, continuous, middle_of


def turned(polygon: shapely.Geometry) -> shapely.Geometry:
    """The same with every longitude in -180..180, as transformations give it."""

    def wrapped(longitudes: list[float], latitudes: list[float]) -> tuple[list[float], list[float]]:
        return (longitudes + 180) % 360 - 180, latitudes

    return shapely.transform(polygon, wrapped, interleaved=False)


def test_a_hole_stays_in_its_outline() -> None:
    """Four by four degrees from 178 on, less a hole of one by one beyond 180: 15, of which 2 * 4 lie before 180."""
    whole = shapely.Polygon(shapely.box(178, 0, 182, 4).exterior, [shapely.box(180.5, 1, 181.5, 2).exterior.coords])
    found = continuous(turned(whole))
    assert found.is_valid
    assert found.area == pytest.approx(15)
    assert box_of(found) == (178, 0, -178, 4)
    assert middle_of(found) == (180 - 360, 2)
    parts = shapely.get_parts(shape(as_geojson(found)))
    assert sorted((round(part.area, 6), len(part.interiors)) for part in parts) == [(7, 1), (8, 0)]


def test_parts_on_both_sides_are_neighbours() -> None:
    """One from 178 to 179 degrees, one from 181 to 182: the box is four degrees wide."""
    given = shapely.MultiPolygon([shapely.box(178, 0, 179, 1), shapely.box(181, 0, 182, 1)])
    found = continuous(turned(given))
    assert box_of(found) == (178, 0, -178, 1)
    assert shape(as_geojson(found)).equals(turned(given))


def test_what_crosses_nothing_stays_as_it_is() -> None:
    """Of several parts too; exteriors run against the clock."""
    given = shapely.MultiPolygon([shapely.box(1, 1, 2, 2, ccw=False), shapely.box(3, 1, 4, 2, ccw=False)])
    found = continuous(given)
    assert box_of(found) == (1, 1, 4, 2)
    assert shape(as_geojson(found)).equals(given)
    assert all(part.exterior.is_ccw for part in shapely.get_parts(shape(as_geojson(found))))


def test_many_at_once_are_what_each_is() -> None:
    """One that jumps at the antimeridian, one that runs with the clock, one of two parts."""
    parts = shapely.MultiPolygon([shapely.box(178, 0, 179, 1), shapely.box(181, 0, 182, 1)])
    given = np.array([turned(shapely.box(178, 0, 182, 4)), shapely.box(1, 1, 2, 2, ccw=False), turned(parts)], object)
    together = all_continuous(given)
    for found, polygon in zip(together, given, strict=True):
        assert found.equals_exact(continuous(polygon), 0)
    texts = as_geojson_texts(together)
    assert [json.loads(text)["type"] for text in texts] == ["MultiPolygon", "Polygon", "MultiPolygon"]
    for text, polygon in zip(texts, together, strict=True):
        assert shape(json.loads(text)).equals(shape(as_geojson(polygon)))
