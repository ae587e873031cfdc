"""Where to map next: which squares, how far from each other, and that patches can be cut of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from lsml.errors import DataError
from lsml.scenes.suggestion import Measure, suggest_squares
from tests.processes import lsml
from tests.scenes.made import NORTH_UP, read, write_scene

SIDE = 16


def write_uncertainty(path: Path, squares: list[list[float]], **options: object) -> Path:
    """`uncertainty.tif` in which all pixels of a square have its deviation; -1 for nodata."""
    values = np.kron(np.array(squares), np.ones((SIDE, SIDE)))
    stored = np.where(values < 0, 65_535, np.rint(values * 10_000)).astype(np.uint16)
    bands = np.stack([stored, np.full_like(stored, 10_000)])
    names = ["standard deviation of the probability", "predictive entropy in bits"]
    write_scene(path, bands, names=names, nodata=65_535, **options)
    with rasterio.open(path, "r+") as file:
        file.scales = (1e-4, 1e-4)
    return path


def suggested(
    path: Path, folder: Path, *, by: Measure = "deviation", count: int = 9, distance: float | None = 0.0
) -> list[tuple[int, int, float]]:
    """Row, column and score of the squares."""
    found = suggest_squares([path], folder / "squares.geojson", by=by, count=count, size=SIDE, distance=distance)
    return [(square.row // SIDE, square.column // SIDE, round(square.score, 6)) for square in found]


def test_the_least_certain_come_first(tmp_path: Path) -> None:
    """By the deviation of their pixels, not by the entropy, which is 1 everywhere; without nodata."""
    path = write_uncertainty(tmp_path / "uncertainty.tif", [[0.1, 0.4, -1], [0.3, 0.2, 0.05]])
    assert suggested(path, tmp_path, count=4) == [(0, 1, 0.4), (1, 0, 0.3), (1, 1, 0.2), (0, 0, 0.1)]
    collection = json.loads((tmp_path / "squares.geojson").read_text())
    first = collection["features"][0]
    assert first["properties"] == {
        "rank": 1,
        "mean_uncertainty": 0.4,
        "raster": "uncertainty.tif",
        "row": 0,
        "column": 16,
    }
    # 160 m east of zone 45's middle, which is 87 degrees: .001627 degrees, and 160 m more.
    assert first["bbox"][0::2] == pytest.approx([87.001627, 87.003255], abs=2e-6)


def test_none_is_nearer_to_another_than_asked(tmp_path: Path) -> None:
    """Middles of neighbours are 160 m apart, diagonal ones 226 m, the next but one 320 m."""
    squares = [[0.5, 0.49, 0.48, 0.1], [0.47, 0.46, 0.45, 0.44]]
    path = write_uncertainty(tmp_path / "uncertainty.tif", squares)
    for distance, expected in (
        (170.0, [(0, 0), (0, 2), (1, 1), (1, 3)]),
        (300.0, [(0, 0), (0, 2)]),
        # As asked without a word: two sides, 320 m, of which UTM makes .9996.
        (None, [(0, 0), (0, 2)]),
        (340.0, [(0, 0), (1, 2)]),
    ):
        assert [place[:2] for place in suggested(path, tmp_path, distance=distance)] == expected
        (tmp_path / "squares.geojson").unlink()


def test_of_a_probability_it_is_the_entropy(tmp_path: Path) -> None:
    """.5 is one bit; .25 is .811278; a folder of maps is looked into."""
    stored = np.kron(np.array([[5000, 2500, 0]]), np.ones((SIDE, SIDE))).astype(np.uint16)
    path = write_scene(tmp_path / "probability.tif", stored[None], names=["probability of landslide"], nodata=65_535)
    with rasterio.open(path, "r+") as file:
        file.scales = (1e-4,)
    assert suggested(tmp_path, tmp_path) == [(0, 0, 1), (0, 1, 0.811278), (0, 2, 0)]


def test_of_what_deviates_nowhere_the_entropy_is_left(tmp_path: Path) -> None:
    """A model of single pixels says the same in every orientation; the second band is 1 bit everywhere."""
    path = write_uncertainty(tmp_path / "uncertainty.tif", [[0, 0]])
    with pytest.raises(DataError, match=r"is certain everywhere, as a model of single pixels .* give --by entropy"):
        suggested(path, tmp_path)
    assert suggested(path, tmp_path, by="entropy") == [(0, 0, 1), (0, 1, 1)]


def test_squares_of_two_maps_keep_apart_across_the_antimeridian(tmp_path: Path) -> None:
    """Grids in degrees that meet at 180: of neighbours across it, 16 * .001 degrees or 1.8 km apart, one is taken."""
    west = Affine(1e-3, 0, 180 - 2 * SIDE * 1e-3, 0, -1e-3, 0)
    east = Affine(1e-3, 0, -180, 0, -1e-3, 0)
    paths = [
        write_uncertainty(tmp_path / "west.tif", [[0.2, 0.4]], crs="EPSG:4326", transform=west),
        write_uncertainty(tmp_path / "east.tif", [[0.3, 0.1]], crs="EPSG:4326", transform=east),
    ]
    found = suggest_squares(paths, tmp_path / "squares.geojson", by="deviation", count=9, size=SIDE, distance=2000)
    assert [(square.raster.name, square.column) for square in found] == [("west.tif", 16), ("east.tif", 16)]


def test_what_cannot_be_suggested_is_told(tmp_path: Path) -> None:
    """A folder without maps, a map without values, squares that are there already."""
    with pytest.raises(DataError, match=r"has neither uncertainty\.tif nor probability\.tif"):
        suggested(tmp_path, tmp_path)
    path = write_uncertainty(tmp_path / "uncertainty.tif", [[-1, -1]])
    with pytest.raises(DataError, match="has no square with values in half of it"):
        suggested(path, tmp_path)
    (tmp_path / "squares.geojson").write_text("mine")
    with pytest.raises(DataError, match="already exists; choose another --out"):
        suggested(path, tmp_path)


def test_what_was_suggested_becomes_patches(tmp_path: Path) -> None:
    """By the command line: the squares, mapped, are the patches, and nothing else is."""
    squares = np.tile([[0.1, 0.3]], (7, 1)) + 0.01 * np.arange(7)[:, None]
    write_uncertainty(tmp_path / "uncertainty.tif", squares.tolist())
    scene = write_scene(tmp_path / "scene.tif", np.full((1, 7 * SIDE, 2 * SIDE), 5, np.uint8), names=["grey"])
    arguments = ("--size", "16", "--count", "7", "--distance", "0")
    done = lsml(tmp_path, "data", "suggest", "uncertainty.tif", *arguments)
    assert done.returncode == 0, done.stderr
    assert "7 squares of 16 x 16 pixels, mean uncertainty 0.3600 to 0.3000, in squares.geojson" in done.stdout
    ring = [NORTH_UP @ corner for corner in ((20, 0), (22, 0), (22, 200), (20, 200), (20, 0))]
    slides = {"type": "Polygon", "coordinates": [ring]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32645"}}
    feature = {"type": "Feature", "properties": {}, "geometry": slides}
    (tmp_path / "slides.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
    )
    options = ("--landslides", "slides.geojson", "--mapped", "squares.geojson", "--size", "16", "--out", "patches")
    done = lsml(tmp_path, "data", "tile", str(scene), *options)
    assert done.returncode == 0, done.stderr
    masks = sorted((tmp_path / "patches" / "masks").iterdir())
    assert [path.name for path in masks] == [f"scene_r{row:04d}_c0001.tif" for row in range(7)]
    assert all(read(path).sum() == 2 * SIDE for path in masks)
