"""Patches of scenes and polygons: their values, masks, splits and what they are called."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform_geom

from lsml.data.checks import check
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, DataError
from lsml.scenes.patches import TiledScenes, tile_scenes
from lsml.scenes.synthetic import synthesize_scene
from tests.processes import lsml
from tests.scenes.made import NORTH_UP, read, write_scene

SIDE = 16
"""Pixels of a patch."""


def write_squares(path: Path, squares: list[tuple[float, float, float, float]], transform: Affine = NORTH_UP) -> Path:
    """A GeoJSON, in degrees, of squares given as columns and rows of a grid, left, top, right and bottom."""
    features = []
    for left, top, right, bottom in squares:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        ring = [list(transform @ corner) for corner in corners]
        outline = transform_geom("EPSG:32645", "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}, precision=9)
        features.append({"type": "Feature", "properties": {}, "geometry": outline})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def tiled(folder: Path, scenes: list[Path], polygons: list[Path], **options: Any) -> TiledScenes:
    """The dataset `made` in a folder."""
    given = {"size": SIDE, "progress": lambda *_: None} | options
    return tile_scenes(scenes, polygons, folder / "made", **given)


def table(folder: Path) -> dict[str, tuple[str, str]]:
    """Split and region by the name of the patch."""
    rows = csv.DictReader((folder / "made" / "patches.csv").open())
    return {Path(row["patch"]).stem: (row["split"], row["region"]) for row in rows}


def ramp(rows: int, columns: int) -> np.ndarray:
    """Two bands of uint16 in which every pixel differs from others: 1 + its number, and twice that."""
    numbers = 1 + np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)
    return np.stack([numbers, 2 * numbers])


def test_patches_are_squares_of_the_scene(tmp_path: Path) -> None:
    """Seven rows of two patches of 16 pixels: five rows for train, one each for validation and test, none twice.

    In each row a landslide of 4 x 2 pixels begins at the first patch's third column and second row.
    """
    scene = write_scene(tmp_path / "a valley.tif", ramp(7 * SIDE, 2 * SIDE), names=["B04", "height of trees"])
    squares = [(2, 16 * row + 1, 6, 16 * row + 3) for row in range(7)]
    made = tiled(tmp_path, [scene], [write_squares(tmp_path / "slides.geojson", squares)])
    assert {name: split.patches for name, split in made.splits.items()} == {"train": 10, "validation": 2, "test": 2}
    # 8 pixels in every second patch of 256.
    assert [split.landslide_share for split in made.splits.values()] == [pytest.approx(8 / 512)] * 3
    assert (made.met, made.polygons, made.left_out, made.between, made.regions) == (7, 7, 0, 0, 7)
    told = table(tmp_path)
    by_row = [{told[f"a_valley_r{row:04d}_c{column:04d}"] for column in range(2)} for row in range(7)]
    splits = ["train"] * 5 + ["validation", "test"]
    assert by_row == [{(split, f"a_valley-{row}")} for row, split in enumerate(splits, start=1)]
    with rasterio.open(tmp_path / "made" / "images" / "a_valley_r0003_c0001.tif") as file:
        np.testing.assert_array_equal(file.read(), ramp(7 * SIDE, 2 * SIDE)[:, 48:64, 16:32])
        assert file.transform == NORTH_UP @ Affine.translation(16, 48)
        assert (file.descriptions, file.crs.to_epsg()) == (("B04", "height of trees"), 32645)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[1:3, 2:6] = 1
    np.testing.assert_array_equal(read(tmp_path / "made" / "masks" / "a_valley_r0003_c0000.tif"), mask)
    found = check(tmp_path / "made")
    assert [finding for finding in found.findings if finding.severity == "error"] == []
    red, trees = found.sensor.bands
    # Integers are reflectance x 10,000; the median of patches' medians of 1 to 3,584 lies about its middle.
    assert (red.role, red.unit.value, red.scale, trees.role) == ("red", "reflectance x 10,000", 1, "")
    assert 1500 < red.typical < 2100
    assert found.sensor.pixel_metres == 10


def test_what_is_not_known_is_ignored_or_left_out(tmp_path: Path) -> None:
    """Nodata and what lies beyond the edge is 255 in the mask; of a patch more than half of that, there is none.

    The scene ends 4 columns into its third column of patches, which is left out: 7 squares. In the second patch of the
    first row, 9 of 16 columns are nodata; in that of the second, 8 are. Places outside of what was mapped, the last 3
    columns of the first patches, are not known either.
    """
    bands = ramp(7 * SIDE, 2 * SIDE + 4)
    bands[:, :16, 16:25] = 0
    bands[:, 16:32, 16:24] = 0
    scene = write_scene(tmp_path / "scene.tif", bands, names=["B4", "B8"], nodata=0)
    squares = write_squares(tmp_path / "slides.geojson", [(5, 16 * row, 26, 16 * row + 2) for row in range(7)])
    mapped = write_squares(tmp_path / "mapped.geojson", [(0, 0, 13, 200), (16, 0, 60, 200)])
    made = tiled(tmp_path, [scene], [squares], mapped=mapped)
    assert (made.left_out, sum(split.patches for split in made.splits.values())) == (8, 13)
    assert "scene_r0000_c0001" not in table(tmp_path)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[:2, :10] = 1
    expected[:, :8] = 255
    np.testing.assert_array_equal(read(tmp_path / "made" / "masks" / "scene_r0001_c0001.tif"), expected)
    with rasterio.open(tmp_path / "made" / "images" / "scene_r0001_c0001.tif") as file:
        np.testing.assert_array_equal(np.isnan(file.read(1)), expected == 255)
    first = read(tmp_path / "made" / "masks" / "scene_r0002_c0000.tif")
    assert (first[:, 13:] == 255).all()
    assert (first[:2, 5:13] == 1).all()
    assert first[first == 1].size == 16


def test_between_splits_rows_are_left_out(tmp_path: Path) -> None:
    """Of nine rows, two fall away: pixels of two splits are at least 16 rows apart."""
    scene = write_scene(tmp_path / "scene.tif", ramp(9 * SIDE, SIDE))
    squares = write_squares(tmp_path / "slides.geojson", [(0, 0, 8, 200)])
    made = tiled(tmp_path, [scene], [squares], gap=1)
    assert {name: split.patches for name, split in made.splits.items()} == {"train": 5, "validation": 1, "test": 1}
    assert made.between == 2
    rows = {
        split: [int(name[7:11]) for name, (own, _) in table(tmp_path).items() if own == split] for split in made.splits
    }
    assert rows == {"train": [0, 1, 2, 3, 4], "validation": [6], "test": [8]}
    assert len(list((tmp_path / "made" / "images").iterdir())) == 7


def test_blocks_lie_so_that_each_split_has_landslides(tmp_path: Path) -> None:
    """Landslides in the upper rows alone: columns are the blocks, of which test is where a seventh of them is."""
    scene = write_scene(tmp_path / "scene.tif", ramp(7 * SIDE, 7 * SIDE))
    squares = [(16 * column, 0, 16 * column + 8, 8) for column in range(7)]
    made = tiled(tmp_path, [scene], [write_squares(tmp_path / "slides.geojson", squares)])
    assert {name: split.landslide for name, split in made.splits.items()} == {
        "train": 320,
        "validation": 64,
        "test": 64,
    }
    assert {split for name, (split, _) in table(tmp_path).items() if name.endswith("c0006")} == {"test"}


def test_scenes_are_regions_and_bands_go_by_name(tmp_path: Path) -> None:
    """The second has the first's bands the other way round, lies in another zone, and has reflectance with a scale.

    It is too small to be divided, and so is for train.
    """
    first = write_scene(tmp_path / "one.tif", ramp(7 * SIDE, SIDE), names=["B4", "B8"])
    place = Affine(10, 0, 500_000, 0, -10, 3_200_000)
    other = write_scene(
        tmp_path / "two.tif", ramp(2 * SIDE, SIDE) + 1000, names=["nir", "red"], crs="EPSG:32646", transform=place
    )
    with rasterio.open(other, "r+") as file:
        file.scales, file.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    squares = write_squares(tmp_path / "slides.geojson", [(0, 0, 8, 200)])
    made = tiled(tmp_path, [first, other], [squares])
    told = table(tmp_path)
    assert [told[f"two_r000{row}_c0000"] for row in range(2)] == [("train", "two")] * 2
    assert made.regions == 8
    with rasterio.open(tmp_path / "made" / "images" / "two_r0001_c0000.tif") as file:
        np.testing.assert_allclose(file.read(1), 2 * ramp(2 * SIDE, SIDE)[0, 16:], atol=0.01)
    assert [finding for finding in check(tmp_path / "made").findings if finding.severity == "error"] == []


@pytest.mark.parametrize(
    "transform",
    [NORTH_UP @ Affine.scale(1, -1), Affine.translation(5e5, 3.1e6) @ Affine.rotation(30) @ Affine.scale(10)],
    ids=["south up", "turned"],
)
def test_a_scene_that_lies_otherwise(tmp_path: Path, transform: Affine) -> None:
    """Masks are in the scene's rows and columns, whichever way these run."""
    scene = write_scene(tmp_path / "scene.tif", ramp(7 * SIDE, SIDE), transform=transform)
    squares = [(3, 16 * row + 5, 9, 16 * row + 7) for row in range(7)]
    tiled(tmp_path, [scene], [write_squares(tmp_path / "slides.geojson", squares, transform)])
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[5:7, 3:9] = 1
    for row in range(7):
        np.testing.assert_array_equal(read(tmp_path / "made" / "masks" / f"scene_r{row:04d}_c0000.tif"), mask)


def test_bands_like_those_of_another_dataset(tmp_path: Path) -> None:
    """By the command line: two of three bands, in that dataset's order and unit; without a description it is refused.

    Its patches store reflectance 0..1 over 2, so that stored 3,584 of 10,000 is .3584 / 2.
    """
    bands = np.concatenate([ramp(7 * SIDE, SIDE), np.full((1, 7 * SIDE, SIDE), 9, np.uint16)])
    write_scene(tmp_path / "scene.tif", bands, names=["red", "nir", "height"])
    write_squares(tmp_path / "slides.geojson", [(0, 0, 8, 200)])
    (tmp_path / "other").mkdir()
    options = ("--landslides", "slides.geojson", "--like", "other", "--size", "16", "--out", "made")
    done = lsml(tmp_path, "data", "tile", "scene.tif", *options, "--values", "physical")
    assert (done.returncode, "dataset other: has no dataset.yaml" in done.stderr) == (3, True)
    fields = "unit: reflectance, scale: 2"
    (tmp_path / "other" / "dataset.yaml").write_text(
        f"bands: [{{name: NIR, role: near_infrared, {fields}}}, {{name: R, role: red, {fields}}}]"
    )
    done = lsml(tmp_path, "data", "tile", "scene.tif", *options, "--values", "physical", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["splits"]["train"] == {"patches": 5, "landslide_share": 0.5}
    with rasterio.open(tmp_path / "made" / "images" / "scene_r0006_c0000.tif") as file:
        assert file.descriptions == ("NIR", "R")
        np.testing.assert_allclose(file.read()[:, -1, -1], [7 * SIDE * SIDE / 10_000, 7 * SIDE * SIDE / 20_000])
    assert [band.unit.value for band in check(tmp_path / "made").sensor.bands] == ["reflectance x 10,000"] * 2


def test_scenes_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """In one line each: no place, no values, no bytes, a DEM of elsewhere, and polygons without a coordinate system."""
    polygons = write_squares(tmp_path / "slides.geojson", [(0, 0, 8, 200)])
    scene = write_scene(tmp_path / "scene.tif", ramp(7 * SIDE, SIDE))
    lost = write_scene(tmp_path / "lost.tif", ramp(7 * SIDE, SIDE), crs=None)
    with pytest.raises(DataError, match="has no coordinate system"):
        tiled(tmp_path, [lost], [polygons])
    empty = write_scene(tmp_path / "empty.tif", np.zeros((1, 7 * SIDE, SIDE), np.uint8), nodata=0)
    with pytest.raises(DataError, match="none of them covers a pixel of a scene"):
        tiled(tmp_path, [empty], [polygons])
    (tmp_path / "nothing.tif").write_bytes(b"")
    with pytest.raises(DataError, match="neither TIFF, PNG nor JPEG"):
        tiled(tmp_path, [tmp_path / "nothing.tif"], [polygons])
    away = write_scene(tmp_path / "dem.tif", ramp(20, 20)[:1], transform=NORTH_UP @ Affine.translation(900, 0))
    with pytest.raises(DataError, match="does not cover the scene"):
        tiled(tmp_path, [scene], [polygons], dems=[away])
    assert not (tmp_path / "made").exists()


def test_polygons_of_another_format_and_layer(tmp_path: Path) -> None:
    """A GeoPackage of two layers needs a name; points are refused, as is a file that is none."""
    import pyogrio.raw
    import shapely

    scene = write_scene(tmp_path / "scene.tif", ramp(7 * SIDE, SIDE))
    package = tmp_path / "all.gpkg"
    ring = [NORTH_UP @ corner for corner in ((0, 0), (8, 0), (8, 200), (0, 200))]
    for name, shape, kind in (
        ("slides", shapely.Polygon(ring), "Polygon"),
        ("visits", shapely.Point(ring[0]), "Point"),
    ):
        content = np.array([shapely.to_wkb(shape)], object)
        pyogrio.raw.write(package, content, [], [], layer=name, driver="GPKG", geometry_type=kind, crs="EPSG:32645",
                          append=package.exists())  # fmt: skip
    with pytest.raises(DataError, match="has the layers slides, visits; name one with --layer"):
        tiled(tmp_path, [scene], [package])
    with pytest.raises(DataError, match="holds Point; give polygons alone"):
        tiled(tmp_path, [scene], [package], layer="visits")
    (tmp_path / "notes.shp").write_text("nothing")
    # OGR's line goes on with advice to programmers: "; It might help to specify the correct driver".
    with pytest.raises(DataError, match=r"notes\.shp: cannot be read: [^;]*; give a file that OGR reads"):
        tiled(tmp_path, [scene], [tmp_path / "notes.shp"])
    assert tiled(tmp_path, [scene], [package], layer="slides").met == 1


@pytest.mark.parametrize(
    ("rows", "squares", "options", "error", "says"),
    [
        (
            7,
            [(0, 0, 8, 200)],
            {"gap": 3},
            DataError,
            "not one patch in validation, of 7 patches of 16 pixels with a gap",
        ),
        (2, [(0, 0, 8, 200)], {}, DataError, "not one patch in validation, of 2 patches of 16 pixels"),
        (7, [(900, 0, 908, 9)], {}, DataError, "none of them covers a pixel of a scene; check that they are of"),
        (7, [(0, 0, 8, 8)], {}, DataError, "not one landslide in validation, of 7 patches"),
        (7, [(0, 0, 8, 200)], {"dems": [Path("a"), Path("b")]}, ConfigError, "--dem: 2 for 1 scenes; give one for all"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    tmp_path: Path, rows: int, squares: list[Any], options: dict[str, Any], error: type[Exception], says: str
) -> None:
    """In one line, and nothing is left behind."""
    scene = write_scene(tmp_path / "scene.tif", ramp(rows * SIDE, SIDE))
    polygons = write_squares(tmp_path / "slides.geojson", squares)
    with pytest.raises(error, match=says):
        tiled(tmp_path, [scene], [polygons], **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif", "slides.geojson"]


def test_a_folder_in_use_and_scenes_of_one_name_are_refused(tmp_path: Path) -> None:
    """What is there stays; patches of two scenes would have the same names."""
    scene = write_scene(tmp_path / "scene.tif", ramp(7 * SIDE, SIDE))
    polygons = write_squares(tmp_path / "slides.geojson", [(0, 0, 8, 200)])
    with pytest.raises(ConfigError, match="another is called alike; give scenes of different names"):
        tiled(tmp_path, [scene, scene], [polygons])
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists; choose another folder"):
        tiled(tmp_path, [scene], [polygons])


def test_a_drawn_scene_becomes_a_dataset(tmp_path: Path) -> None:
    """By the command line, with the DEM's slope: a dataset that is checked without an error and can be trained on.

    Seven columns of eight patches: five columns for train.
    """
    synthesize_scene(tmp_path / "valley", height=512, width=448, seed=2)
    valley = tmp_path / "valley"
    arguments = ("--landslides", str(valley / "landslides.geojson"), "--dem", str(valley / "dem.tif"), "--size", "64")
    done = lsml(tmp_path, "data", "tile", str(valley / "scene.tif"), *arguments, "--out", "patches")
    assert done.returncode == 0, done.stderr
    assert "made patches of 64 x 64 pixels in patches" in done.stdout
    done = lsml(tmp_path, "data", "check", "patches", "--json")
    assert (done.returncode, json.loads(done.stdout)["errors"]) == (0, 0), done.stdout
    masks = [read(path) for path in sorted((tmp_path / "patches" / "masks").iterdir())]
    again = np.concatenate([np.concatenate(masks[row * 7 : row * 7 + 7], axis=1) for row in range(8)])
    np.testing.assert_array_equal(again, read(valley / "mask.tif"))
    data = TrainingData.prepare(tmp_path / "patches", tmp_path / "packs", lambda *_: None)
    assert (len(data.train), len(data.validation)) == (40, 8)
    assert [band.role for band in data.train.sensor.bands[-2:]] == ["slope", "elevation"]
