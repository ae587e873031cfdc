"""From a mask to points, from labels to accuracy and area: through the command line, on files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from lsml.errors import DataError
from lsml.scenes.assessment import Mask
from tests.processes import lsml
from tests.scenes.made import NORTH_UP, write_scene


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """40 x 50 pixels of 100 m2: 400 of landslide in the upper left, 50 of nodata on the right, 1,550 of the rest."""
    values = np.zeros((1, 40, 50), np.uint8)
    values[0, :20, :20] = 1
    values[0, 15:, 48:] = 255
    return write_scene(tmp_path / "mask.tif", values, nodata=255)


def points(path: Path) -> list[dict[str, Any]]:
    """The features of a file of points."""
    return list(json.loads(path.read_text())["features"])


def label(path: Path, *, wrong: int) -> None:
    """Labels all points as the mask has them, but for the first ones of landslide."""
    collection = json.loads(path.read_text())
    for feature in collection["features"]:
        own = feature["properties"]
        inside = own["row"] < 20 and own["column"] < 20
        own["label"] = int(inside and wrong <= 0)
        wrong -= inside
    path.write_text(json.dumps(collection))


def test_a_sample_is_drawn_labelled_and_estimated(tmp_path: Path, mask: Path) -> None:
    """Of 80 and 120 points: 20 of landslide are none.

    User's accuracy 60 / 80 = .75 with 1.96 * sqrt(.75 * .25 / 79) = .095; of 40,000 and 155,000 m2, 30,000 m2 are
    landslide, 3 ha, +- 4 * .0955 = .38; all of it is in the map; overall (30 + 155) / 195 = .949. At the middle of a
    zone UTM's metres are .9996 of those on the ground: 30,000 / .9996**2 = 30,024.
    """
    done = lsml(tmp_path, "map", "assess", "mask.tif", "--points", "200")
    assert done.returncode == 0, done.stderr
    assert "75 points of landslide and 125 of the rest" in done.stdout
    (tmp_path / "points.geojson").unlink()
    Mask.of(mask).write_points(tmp_path / "points.geojson", (80, 120), seed=1)
    label(tmp_path / "points.geojson", wrong=20)
    done = lsml(tmp_path, "map", "assess", "mask.tif", "--labelled", "points.geojson")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("landslide"))
    assert "0.750 +- 0.095" in row
    assert "1.000 +- 0.000" in row
    assert "3.00 +- 0.38" in row
    assert "overall accuracy 0.949 +- 0.020" in done.stdout
    record = json.loads(lsml(tmp_path, "map", "assess", "mask.tif", "--labelled", "points.geojson", "--json").stdout)
    assert record["landslide"]["area_m2"]["value"] == pytest.approx(30_024, abs=1)


def test_points_lie_where_the_mask_has_their_class(tmp_path: Path, mask: Path) -> None:
    """No pixel twice, none of nodata, in random order, in degrees, and without a word of what the mask says."""
    Mask.of(mask).write_points(tmp_path / "points.geojson", (60, 100), seed=3)
    found = points(tmp_path / "points.geojson")
    places = [(each["properties"]["row"], each["properties"]["column"]) for each in found]
    inside = [row < 20 and column < 20 for row, column in places]
    assert (len(set(places)), sum(inside)) == (160, 60)
    assert not any(row >= 15 and column >= 48 for row, column in places)
    assert sorted(inside, reverse=True) != inside
    assert {*found[0]["properties"]} == {"id", "label", "row", "column", "mask"}
    longitude, latitude = found[0]["geometry"]["coordinates"]
    (x,), (y,) = rasterio.warp.transform("EPSG:4326", "EPSG:32645", [longitude], [latitude])
    column, row = ~NORTH_UP @ (x, y)
    assert (int(row), int(column)) == places[0]
    # The same seed draws the same points.
    Mask.of(mask).write_points(tmp_path / "again.geojson", (60, 100), seed=3)
    assert (tmp_path / "again.geojson").read_bytes() == (tmp_path / "points.geojson").read_bytes()


def test_every_place_of_a_class_is_as_likely(tmp_path: Path, mask: Path) -> None:
    """Of 2,000 draws of 10 of 400 pixels each pixel comes 50 times, with a standard deviation of 7."""
    opened, rng = Mask.of(mask), np.random.default_rng(0)
    times = np.zeros((20, 20))
    for _ in range(2000):
        rows, columns = opened._draw(rng, 0, 10).T
        times[rows, columns] += 1
    assert times.sum() == 20_000
    assert 6 < times.std() < 8
    assert times.min() > 15


def test_in_degrees_a_class_has_the_area_of_its_rows(tmp_path: Path) -> None:
    """From 60 degrees down to the equator, a degree a pixel: each pixel weighs what it covers.

    A degree square at 59.5 degrees has 111.4 km * 56.7 km = 6,315 km2, at the equator 110.6 * 111.3 = 12,309.
    """
    values = np.zeros((1, 60, 2), np.uint8)
    values[0, 0] = values[0, 59, :1] = 1
    place = Affine(1, 0, 10, 0, -1, 60)
    mask = Mask.of(write_scene(tmp_path / "mask.tif", values, crs="EPSG:4326", transform=place))
    assert mask.areas[0] / 1e6 == pytest.approx(2 * 6315 + 12_308, rel=2e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": None}, "point 1 has no label; set label to 1 for landslide and 0 for none"),
        ({"label": "perhaps"}, "point 1 has the label 'perhaps'; give 1 for landslide"),
        ({"mask": "0" * 12}, r"point 1 is not one of .*mask\.tif; draw points"),
        ({"row": 40}, "point 1 is not one of"),
        ({"row": "north"}, "point 1 has no row"),
        ({"row": float("inf")}, "point 1 has no row"),
        ({"column": 1.5}, "point 1 has no column"),
        ({"row": 20, "column": 49}, r"point 1 is where .*mask\.tif has no value"),
    ],
)
def test_points_that_tell_nothing_are_named(tmp_path: Path, mask: Path, change: dict[str, Any], says: str) -> None:
    """One line, and no estimate."""
    Mask.of(mask).write_points(tmp_path / "points.geojson", (5, 5), seed=0)
    label(tmp_path / "points.geojson", wrong=0)
    collection = json.loads((tmp_path / "points.geojson").read_text())
    collection["features"][0]["properties"] |= change
    (tmp_path / "points.geojson").write_text(json.dumps(collection))
    with pytest.raises(DataError, match=says):
        Mask.of(mask).count_labels(tmp_path / "points.geojson")


@pytest.mark.parametrize("content", ["", "[]", '{"features": 1}', '{"features": [{}]}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, mask: Path, content: str) -> None:
    """One line; and what is there already is not written over."""
    (tmp_path / "points.geojson").write_text(content)
    done = lsml(tmp_path, "map", "assess", "mask.tif", "--labelled", "points.geojson")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "is no GeoJSON of features" in done.stderr
    done = lsml(tmp_path, "map", "assess", "mask.tif")
    assert done.returncode == 3
    assert "already exists" in done.stderr


def test_masks_that_are_none_are_refused(tmp_path: Path) -> None:
    """Other values than 0 and 1; one class alone."""
    grey = write_scene(tmp_path / "grey.tif", np.full((1, 9, 9), 7, np.uint8))
    with pytest.raises(DataError, match="holds 7, where a mask has 1 for landslide"):
        Mask.of(grey)
    empty = write_scene(tmp_path / "empty.tif", np.zeros((1, 9, 9), np.uint8))
    with pytest.raises(DataError, match="holds 0 pixels of landslide"):
        Mask.of(empty)
