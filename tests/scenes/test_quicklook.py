"""The picture of a scene and the page of its landslides: what they show, and that the page loads nothing."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio

from lsml.data.sensor import LANDSLIDE4SENSE, RGB
from lsml.errors import DataError
from lsml.plots import VERMILLION
from lsml.scenes import quicklook
from lsml.scenes.maps import STEPS, UNCERTAIN, Unfinished
from lsml.scenes.polygons import Landslide, write_polygons
from lsml.scenes.quicklook import draw_overview, write_quicklook
from lsml.scenes.reading import Scene
from tests.pages import Page
from tests.scenes.made import NORTH_UP, write_scene, write_sentinel

GRID = {"height": 40, "width": 60, "crs": "EPSG:32645", "transform": NORTH_UP}
NASTY = '<script>alert("1")</script> & <img src=https://example.org/x.png>'
FACTS = {"lsml": "0.1.0", "model_run_id": "abc", "threshold": "0.5", "scene": NASTY}


@pytest.fixture
def landslides(tmp_path: Path) -> list[Landslide]:
    """On 40 x 60 pixels of 10 m: 10 x 20 of them with a hole of 2 x 2, .9; and 5 x 4, .6; deviations of .1."""
    stored = np.zeros((2, 40, 60), np.uint16)
    stored[0, 10:20, 10:30], stored[0, 14:16, 14:16], stored[0, 30:35, 40:44] = 9000, 0, 6000
    stored[1] = STEPS // 10
    unfinished = Unfinished(tmp_path / "work", {}, (40, 60), UNCERTAIN)
    unfinished.begin()
    unfinished.write(slice(0, 40), stored, finished=1)
    options: dict[str, Any] = {"min_area": 0, "progress": lambda done, total: None}
    return write_polygons(unfinished, 0.5, tmp_path, grid=GRID, facts=FACTS, **options)


def test_the_picture_is_the_scene_with_outlines(tmp_path: Path, landslides: list[Landslide]) -> None:
    """Grey where nothing is, vermillion along the edges, half of a pixel wide on each side; inside it stays grey."""
    picture = np.full((40, 60, 3), 90, np.uint8)
    write_quicklook(picture, landslides, tmp_path, grid=GRID, facts=FACTS)
    drawn = cv2.imread(str(tmp_path / "quicklook.png"))[..., ::-1]
    assert drawn.shape == (40, 60, 3)
    vermillion = [int(VERMILLION[place : place + 2], 16) for place in (1, 3, 5)]
    reds = np.abs(drawn.astype(int) - 90).max(axis=-1) > 20
    # The edge of row 10 and column 10 lies between them and their neighbours.
    assert reds[9:11, 12:28].any(axis=0).all()
    assert reds[12:18, 9:11].any(axis=1).all()
    assert reds[14:16, 13:17].any()
    assert not reds[12, 13:27].any()
    assert not reds[:8].any()
    assert np.abs(drawn[reds].astype(int) - vermillion).max(axis=-1).min() < 60


def test_the_page_tells_of_each_landslide_and_loads_nothing(tmp_path: Path, landslides: list[Landslide]) -> None:
    """Its table can be read without JavaScript, and a click on the map leads to its row; names are text, not HTML.

    196 pixels of some 100 m2 are 1.96 ha, 20 are .20; UTM makes .9996 of a metre there.
    """
    write_quicklook(np.zeros((40, 60, 3), np.uint8), landslides, tmp_path, grid=GRID, facts=FACTS)
    text = (tmp_path / "map.html").read_text()
    page = Page(text)
    assert page.loaded == []
    assert page.tags.count("script") == 1
    assert "<img" not in text
    ((head, first, second),) = page.tables["list"]
    assert head == ["no.", "ha", "mean probability", "mean uncertainty", "longitude", "latitude"]
    assert first[:4] == ["1", "1.96", "0.90", "0.10"]
    assert second[:4] == ["2", "0.20", "0.60", "0.10"]
    # The middle of columns 40 to 44 is 420 m east of 87 degrees, .0043 of them.
    assert second[4] == "87.0043"
    assert 'href="#row-2" data-id="2"><path id="shape-2" d="M40.0 30.0L40.0 35.0L44.0 35.0L44.0 30.0Z">' in text
    assert "2 landslides, 2.16 ha in all" in text


def test_a_page_of_many_holds_the_largest(
    tmp_path: Path, landslides: list[Landslide], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so; of none it says that too."""
    monkeypatch.setattr(quicklook, "_LISTED", 1)
    picture = np.zeros((40, 60, 3), np.uint8)
    write_quicklook(picture, landslides, tmp_path, grid=GRID, facts=FACTS)
    text = (tmp_path / "map.html").read_text()
    assert "The largest 1 are shown here; landslides.gpkg has all." in text
    assert "shape-1" in text
    assert "shape-2" not in text
    write_quicklook(picture, [], tmp_path, grid=GRID, facts=FACTS)
    assert "No landslide was found." in (tmp_path / "map.html").read_text()


def test_a_picture_is_at_most_so_large(tmp_path: Path) -> None:
    """Of 3,000 x 1,500 pixels it has 2,048 x 1,024; places keep their colours, and nodata is black."""
    colours = np.zeros((3, 1500, 3000), np.uint8)
    colours[0, :, :1500], colours[1, :, 1500:] = 200, 100
    colours[:, 1400:] = 0
    path = write_scene(tmp_path / "scene.tif", colours, nodata=0, photometric="RGB")
    with Scene.of(path, RGB, dem=None, bands={"red": 1, "green": 2, "blue": 3}) as scene:
        picture = draw_overview(scene)
    assert picture.shape == (1024, 2048, 3)
    assert picture[100, 500].argmax() == 0
    assert picture[100, 1500].argmax() == 1
    assert picture[1000].max() == 0


def test_the_bands_of_a_scene_in_another_order_are_its_colours(tmp_path: Path) -> None:
    """As the same place is drawn of patches; without the DEM's bands."""
    path, dem = write_sentinel(tmp_path, 128)
    with Scene.of(path, LANDSLIDE4SENSE, dem=dem, bands={}) as scene:
        picture, stored = draw_overview(scene), scene.read(0, 0, 128)
    assert stored is not None
    expected = quicklook.true_colour(stored, LANDSLIDE4SENSE)
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One line."""
    (tmp_path / "quicklook.png").mkdir()
    with pytest.raises(DataError, match=r"quicklook\.png: cannot be written \(.* bytes\): .*; free space"):
        write_quicklook(np.zeros((40, 60, 3), np.uint8), [], tmp_path, grid=GRID, facts=FACTS)


def test_overviews_of_a_file_are_used(tmp_path: Path) -> None:
    """Those in the file are not what its pixels would give, here: they are marked."""
    path = write_scene(tmp_path / "scene.tif", np.full((3, 4096, 1024), 50, np.uint8), tiled=True, photometric="RGB")
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2], rasterio.enums.Resampling.nearest)
    with rasterio.open(path, "r+", overview_level=0) as file:
        file.write(np.full((3, *file.shape), 250, np.uint8))
    with Scene.of(path, RGB, dem=None, bands={"red": 1, "green": 2, "blue": 3}) as scene:
        assert draw_overview(scene).min() == 250
