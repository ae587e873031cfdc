"""Mapping a GeoTIFF scene, as `lsml predict` does, against the bare forward pass of its tiles; time and memory by size.

    python bench/scenes.py [--side 1500] [--filters 16] [--rounds 5] [--largest 6000] [--smoke]

The scene holds Landslide4Sense's twelve spectral bands as uint16, the DEM has pixels three times as large. The first
table says how many tiles of 256 pixels are predicted a second, for which the rest has to keep up with the network; the
second maps scenes of 1,000 pixels a side and more with a tiny network, each in a process.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timing import arguments, in_turns, median, ratio, show

TILE, OVERLAP = 256, 64
GRID = (10.0, 0.0, 500_000.0, 0.0, -10.0, 3_100_000.0)


def main() -> None:
    """Runs the benchmark."""
    if sys.argv[1:2] == ["--in"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    given = arguments(__doc__, side=1500, filters=16, largest=6000)
    sizes = [side for side in (1000, 2000, 4000, 6000, 10_980) if side <= given.largest]
    if given.smoke:
        given.side, given.filters, sizes = 300, 4, [300]
    with tempfile.TemporaryDirectory() as folder:
        against_forward(Path(folder), given.side, given.filters, given.rounds)
        rows = []
        for side in sizes:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, __file__, "--in", folder, str(side)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append([side, found["seconds"], 1e6 * found["seconds"] / side**2, *found["megabytes"]])
    show("Whole scenes by size, 4 filters", ["side", "CPU s", "CPU s/megapixel", "MB before", "MB at most"], rows)


def against_forward(folder: Path, side: int, filters: int, rounds: int) -> None:
    """Tiles a second of the network alone and of mapping a scene."""
    import numpy as np

    from lsml.scenes.tiling import Tiling

    predict, path, dem = network(folder, filters), *files(folder, side)
    tiling = Tiling.of(side, side, tile=TILE, overlap=OVERLAP)
    tiles = len(tiling.tops) * len(tiling.lefts)
    images = np.random.default_rng(0).random((len(tiling.lefts), TILE, TILE, 14), np.float32)

    def forward() -> None:
        # As many at a time as a scene of this width has them.
        for _ in tiling.tops:
            predict(images)

    number = 0

    def whole(finish: bool) -> Callable[[], None]:
        def run() -> None:
            nonlocal number
            number += 1
            with mapped(path, dem, predict, folder / f"work-{number}") as finished:
                if finish:
                    write(finished, folder)

        return run

    took = in_turns({"forward pass": forward, "map": whole(False), "map, GeoTIFFs and polygons": whole(True)}, rounds)
    rows = []
    for name, seconds in took.items():
        apart = ratio(took["forward pass"], seconds)
        rows.append([name, *(tiles / value for value in median(seconds)), *apart])
    columns = ["", "tiles/CPU s", "tiles/s", "CPU, share of forward", "wall, share of forward"]
    show(f"A scene of {side} x {side} pixels in {tiles} tiles, {filters} filters", columns, rows)


def measure(folder: Path, side: int) -> dict[str, Any]:
    """CPU seconds of mapping a scene with a tiny network, and megabytes of memory before it and at most."""
    import resource

    import numpy as np

    predict = network(folder, 4)
    predict(np.zeros((1, TILE, TILE, 14), np.float32))
    path, dem = files(folder, side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    with mapped(path, dem, predict, folder / f"work-{side}") as finished:
        write(finished, folder)
    seconds = time.process_time() - started
    return {"seconds": seconds, "megabytes": [before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]}


def network(folder: Path, filters: int) -> Callable[[Any], Any]:
    """A U-Net of random weights as a predictor."""
    from lsml.training.device import load_keras

    load_keras()
    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.models.unet import build_model

    data = folder / "data"
    if not data.exists():
        synthesize(data, train=2, validation=1, test=1)
    statistics = TrainingData.prepare(data, folder / "packs").statistics
    return build_model(with_values(TrainConfig(), {"model.filters": filters}), statistics).predict_on_batch


def files(folder: Path, side: int) -> tuple[Path, Path]:
    """A scene of synthetic patches and a DEM of hills, written a strip at a time."""
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.synthetic import synthetic_patch

    patches = [LANDSLIDE4SENSE.physical(synthetic_patch("test", number)[0])[..., :12] for number in range(1, 5)]
    strip = np.moveaxis(np.concatenate(patches, axis=1), -1, 0).round().astype(np.uint16)
    strip = np.tile(strip, (1, 1, -(-side // strip.shape[2])))[:, :, :side]
    kind = {"driver": "GTiff", "crs": "EPSG:32645", "tiled": True, "compress": "deflate", "zlevel": 1}
    scene, dem = folder / f"scene-{side}.tif", folder / f"dem-{side}.tif"
    shape = {"height": side, "width": side, "count": 12, "dtype": "uint16"}
    with rasterio.open(scene, "w", transform=rasterio.Affine(*GRID), **kind, **shape) as file:
        for row in range(0, side, 128):
            rows = min(128, side - row)
            file.write(strip[:, :rows], window=Window(0, row, side, rows))
    coarse = side // 3 + 40
    rows, columns = np.indices((coarse, coarse), np.float32)
    hills = 1500 + 300 * np.sin(rows / 40) + 250 * np.cos(columns / 30)
    place = rasterio.Affine(*GRID) @ rasterio.Affine.translation(-20, -20) @ rasterio.Affine.scale(3)
    with rasterio.open(
        dem, "w", transform=place, height=coarse, width=coarse, count=1, dtype="float32", **kind
    ) as file:
        file.write(hills.astype(np.float32), 1)
    return scene, dem


@contextmanager
def mapped(path: Path, dem: Path, predict: Callable[[Any], Any], work: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The rows of a scene's map in a folder, which is removed afterwards; and the scene's grid."""
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.scenes.maps import Unfinished, predict_rows
    from lsml.scenes.reading import Scene
    from lsml.scenes.tiling import Tiling

    with Scene.of(path, LANDSLIDE4SENSE, dem=dem, bands={}) as scene:
        tiling = Tiling.of(*scene.file.shape, tile=TILE, overlap=OVERLAP)
        unfinished = Unfinished(work, {}, scene.file.shape)
        predict_rows(scene, tiling, predict, unfinished, lambda done, total: None)
        grid = scene.grid
    yield unfinished, grid
    unfinished.remove()


def write(finished: tuple[Any, dict[str, Any]], out: Path) -> None:
    """GeoTIFFs, and polygons of the thousandth of pixels of which a random network is surest."""
    import numpy as np

    from lsml.scenes.maps import STEPS, write_maps
    from lsml.scenes.polygons import write_polygons

    unfinished, grid = finished
    threshold = max(int(np.quantile(unfinished.read()[:512, :512], 0.999)), 1) / STEPS
    write_maps(unfinished, threshold, out, grid=grid, facts={})
    write_polygons(unfinished, threshold, out, grid=grid, facts={}, min_area=0, progress=lambda done, total: None)


if __name__ == "__main__":
    main()
