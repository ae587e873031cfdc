"""Polygons of a mask: what they hold, where they lie and how large they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine
from shapely.geometry import shape

from lsml.scenes import maps
from lsml.scenes.maps import NODATA, UNCERTAIN, Unfinished
from lsml.scenes.polygons import write_polygons
from tests.scenes.made import NORTH_UP

UTM = "EPSG:32645"


def written(
    folder: Path, stored: np.ndarray, *, crs: str = UTM, transform: Affine = NORTH_UP, min_area: float = 0
) -> list[dict[str, Any]]:
    """The features of the GeoJSON that is written of stored probabilities at a threshold of .5."""
    unfinished = Unfinished(folder / "work", {}, stored.shape)
    unfinished.begin()
    unfinished.write(slice(0, len(stored)), stored[None], finished=1)
    grid = {"height": len(stored), "width": stored.shape[1], "crs": crs, "transform": transform}
    found = write_polygons(
        unfinished, 0.5, folder, grid=grid, facts={"scene": "made"}, min_area=min_area, progress=lambda *_: None
    )
    features = json.loads((folder / "landslides.geojson").read_text())["features"]
    assert len(features) == len(found)
    return features


def probabilities(rows: list[str]) -> np.ndarray:
    """Of digits that stand for tenths, and `-` for nodata."""
    values = {"-": NODATA} | {str(digit): 1000 * digit for digit in range(10)}
    return np.array([[values[letter] for letter in row] for row in rows], np.uint16)


def test_landslides_by_hand(tmp_path: Path) -> None:
    """Pixels from .5 on that share an edge are one; corners alone join nothing, and nodata is none."""
    rows = ["99900", "90900", "99906", "0000-", "05000"]
    ring, right, left = written(tmp_path, probabilities(rows))
    # Pixels of 10 m of UTM, which makes .9996 of a metre at its middle: 100 / .9996 ** 2 = 100.08 m2 each.
    assert [feature["properties"]["area_m2"] for feature in (ring, right, left)] == [800.6, 100.1, 100.1]
    assert [feature["properties"]["pixels"] for feature in (ring, right, left)] == [8, 1, 1]
    assert [feature["properties"]["mean_probability"] for feature in (ring, right, left)] == [0.9, 0.6, 0.5]
    assert [feature["id"] for feature in (ring, right, left)] == [1, 2, 3]
    # The ring has a hole; exteriors run against the clock, holes with it.
    outline = shape(ring["geometry"])
    assert (outline.exterior.is_ccw, [hole.is_ccw for hole in outline.interiors]) == (True, [False])
    assert ring["bbox"] == pytest.approx(outline.bounds)
    # Zone 45's middle is 87 degrees east; 30 m are .000305 degrees there, and 3,100,000 m north is 28.0252.
    assert outline.bounds == pytest.approx((87, 28.02498, 87.000305, 28.02525), abs=1e-5)


def test_the_uncertainty_of_a_landslide_is_the_mean_of_its_pixels(tmp_path: Path) -> None:
    """Deviations of .1, .2 and .3 on three pixels, .4 beside them: .2, in both files."""
    unfinished = Unfinished(tmp_path / "work", {}, (1, 4), UNCERTAIN)
    unfinished.begin()
    stored = np.array([[9000, 9000, 9000, 0], [1000, 2000, 3000, 4000]], np.uint16)
    unfinished.write(slice(0, 1), stored[:, None], finished=1)
    grid = {"height": 1, "width": 4, "crs": UTM, "transform": NORTH_UP}
    write_polygons(unfinished, 0.5, tmp_path, grid=grid, facts={}, min_area=0, progress=lambda *_: None)
    (feature,) = json.loads((tmp_path / "landslides.geojson").read_text())["features"]
    assert feature["properties"]["mean_uncertainty"] == 0.2
    meta, _, _, values = pyogrio.raw.read(tmp_path / "landslides.gpkg")
    assert values[meta["fields"].tolist().index("mean_uncertainty")].tolist() == [0.2]


def test_small_ones_are_left_out_and_the_file_says_so(tmp_path: Path) -> None:
    """From 200 m2 on, of areas of 800 and twice 100."""
    rows = ["99900", "90900", "99906", "0000-", "05000"]
    (ring,) = written(tmp_path, probabilities(rows), min_area=200)
    assert ring["properties"]["pixels"] == 8
    facts = json.loads((tmp_path / "landslides.geojson").read_text())["lsml"]
    assert facts == {"scene": "made", "min_area_m2": "200", "smoothing": "none"}
    assert pyogrio.read_info(tmp_path / "landslides.gpkg")["layer_metadata"] == facts


@pytest.mark.parametrize(
    "transform", [NORTH_UP, Affine.translation(5e5, 3.1e6) @ Affine.rotation(30) @ Affine.scale(10)]
)
def test_polygons_rasterised_again_are_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transform: Affine
) -> None:
    """Of blobs and noise with holes, across strips of 16 rows; each polygon is valid, and both files hold the same."""
    monkeypatch.setattr(maps, "_STRIP", 16)
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 10_001, (75, 90)).astype(np.uint16)
    stored[20:60, 30:70] = 9000
    stored[rng.random((75, 90)) < 0.1] = NODATA
    features = written(tmp_path, stored, transform=transform)
    mask = (stored >= 5000) & (stored != NODATA)
    table = pyogrio.raw.read(tmp_path / "landslides.gpkg")
    outlines = shapely.from_wkb(table[2])
    assert all(outline.is_valid for outline in outlines)
    again = rasterize(outlines, mask.shape, transform=transform, dtype="uint8")
    np.testing.assert_array_equal(again, mask)
    assert all(shape(feature["geometry"]).is_valid for feature in features)
    values = dict(zip(table[0]["fields"], table[3], strict=True))
    for name in ("id", "area_m2", "mean_probability", "pixels", "west", "north"):
        assert values[name].tolist() == [feature["properties"][name] for feature in features]
    assert sum(values["pixels"]) == mask.sum()
    means = (values["pixels"] * values["mean_probability"]).sum() / mask.sum()
    assert means == pytest.approx(stored[mask].mean() / 10_000, abs=1e-4)
    assert rasterio.CRS.from_user_input(table[0]["crs"]) == rasterio.CRS.from_string(UTM)


def cell(south: float) -> float:
    """Square metres of .1 x .1 degrees of WGS 84 from a latitude on.

    Between two parallels b**2 dlon / 2 * [s / (1 - e2 s**2) + atanh(e s) / e], s being the sine of the latitude.
    """
    e2, b = 0.00669437999014, 6_356_752.314245
    e = e2**0.5

    def up_to(latitude: float) -> float:
        s = np.sin(np.radians(latitude))
        return s / (1 - e2 * s * s) + np.arctanh(e * s) / e

    return b**2 * np.radians(0.1) / 2 * (up_to(south + 0.1) - up_to(south))


@pytest.mark.parametrize("latitude", [0, 45, 70])
def test_areas_are_those_on_the_ellipsoid(tmp_path: Path, latitude: int) -> None:
    """A tenth of a degree each way, within .1 %, of pixels of a thousandth of a degree."""
    transform = Affine(1e-3, 0, 10, 0, -1e-3, latitude + 0.15)
    stored = np.zeros((200, 200), np.uint16)
    stored[50:150, 50:150] = 8000
    (feature,) = written(tmp_path, stored, crs="EPSG:4326", transform=transform)
    assert feature["properties"]["area_m2"] == pytest.approx(cell(latitude), rel=1e-3)
    assert feature["bbox"] == pytest.approx([10.05, latitude, 10.15, latitude + 0.1])


@pytest.mark.parametrize(("latitude", "north"), [(0.05, 5_500.0), (45, 4_983_000.0), (70, 7_766_000.0)])
def test_areas_of_a_projection_are_those_on_the_ground(tmp_path: Path, latitude: float, north: float) -> None:
    """A square kilometre of UTM near its middle, whose scale is .9996: 1e6 / .9996 ** 2 m2 at any latitude."""
    stored = np.full((100, 100), 8000, np.uint16)
    (feature,) = written(tmp_path, stored, transform=Affine(10, 0, 499_500, 0, -10, north))
    assert feature["properties"]["area_m2"] == pytest.approx(1e6 / 0.9996**2, rel=1e-3)
    assert feature["bbox"][1] == pytest.approx(latitude, abs=0.1)


@pytest.mark.parametrize(("start", "parts"), [(179.9, 2), (190.0, 1), (-180.1, 2)])
def test_across_the_antimeridian(tmp_path: Path, start: float, parts: int) -> None:
    """A tenth of a degree each way from `start` + .05 on: an outline in two, a box from west to east, the whole area.

    Of a grid of longitudes beyond 180 it is where that longitude less 360 is.
    """
    stored = np.zeros((200, 200), np.uint16)
    stored[50:150, 50:150] = 8000
    (feature,) = written(tmp_path, stored, crs="EPSG:4326", transform=Affine(1e-3, 0, start, 0, -1e-3, 0.15))
    assert feature["properties"]["area_m2"] == pytest.approx(cell(0), rel=1e-3)
    west, east = {179.9: (179.95, -179.95), 190.0: (-169.95, -169.85), -180.1: (179.95, -179.95)}[start]
    assert feature["bbox"] == pytest.approx([west, 0, east, 0.1])
    outline = shape(feature["geometry"])
    assert outline.is_valid
    assert len(shapely.get_parts(outline)) == parts
    assert outline.area == pytest.approx(0.01)
    assert all(part.exterior.is_ccw for part in shapely.get_parts(outline))
    if parts == 2:
        assert outline.bounds == pytest.approx((-180, 0, 180, 0.1))


def test_utm_across_the_antimeridian(tmp_path: Path) -> None:
    """A square kilometre of zone 60 at the equator, about 180 degrees, which is 334 km from its middle, 177 degrees.

    The scale there is .9996 * (1 + 333,978**2 / (2 * 6,378,137 * 6,335,439)) = 1.00098; areas have its square.
    """
    stored = np.full((100, 100), 8000, np.uint16)
    transform = Affine(10, 0, 833_478, 0, -10, 1000)
    (feature,) = written(tmp_path, stored, crs="EPSG:32660", transform=transform)
    assert feature["properties"]["area_m2"] == pytest.approx(1e6 / 1.00098**2, rel=1e-3)
    west, south, east, north = feature["bbox"]
    # 500 m are .0045 degrees.
    assert (west, east) == pytest.approx((179.9955, -179.9955), abs=2e-4)
    assert (south, north) == pytest.approx((0, 0.009), abs=2e-4)


def test_a_polar_grid_has_true_areas_and_boxes(tmp_path: Path) -> None:
    """At 71 degrees south the scale of EPSG:3031 is 1, and the antimeridian runs down from its middle.

    That parallel is 6,378,137 cos(71) / sqrt(1 - .00669438 sin(71)**2) = 2,082,760 m from the pole there. A kilometre
    of longitude is half of it each way: 500 / 2,082,760 radians, .01375 degrees.
    """
    stored = np.full((100, 100), 8000, np.uint16)
    transform = Affine(10, 0, -500, 0, -10, -2_082_260)
    (feature,) = written(tmp_path, stored, crs="EPSG:3031", transform=transform)
    assert feature["properties"]["area_m2"] == pytest.approx(1e6, rel=1e-3)
    west, south, east, north = feature["bbox"]
    assert (west, east) == pytest.approx((179.98625, -179.98625), abs=1e-4)
    assert south < -71 < north
    assert north - south == pytest.approx(0.009, abs=1e-4)


def test_what_holds_the_pole_reaches_around_it(tmp_path: Path) -> None:
    """Four square kilometres of UPS South, whose scale at the pole is .994: its box has all longitudes and the pole.

    The corners are 1,414 m away, over .994 that are 1,423 m, of 111,694 m a degree: .01274 degrees.
    """
    stored = np.full((200, 200), 8000, np.uint16)
    transform = Affine(10, 0, 1_999_000, 0, -10, 2_001_000)
    (feature,) = written(tmp_path, stored, crs="EPSG:32761", transform=transform)
    assert feature["properties"]["area_m2"] == pytest.approx(4e6 / 0.994**2, rel=1e-3)
    west, south, east, north = feature["bbox"]
    assert (west, south, east) == (-180, -90, 180)
    assert north == pytest.approx(-90 + 0.01274, abs=1e-4)
    outline = shape(feature["geometry"])
    assert outline.is_valid
    assert outline.contains(shapely.Point(30, -89.9999))


def test_without_a_landslide_the_files_are_empty(tmp_path: Path) -> None:
    """And can be opened."""
    assert written(tmp_path, np.zeros((5, 5), np.uint16)) == []
    assert pyogrio.read_info(tmp_path / "landslides.gpkg")["features"] == 0


def test_the_same_map_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also of the GeoPackage, which says when it was made."""
    stored = np.random.default_rng(0).integers(0, 10_001, (30, 30)).astype(np.uint16)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, stored)
    for file in ("landslides.gpkg", "landslides.geojson"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
