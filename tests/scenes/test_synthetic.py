"""A synthetic scene: files of one place, the same for the same seed, of one landscape without seams."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize
from rasterio.warp import transform_geom

from lsml.data.domains import domains
from lsml.data.quality import examine
from lsml.data.quality.look import Look
from lsml.data.sensor import ELEVATION, LANDSLIDE4SENSE, SLOPE
from lsml.data.synthetic.landscape import draw_landscape
from lsml.errors import ConfigError, DataError
from lsml.scenes.reading import Scene
from lsml.scenes.synthetic import synthesize_scene
from tests.processes import lsml
from tests.scenes.made import read

FILES = ["dem.tif", "landslides.geojson", "mask.tif", "scene.tif", "synthetic.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of 300 x 420 pixels, by the command line."""
    folder = tmp_path_factory.mktemp("synthetic")
    done = lsml(folder, "data", "synth", "made", "--scene", "--height", "300", "--width", "420", "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert "made a scene of 300 x 420 pixels" in done.stdout
    return folder / "made"


def test_a_scene_is_read_as_the_bands_of_its_patches(made: Path) -> None:
    """By the names of its bands, with the DEM's slope; nothing is wrong with its values."""
    assert sorted(path.name for path in made.iterdir()) == FILES
    with Scene.of(made / "scene.tif", LANDSLIDE4SENSE, dem=made / "dem.tif", bands={}) as scene:
        stored = scene.read(0, 0, 256)
        assert scene.file.shape == (300, 420)
    assert stored is not None
    assert np.isfinite(stored).all()
    found = examine([Look.of("all", stored, LANDSLIDE4SENSE)], LANDSLIDE4SENSE, trained=True)
    assert [finding.kind for finding in found if finding.kind != "off the grid"] == []
    physical = LANDSLIDE4SENSE.physical(stored, SLOPE, ELEVATION)
    assert 15 < physical[..., 0].mean() < 40
    assert 400 < physical[..., 1].min() < physical[..., 1].max() < 5000


def test_its_polygons_are_its_mask(made: Path) -> None:
    """Rasterised again in the scene's own coordinates; 1 to 8 % of the ground."""
    mask = read(made / "mask.tif")
    assert 0.01 < mask.mean() < 0.08
    features = json.loads((made / "landslides.geojson").read_text())["features"]
    with rasterio.open(made / "mask.tif") as file:
        own = [transform_geom("EPSG:4326", file.crs, feature["geometry"]) for feature in features]
        np.testing.assert_array_equal(rasterize(own, file.shape, transform=file.transform), mask)


def test_there_is_no_seam_where_cells_meet() -> None:
    """Neighbouring pixels differ no more across the border of two cells, at 160 - 16 pixels, than within them.

    Of a single row that is chance: a river may run along it. So three landscapes count, each with two borders.
    """
    (domain,) = domains({"test": 1})["test"]
    landscapes = [draw_landscape(np.random.default_rng(seed), (400, 400), domain) for seed in range(3)]
    for name in ("elevation", "slope", "cover"):
        steps = [np.abs(np.diff(np.atleast_3d(getattr(each, name).T).T[0], axis=0)).mean(axis=1) for each in landscapes]
        assert np.mean([step[[143, 303]] / np.median(step) for step in steps]) < 1.3
    # Landslides cross the borders.
    numbers = landscapes[0].landslides
    across = [lines[row][lines[row] == lines[row + 1]] for lines in (numbers, numbers.T) for row in (143, 303)]
    assert any(same.any() for same in across)


def test_the_seed_alone_decides(tmp_path: Path, made: Path) -> None:
    """The same seed writes the same bytes, another other ones."""
    for name, seed in (("again", 2), ("other", 3)):
        synthesize_scene(tmp_path / name, height=300, width=420, seed=seed)
    assert all((tmp_path / "again" / name).read_bytes() == (made / name).read_bytes() for name in FILES)
    assert (tmp_path / "other" / "scene.tif").read_bytes() != (made / "scene.tif").read_bytes()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """A size, a folder that holds something, options of patches: one line, and nothing is written."""
    with pytest.raises(ConfigError, match="10000 x 10000 pixels with seed 0; give sides of at least 128, at most"):
        synthesize_scene(tmp_path / "made", height=10_000, width=10_000)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists; choose another folder"):
        synthesize_scene(tmp_path / "full", height=128, width=128)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .* choose another folder"):
        synthesize_scene(tmp_path / "file" / "made", height=128, width=128)
    done = lsml(tmp_path, "data", "synth", "made", "--scene", "--train", "3")
    assert (done.returncode, "--train: is for patches; leave it out" in done.stderr) == (2, True)
    done = lsml(tmp_path, "data", "synth", "made", "--height", "300")
    assert (done.returncode, "--height: is for a scene: --scene; leave it out" in done.stderr) == (2, True)
    assert not (tmp_path / "made").exists()
