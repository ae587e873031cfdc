"""`lsml predict` on a GeoTIFF scene: maps on its grid, the same after a kill, and what it refuses in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.end_to_end.conftest import Study
from tests.processes import environment, lsml
from tests.scenes.made import read, write_sentinel


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scene of 300 x 300 pixels with a corner of nodata, and its DEM."""
    return write_sentinel(tmp_path_factory.mktemp("scene"), nodata=0)


def test_a_scene_becomes_maps_on_its_grid(study: Study, scene: tuple[Path, Path]) -> None:
    """Probability by its scale and mask, where the mask is 1 from the threshold on; cloud-optimised, with its place."""
    path, dem = scene
    arguments = ("--model", "tiny@candidate", "--out", "scene", "--dem", str(dem), "--tile", "128")
    done = lsml(study.folder, "predict", str(path), *arguments)
    assert done.returncode == 0, done.stderr
    assert "90,000 pixels" in done.stdout
    probability, mask = (study.folder / "scene" / name for name in ("probability.tif", "mask.tif"))
    with rasterio.open(path) as source, rasterio.open(probability) as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.nodata, file.scales) == (65535, (1e-4,))
        threshold = float(file.tags()["threshold"])
    with rasterio.open(mask) as file:
        assert (file.nodata, file.dtypes, file.shape) == (255, ("uint8",), (300, 300))
    np.testing.assert_array_equal(read(mask), read(probability) >= round(threshold * 10_000))
    features = json.loads((study.folder / "scene" / "landslides.geojson").read_text())["features"]
    assert f"{len(features):,} landslides" in done.stdout
    assert sum(feature["properties"]["pixels"] for feature in features) == (read(mask) == 1).sum() > 0
    assert list((study.folder / ".lsml" / "scenes").iterdir()) == []
    before = {path: path.read_bytes() for path in (study.folder / "scene").iterdir()}
    assert len(before) == 4
    assert lsml(study.folder, "predict", str(path), *arguments).returncode == 0
    assert {path: path.read_bytes() for path in (study.folder / "scene").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("SCENE", "--model", "tiny@candidate"), 3, "no band 'slope' (found: B12, B11,"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "nowhere.tif"), 3, "No such file"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--tile", "100"), 2, "give multiples of 64"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--bands", "purple=1"), 2, "no such band of the model"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--bands", "red"), 2, "is not NAME=N"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--values", "stored"), 3, "raw reflectance x 10,000"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--out", "mlflow.db/maps"), 3, "cannot be written to"),
        (("SCENE", "--model", "tiny@candidate", "--dem", "DEM", "--out", "."), 3, "contains other files"),
        (("SCENE",), 2, "give either --run-id or --model"),
    ],
)
def test_a_scene_that_cannot_be_mapped_says_why(
    study: Study, scene: tuple[Path, Path], arguments: tuple[str, ...], code: int, says: str
) -> None:
    """One line, the exit code, and no map."""
    places = {"SCENE": str(scene[0]), "DEM": str(scene[1])}
    done = lsml(study.folder, "predict", *(places.get(word, word) for word in arguments))
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(study.folder.glob("predictions/*.tif"))


def test_without_the_packages_of_polygons_the_line_says_what_to_install(
    study: Study, scene: tuple[Path, Path], tmp_path: Path
) -> None:
    """Before anything is predicted; the maps need none of them."""
    (tmp_path / "shapely.py").write_text("raise ImportError")
    env = environment(tmp_path)
    arguments = ("predict", str(scene[0]), "--model", "tiny@candidate", "--out", "plain", "--dem", str(scene[1]))
    done = lsml(study.folder, *arguments, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "shapely is not installed; pip install 'lsml[scenes]'" in done.stderr
    assert not (study.folder / "plain").exists()
    done = lsml(study.folder, *arguments, "--no-polygons", env=env)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (study.folder / "plain").iterdir()) == ["mask.tif", "probability.tif"]
