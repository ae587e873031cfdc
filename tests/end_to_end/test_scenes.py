"""`lsml predict` on a GeoTIFF scene: maps on its grid, the same after a kill, and what it refuses in one line."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

import lsml as lsml_api
from lsml.errors import Interrupted, LsmlError
from lsml.scenes.maps import Unfinished
from lsml.scenes.synthetic import synthesize_scene
from tests.end_to_end.conftest import Study
from tests.processes import environment, lsml
from tests.scenes.made import read, run_commands, write_scene, write_sentinel


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scene of 300 x 300 pixels with a corner of nodata, and its DEM."""
    return write_sentinel(tmp_path_factory.mktemp("scene"), nodata=0)


def test_a_scene_becomes_maps_on_its_grid(study: Study, scene: tuple[Path, Path]) -> None:
    """Probability by its scale and mask, where the mask is 1 from the threshold on; cloud-optimised, with its place."""
    path, dem = scene
    arguments = ("--model", "first@candidate", "--out", "scene", "--dem", str(dem), "--tile", "128")
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
    assert len(before) == 7
    assert lsml(study.folder, "predict", str(path), *arguments).returncode == 0
    assert {path: path.read_bytes() for path in (study.folder / "scene").iterdir()} == before
    # Polygons of an earlier call would be taken for those of this one.
    assert lsml(study.folder, "predict", str(path), *arguments, "--no-polygons").returncode == 0
    assert sorted(path.name for path in (study.folder / "scene").iterdir()) == ["mask.tif", "probability.tif"]


@pytest.mark.full
def test_the_uncertainty_is_a_third_map(study: Study, scene: tuple[Path, Path]) -> None:
    """Probability and mask are those without it; one network's deviation is over orientations; a later call removes it.

    Nowhere is it more than .5, which is the most that numbers in 0..1 can deviate.
    """
    path, dem = scene
    arguments = ("predict", str(path), "--model", "first@candidate", "--out", "uncertain", "--dem", str(dem))
    done = lsml(study.folder, *arguments, "--tile", "128", "--uncertainty")
    assert done.returncode == 0, done.stderr
    out = study.folder / "uncertain"
    with rasterio.open(out / "uncertainty.tif") as file, rasterio.open(path) as source:
        assert (file.shape, file.crs, file.transform) == (source.shape, source.crs, source.transform)
        deviation, bits = file.read()
    known = deviation != 65535
    assert 0 < deviation[known].mean() < deviation[known].max() <= 5000
    assert bits[known].max() <= 10_000
    features = json.loads((out / "landslides.geojson").read_text())["features"]
    assert all(0 <= feature["properties"]["mean_uncertainty"] <= 0.5 for feature in features)
    before = {name: read(out / name) for name in ("probability.tif", "mask.tif")}
    assert lsml(study.folder, *arguments, "--tile", "128").returncode == 0
    assert not (out / "uncertainty.tif").exists()
    for name, values in before.items():
        np.testing.assert_array_equal(values, read(out / name))


def test_a_drawn_scene_is_mapped_and_the_map_assessed(study: Study, tmp_path: Path) -> None:
    """From `lsml data synth --scene` to the area of its landslides, with the labels that were drawn.

    Where the model is right or wrong, the interval holds what was drawn: one sample of 200 points, of one seed.
    """
    valley = tmp_path / "valley"
    synthesize_scene(valley, height=256, width=320, seed=4)
    arguments = ("predict", str(valley / "scene.tif"), "--dem", str(valley / "dem.tif"), "--out", "valley")
    done = lsml(study.folder, *arguments, "--model", "first@candidate")
    assert done.returncode == 0, done.stderr
    mask, points = study.folder / "valley" / "mask.tif", tmp_path / "points.geojson"
    done = lsml(study.folder, "map", "assess", str(mask), "--points", "200", "--out", str(points))
    assert done.returncode == 0, done.stderr
    truth, collection = read(valley / "mask.tif"), json.loads(points.read_text())
    for feature in collection["features"]:
        own = feature["properties"]
        own["label"] = int(truth[own["row"], own["column"]])
    points.write_text(json.dumps(collection))
    done = lsml(study.folder, "map", "assess", str(mask), "--labelled", str(points), "--json")
    assert done.returncode == 0, done.stderr
    area = json.loads(done.stdout)["landslide"]["area_m2"]
    assert area["low"] <= 100 * truth.sum() <= area["high"]


@pytest.fixture
def at_home(study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's folder as the current one, for calls of the Python API."""
    monkeypatch.chdir(study.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{study.folder / 'mlflow.db'}")
    return study.folder


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"model": None}, 2, "name a run, study or model, such as demo-000"),
        ({"dem": None}, 3, r"no band 'slope' \(found: B12, B11,.* or give a DEM: --dem DEM\.tif"),
        ({"dem": "nowhere.tif"}, 3, "nowhere.tif: cannot be read: No such file or directory; check the path"),
        ({"tile": 100}, 2, "100 pixels overlapping by 64; give multiples of 64"),
        ({"bands": {"purple": 1}}, 2, "--bands purple: no such band is asked for"),
        ({"values": "stored"}, 3, "raw reflectance x 10,000.*--values says what.*--force takes them as they are"),
        ({"bands": {"red": 1, "blue": 5, "swir2": 9}}, 3, "look swapped.*--bands says which is which"),
        ({"out": "mlflow.db/maps"}, 3, "cannot be written to: Not a directory; give another --out"),
        ({"out": "."}, 3, "contains other files"),
    ],
)
def test_a_scene_that_cannot_be_mapped_says_why(
    at_home: Path, scene: tuple[Path, Path], options: dict[str, Any], code: int, says: str
) -> None:
    """One line, the exit code, and no map."""
    given = {"model": "first@candidate", "dem": scene[1], "out": "refused"} | options
    with pytest.raises(LsmlError, match=says) as error:
        lsml_api.predict_scene(scene[0], **given)
    assert error.value.exit_code == code
    assert not (at_home / "refused").exists()


def test_an_interrupted_command_goes_on_where_it_was(
    at_home: Path, scene: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal after two of four rows of four tiles: the same command predicts the second again and goes on.

    Each row is a call of four tiles. With another setting it begins with the first row instead.
    """

    def run(**options: Any) -> list[int]:
        done: list[int] = []
        lsml_api.predict_scene(
            scene[0],
            model="first@candidate",
            out="stopped",
            dem=scene[1],
            tile=128,
            polygons=False,
            progress=lambda what, number, total: done.append(number),
            **options,
        )
        return done

    def stopped(unfinished: Unfinished, finished: int) -> None:
        note(unfinished, finished)
        if finished == 2:
            raise Interrupted(signal.SIGTERM)

    note = Unfinished._note
    assert run() == [4, 8, 12, 16]
    expected = (at_home / "stopped" / "probability.tif").read_bytes()
    for options, done in (({}, [8, 12, 16]), ({"bands": {"red": 9}}, [4, 8, 12, 16])):
        monkeypatch.setattr(Unfinished, "_note", stopped)
        with pytest.raises(Interrupted):
            run()
        monkeypatch.setattr(Unfinished, "_note", note)
        assert run(**options) == done
    assert run() == [4, 8, 12, 16]
    assert (at_home / "stopped" / "probability.tif").read_bytes() == expected


def test_eight_orientations_of_a_scene_turned_are_those_of_the_scene(
    at_home: Path, scene: tuple[Path, Path], tmp_path: Path
) -> None:
    """One tile, as it is and mirrored top to bottom with its place, which is south up then: the same map, mirrored.

    Without the DEM's own grid the terrain is the same too: it is made on either.
    """
    with rasterio.open(scene[0]) as file:
        bands, names = file.read()[:, :256, :256], file.descriptions
    south_up = Affine(10, 0, 500_000, 0, 10, 3_100_000 - 2560)
    paths = [
        write_scene(tmp_path / "one.tif", bands, names=names, nodata=0),
        write_scene(tmp_path / "two.tif", bands[:, ::-1].copy(), names=names, nodata=0, transform=south_up),
    ]
    maps = []
    for path in paths:
        options: dict[str, Any] = {"model": "first@candidate", "dem": scene[1], "tta": "d4", "polygons": False}
        result = lsml_api.predict_scene(path, out=tmp_path / path.stem, **options)
        assert (result.pixels, result.landslides) == (256 * 256, None)
        maps.append(read(result.out / "probability.tif").astype(int))
    assert np.abs(maps[0] - maps[1][::-1]).max() <= 1
    assert np.abs(np.diff(maps[0])).max() > 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("DATA/TestData/img", "--dem", "dem.tif"), "--dem: is for a scene; leave it out"),
        (("SCENE", "--pictures", "3"), "--pictures: is for a folder of patches; leave it out"),
        (("SCENE", "--bands", "red"), "'red' is not NAME=N, such as red=3"),
    ],
)
def test_options_of_the_other_kind_are_refused(
    study: Study, scene: tuple[Path, Path], arguments: tuple[str, ...], says: str
) -> None:
    """An option that would change nothing is no option."""
    words = (word.replace("DATA", str(study.data)).replace("SCENE", str(scene[0])) for word in arguments)
    done = lsml(study.folder, "predict", *words, "--model", "first@candidate")
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_without_the_packages_of_polygons_the_line_says_what_to_install(
    study: Study, scene: tuple[Path, Path], tmp_path: Path
) -> None:
    """Before anything is predicted; the maps need none of them."""
    (tmp_path / "shapely.py").write_text("raise ImportError")
    env = environment(tmp_path)
    arguments = ("predict", str(scene[0]), "--model", "first@candidate", "--out", "plain", "--dem", str(scene[1]))
    done = lsml(study.folder, *arguments, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "shapely is not installed; pip install 'lsml[scenes]'" in done.stderr
    assert not (study.folder / "plain").exists()
    done = lsml(study.folder, *arguments, "--no-polygons", env=env)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (study.folder / "plain").iterdir()) == ["mask.tif", "probability.tif"]


@pytest.mark.full
def test_patches_of_a_scene_are_trained_on_and_their_model_maps_it(tmp_path: Path) -> None:
    """From scene and polygons to patches, to a study of one trial, to a map of the same scene."""
    synthesize_scene(tmp_path / "valley", height=512, width=448, seed=2)
    scene, dem = "valley/scene.tif", ("--dem", "valley/dem.tif")
    run_commands(
        tmp_path,
        ("data", "tile", scene, "--landslides", "valley/landslides.geojson", *dem, "--size", "64", "--out", "patches"),
        ("tune", "region.yaml"),
        ("evaluate", "region", "--by", "region"),
        ("predict", scene, *dem, "--model", "region@candidate", "--out", "maps"),
    )
    with rasterio.open(tmp_path / "maps" / "mask.tif") as file:
        assert file.shape == (512, 448)
