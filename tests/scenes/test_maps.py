"""Maps without seams, of a network and of what it is given; the same bytes after a kill; files that QGIS opens."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from lsml.config.schema import TrainConfig, with_values
from lsml.data.sensor import RGB
from lsml.data.statistics import BandStatistics
from lsml.errors import DataError
from lsml.evaluation.evaluate import Predict
from lsml.scenes import maps
from lsml.scenes.maps import Unfinished, predict_rows, write_maps
from lsml.scenes.reading import Scene
from lsml.scenes.tiling import Tiling
from tests import warm
from tests.bands import N_BANDS, SENSOR
from tests.processes import PATIENCE, environment
from tests.scenes.killed import blurred, map_and_be_killed, map_scene
from tests.scenes.made import read, write_scene

COLOURS = np.random.default_rng(0).integers(1, 255, (3, 300, 420), np.uint8)


@pytest.fixture(scope="module")
def network(statistics: BandStatistics) -> Predict:
    """A small U-Net, all of it convolutions."""
    return random_network(statistics, {})


def random_network(statistics: BandStatistics, values: dict[str, Any]) -> Predict:
    """A small network of random weights, whose probabilities spread over 0..1."""
    from lsml.training.device import load_keras

    load_keras()
    import keras

    from lsml.models.unet import build_model

    keras.utils.set_random_seed(0)
    config = with_values(TrainConfig(), {"model.filters": 4, "model.depth": 2, **values})
    logits = build_model(config, statistics).predict_on_batch

    usual = logits(np.moveaxis(smooth(192, 192), 0, -1)[None])
    middle, spread = float(usual.mean()), float(usual.std())
    return lambda images: 1 / (1 + np.exp((middle - np.asarray(logits(images))) / spread))


def smooth(height: int, width: int) -> np.ndarray:
    """Bands float32 `(C, H, W)` around their means that vary over some ten pixels."""
    rng = np.random.default_rng(3)
    coarse = rng.normal(1.2, 0.5, (N_BANDS, height // 8 + 2, width // 8 + 2))
    fine = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)[:, :height, :width]
    return (fine + rng.normal(0, 0.05, fine.shape)).astype(np.float32)


def mapped(path: Path, folder: Path, predict: Predict, *, tile: int = 128) -> np.ndarray:
    """Stored probabilities of a scene of the tests' sensor."""
    with Scene.of(path, SENSOR, dem=None, bands={}, values="stored") as scene:
        unfinished = Unfinished(folder, {}, scene.file.shape)
        tiling = Tiling.of(*scene.file.shape, tile=tile, overlap=64)
        predict_rows(scene, tiling, predict, unfinished, lambda done, total: None)
    return np.array(unfinished.read())


def test_there_are_no_seams(tmp_path: Path, network: Predict) -> None:
    """Further from a tile's edge than the network sees, the map is that of one big pass; nearer, it is close to it.

    Two convolutions of 3 x 3 on each of three levels, and on two of them again on the way up, see about
    2 * (1 + 2 + 4 + 2 + 1) = 20 pixels far. Of tiles of 192 that share 64, each is alone on the 64 in its middle.
    """
    path = write_scene(tmp_path / "scene.tif", smooth(320, 384))
    whole = network(np.moveaxis(smooth(320, 384), 0, -1)[None])[0, ..., 0]
    found = mapped(path, tmp_path / "work", network, tile=192) / maps.STEPS
    inside = np.zeros(whole.shape, bool)
    for top in (0, 128):
        for left in (0, 128):
            inside[top + 64 : top + 128, left + 64 : left + 128] = True
    assert np.abs(found - whole)[inside].max() <= 1e-3
    # Elsewhere weights are small where a tile knows less.
    assert np.abs(found - whole)[30:-30, 30:-30].mean() <= 1e-3


@pytest.mark.parametrize(
    "values",
    [{}, {"model.attention": "squeeze_excitation"}, {"model.architecture": "efficientnet_unet"}],
    ids=["convolutions", "squeeze-excitation", "EfficientNet"],
)
def test_a_tiling_that_is_moved_says_the_same(
    tmp_path: Path, statistics: BandStatistics, values: dict[str, Any]
) -> None:
    """By 64 pixels, of which 2**depth is a divisor: less than 1 % of the landslide pixels become others.

    The last two pool over a whole tile, which another tiling shows other ground; the scene is of one texture.
    """
    network, bands = random_network(statistics, values), smooth(384, 384)
    one = mapped(write_scene(tmp_path / "a.tif", bands), tmp_path / "one", network)[64:, 64:]
    two = mapped(write_scene(tmp_path / "b.tif", bands[:, 64:, 64:].copy()), tmp_path / "two", network)
    inner = (slice(32, -32),) * 2
    before, after = one[inner] >= 7000, two[inner] >= 7000
    assert 0.05 < before.mean() < 0.5
    assert (before != after).sum() < 0.01 * before.sum()


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A scene of 300 x 420 pixels with nodata in a corner, and its map by `blurred` in tiles of 128 without a stop."""
    folder = tmp_path_factory.mktemp("colours")
    bands = COLOURS.copy()
    bands[:, 100:, 250:] = 0
    path = write_scene(folder / "scene.tif", bands, nodata=0)
    return path, np.array(map_scene(path, folder / "work").read())


def test_nodata_stays_nodata_and_its_tiles_are_left_out(colours: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """Pixels without a value in any band have none in the map; a tile of such pixels is not predicted."""
    path, stored = colours
    np.testing.assert_array_equal(stored == maps.NODATA, read(path) == 0)
    seen = 0

    def counted(images: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += int((images != 0).any(axis=(1, 2, 3)).sum())
        return blurred(images)

    with Scene.of(path, RGB, dem=None, bands={}) as scene:
        tiling = Tiling.of(300, 420, tile=128, overlap=64)
        predict_rows(scene, tiling, counted, Unfinished(tmp_path, {}, (300, 420)), lambda done, total: None)
    # Rows begin at 0, 64, 128, 192, columns at 0 to 320 in steps of 64: of 24 tiles those from row 128 and 192 and
    # from column 256 and 320 have no value.
    assert seen == 24 - 4


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4])
@pytest.mark.parametrize("noted", [False, True], ids=["predicting", "writing"])
def test_a_map_that_was_killed_goes_on_to_the_same_bytes(
    colours: tuple[Path, np.ndarray], tmp_path: Path, kill_at: int, noted: bool
) -> None:
    """A call a row of tiles, four rows: killed instead of each of them, or with a row written and not yet noted.

    A row is written while the next one is predicted, so the one before the kill may be on disk or not.
    """
    path, expected = colours
    process = warm.start_function(map_and_be_killed, path, tmp_path / "work", kill_at, noted)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    finished = json.loads((tmp_path / "work" / "journal.json").read_text())["finished"]
    assert finished in ({kill_at - 1} if noted else {kill_at - 1, max(kill_at - 2, 0)})
    # The row before what is left is predicted again, and no other: a call more would be its end.
    one_more = 4 - max(finished - 1, 0) + 1
    assert map_scene(path, tmp_path / "work", kill_at=one_more).read().tobytes() == expected.tobytes()


@pytest.mark.parametrize("noted", [False, True], ids=["predicting", "writing"])
def test_the_uncertainty_goes_on_to_the_same_bytes_too(
    colours: tuple[Path, np.ndarray], tmp_path: Path, noted: bool
) -> None:
    """Killed at the third of four rows; the second layer has half of the first, but for rounding."""
    path, expected = colours
    process = warm.start_function(map_and_be_killed, path, tmp_path / "work", 3, noted, maps.UNCERTAIN)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    finished = map_scene(path, tmp_path / "work", layers=maps.UNCERTAIN)
    assert finished.read().tobytes() == expected.tobytes()
    half, known = finished.read("deviation"), expected != maps.NODATA
    np.testing.assert_array_equal(half == maps.NODATA, ~known)
    assert np.abs(half[known] - expected[known] / 2).max() <= 0.76
    whole = map_scene(path, tmp_path / "whole", layers=maps.UNCERTAIN)
    assert whole.read("deviation").tobytes() == half.tobytes()


def test_the_uncertainty_is_deviation_and_entropy(tmp_path: Path) -> None:
    """Of .5 a bit; of .25 and .75, .25 * 2 + .75 * .41504 = .81128; of 0 and 1 none; nodata has none in either."""
    unfinished = Unfinished(tmp_path / "work", {}, (1, 6), maps.UNCERTAIN)
    unfinished.begin()
    stored = np.array([[0, 2500, 5000, 7500, 10_000, maps.NODATA], [1, 2, 3, 4, 5, maps.NODATA]], np.uint16)
    unfinished.write(slice(0, 1), stored[:, None], finished=1)
    grid = {"height": 1, "width": 6, "crs": "EPSG:32645", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 3e6)}
    write_maps(unfinished, 0.25, tmp_path, grid=grid, facts={})
    with rasterio.open(tmp_path / "uncertainty.tif") as file:
        np.testing.assert_array_equal(file.read(1), stored[1:])
        assert file.read(2).tolist() == [[0, 8113, 10_000, 8113, 0, maps.NODATA]]
        assert (file.scales, file.nodata) == ((1e-4, 1e-4), 65535)
        assert file.descriptions == ("standard deviation of the probability", "predictive entropy in bits")


def test_a_map_of_something_else_is_begun_anew(colours: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """What is there of another model, or is damaged, is not gone on with."""
    path, expected = colours
    Unfinished(tmp_path / "work", {"of": "another"}, (300, 420)).begin()
    for damage in ("", "{}", '{"identity": {"of": "one"}}'):
        (tmp_path / "work" / "probability.raw").write_bytes(b"\1" * 2 * 300 * 420)
        assert map_scene(path, tmp_path / "work").read().tobytes() == expected.tobytes()
        (tmp_path / "work" / "journal.json").write_text(damage)


def test_without_room_the_line_says_where(tmp_path: Path) -> None:
    """A file in the place of the folder: one line with the bytes that the map takes, 2 a pixel."""
    (tmp_path / "work").write_text("")
    with pytest.raises(
        DataError, match=r"probability\.raw: cannot be written \(24 bytes in all\): .*; free space there"
    ):
        Unfinished(tmp_path / "work", {}, (3, 4)).begin()


def test_maps_are_cloud_optimised_and_hold_what_they_say(tmp_path: Path) -> None:
    """1,200 columns have overviews of 600 and 300; a mean of probabilities, and of the mask what is most frequent."""
    unfinished = Unfinished(tmp_path / "work", {}, (700, 1200))
    unfinished.begin()
    stored = np.random.default_rng(0).integers(0, maps.STEPS, (700, 1200)).astype(np.uint16)
    stored[:9, :9] = maps.NODATA
    unfinished.write(slice(0, 700), stored[None], finished=1)
    transform = rasterio.Affine.translation(500_000, 3_000_000) @ rasterio.Affine.rotation(20)
    grid = {"height": 700, "width": 1200, "crs": "EPSG:32645", "transform": transform}
    write_maps(unfinished, 0.25, tmp_path, grid=grid, facts={"scene": "made"})
    # Of .25 the stored number is 2,500.
    with rasterio.open(tmp_path / "probability.tif") as file:
        np.testing.assert_array_equal(file.read(1), stored)
        assert (file.scales, file.nodata, file.overviews(1)) == ((1e-4,), 65535, [2, 4])
        assert (file.crs.to_epsg(), file.tags()["scene"]) == (32645, "made")
        assert file.transform.almost_equals(transform)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert abs(file.read(1, out_shape=(350, 600))[100, 100] - stored[200:202, 200:202].mean()) <= 1
    with rasterio.open(tmp_path / "mask.tif") as file:
        mask = file.read(1)
        assert (file.nodata, file.dtypes[0], file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == (255, "uint8", "COG")
    np.testing.assert_array_equal(mask[9:], stored[9:] >= 2500)
    assert (mask[:9, :9] == 255).all()


_PEAK = """
import resource, sys
from pathlib import Path
from lsml.scenes.maps import UNCERTAIN
from tests.scenes.killed import map_scene
map_scene(Path(sys.argv[1]), Path(sys.argv[2]), layers=UNCERTAIN)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(folder: Path, side: int) -> float:
    """Of a process that maps a scene of three colours, `side` pixels wide and high."""
    path = folder / f"{side}.tif"
    shape = {"height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32645", transform=(10, 0, 5e5, 0, -10, 3e6), **shape
    ) as file:
        for row in range(0, side, 256):
            rows = min(256, side - row)
            window = rasterio.windows.Window(0, row, side, rows)
            file.write(np.random.default_rng(row).integers(1, 255, (3, rows, side), np.uint8), window=window)
    work = str(folder / f"work-{side}")
    command = [sys.executable, "-c", _PEAK, str(path), work]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=300)
    return int(done.stdout) / 1024


@pytest.mark.full
def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    """Of 16 times as many pixels, 4,000 x 4,000, it may be that of rows four times as wide: some megabytes.

    Besides, GDAL keeps blocks of the file, up to 256 MB; the large scene has 48 MB of them. Its probabilities and
    deviations would take 128 MB as float32, its bands 192.
    """
    small, large = (peak_megabytes(tmp_path, side) for side in (1000, 4000))
    assert large - small < 100
