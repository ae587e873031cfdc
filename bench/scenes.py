"""`lsml predict` of whole scenes against the bare forward pass of their tiles: speed, memory, and a kill in the middle.

    python bench/scenes.py [--sides 5000,10000,20000] [--kill 50] [--filters 16] [--epochs 4] [--calls 20]
                           [--polygons 1] [--folder DIR] [--smoke]

A U-Net is trained on synthetic patches for a few epochs. Scenes of fourteen bands, valid throughout, repeat one drawn
block of 1,024 pixels a side, with a DEM's slope and elevation as bands, as `lsml scene assemble` writes them. Of each
the command maps all, to the polygons and the page, in a process of its own; before and after it another process
predicts tiles of random numbers with the same model, as many in a call. The last scene is mapped once more, killed
with SIGKILL at `--kill` per cent of its rows of tiles, and mapped by the same command again; 0 goes without.

A network of few epochs may speckle a scene with millions of landslides of a pixel or two, whose outlines take longer
than all else and a kilobyte of memory each: `--polygons 0` goes without, and more `--epochs` make them fewer.

The folder, a temporary one unless `--folder` says where, takes some 20 bytes a pixel of the largest scene.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timing import arguments, show

TILE, OVERLAP, BLOCK = 256, 64, 1024
MODEL = "maps@candidate"
STORED = {"slope": (0.01, -0.01), "elevation": (0.2, -1000.2)}
"""Scale and offset of terrain, as `lsml scene assemble` stores it; reflectance is x 10,000."""
EXPERIMENT = """
name: maps
data: {{synthetic: {{train: 96, validation: 16, test: 16, seed: 0}}}}
base:
  model: {{filters: {filters}}}
  training: {{epochs: {epochs}, batch_size: 8, learning_rate: 3e-3}}
space:
  loss.jaccard: {{low: 0.0, high: 1.0}}
study: {{trials: 1, seed: 7, pruner: none}}
"""


def main() -> None:
    """Runs the benchmark."""
    if sys.argv[1:2] == ["--forward"]:
        print(json.dumps(forward(int(sys.argv[2]), int(sys.argv[3]))))
        return
    given = arguments(__doc__, sides="5000,10000,20000", kill=50, filters=16, epochs=4, calls=20, polygons=1, folder="")
    sides, block = [int(side) for side in given.sides.split(",")], BLOCK
    if given.smoke:
        sides, block, given.filters, given.epochs, given.calls = [400, 600], 128, 4, 1, 2
    with tempfile.TemporaryDirectory(dir=given.folder or None) as name:
        folder = Path(name)
        (folder / "maps.yaml").write_text(EXPERIMENT.format(filters=given.filters, epochs=given.epochs))
        run(folder, "data", "synth", "block", "--scene", "--height", str(block), "--width", str(block))
        run(folder, "tune", "maps.yaml")
        rows = []
        for place, side in enumerate(sides):
            write_scene(folder, side)
            rows.append(against_forward(folder, side, given.calls, polygons=bool(given.polygons)))
            if given.kill and place == len(sides) - 1:
                print(killed(folder, side, given.kill, polygons=bool(given.polygons)), flush=True)
            (folder / "scene.tif").unlink()
    columns = ["side", "tiles", "s", "CPU s", "CPU s/megapixel", "MB at most", "landslides"]
    columns += ["share of forward, CPU", "share of forward, wall"]
    show(f"lsml predict of whole scenes, {given.filters} filters", columns, rows)


class Done(NamedTuple):
    """What a process took, of the clock, of processors and of memory; negative codes are signals."""

    code: int
    wall: float
    cpu: float
    megabytes: float


def start(folder: Path, *command: str) -> "subprocess.Popen[bytes]":
    """A Python process in a folder, whose stores are there; what it prints goes to a log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )


def finish(process: "subprocess.Popen[bytes]", started: float) -> Done:
    """Waits for a process that began at a time of `time.perf_counter`."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return Done(process.returncode, time.perf_counter() - started, cpu, used.ru_maxrss / 1024)


def run(folder: Path, *arguments: str) -> Done:
    """A command of lsml to its end."""
    done = finish(start(folder, "-m", "lsml", *arguments), time.perf_counter())
    if done.code:
        sys.exit(f"lsml {' '.join(arguments)} ended with {done.code}:\n{(folder / 'log').read_text()[-3000:]}")
    return done


def against_forward(folder: Path, side: int, calls: int, *, polygons: bool) -> list[Any]:
    """The row of a scene in the table."""
    tiles, before = forward_apart(folder, side, calls)
    done = run(folder, *predict_into(f"maps-{side}", polygons=polygons))
    after = forward_apart(folder, side, calls)[1]
    cpu, wall = (tiles * statistics.mean(pair) for pair in zip(before, after, strict=True))
    landslides = len(features(folder / f"maps-{side}"))
    figures = [done.wall, done.cpu, 1e6 * done.cpu / side**2, done.megabytes]
    print(f"{side} x {side} pixels: {done}, forward pass {cpu:.1f} CPU s, {wall:.1f} s", flush=True)
    return [side, tiles, *figures, landslides, cpu / done.cpu, wall / done.wall]


def features(out: Path) -> list[Any]:
    """The landslides in a folder of maps; none where no polygons were asked for."""
    path = out / "landslides.geojson"
    found: list[Any] = json.loads(path.read_text())["features"] if path.exists() else []
    return found


def predict_into(out: str, *, polygons: bool) -> Sequence[str]:
    """The command's arguments."""
    asked = "--polygons" if polygons else "--no-polygons"
    return (
        "predict",
        "scene.tif",
        "--model",
        MODEL,
        "--out",
        out,
        "--tile",
        str(TILE),
        "--overlap",
        str(OVERLAP),
        asked,
    )


def forward_apart(folder: Path, side: int, calls: int) -> tuple[int, list[float]]:
    """How many tiles a scene has; CPU seconds and seconds of one in the forward pass, in a process of its own."""
    (folder / "log").write_bytes(b"")
    started = time.perf_counter()
    done = finish(start(folder, str(Path(__file__).resolve()), "--forward", str(side), str(calls)), started)
    said = (folder / "log").read_text()
    if done.code:
        sys.exit(f"the forward pass ended with {done.code}:\n{said[-3000:]}")
    found = json.loads(said.splitlines()[-1])
    return found["tiles"], found["seconds"]


def forward(side: int, calls: int) -> dict[str, Any]:
    """Medians over calls of the model alone, as many tiles in each as `lsml predict` has."""
    import numpy as np

    from lsml.scenes.maps import _together
    from lsml.scenes.tiling import Tiling
    from lsml.tracking.models import RunModel
    from lsml.tracking.store import open_store
    from lsml.tracking.study import model_run, named_run

    client = open_store()
    loaded = RunModel(client, str(model_run(client, named_run(client, MODEL)).info.run_id)).load()
    tiling = Tiling.of(side, side, tile=TILE, overlap=OVERLAP)
    together = _together(tiling)
    images = np.random.default_rng(0).random((together, TILE, TILE, len(loaded.sensor)), np.float32)
    loaded.predict_whole(images)
    took = []
    for _ in range(calls):
        cpu, wall = time.process_time(), time.perf_counter()
        loaded.predict_whole(images)
        took.append(((time.process_time() - cpu) / together, (time.perf_counter() - wall) / together))
    return {
        "tiles": len(tiling.tops) * len(tiling.lefts),
        "seconds": [*map(statistics.median, zip(*took, strict=True))],
    }


def killed(folder: Path, side: int, share: int, *, polygons: bool) -> str:
    """Maps the scene again, in two processes of which the first is killed; says whether the files are the same."""
    known = set((folder / ".lsml" / "scenes").glob("*"))
    rows = -(-(side - OVERLAP) // (TILE - OVERLAP))
    process, started = start(folder, "-m", "lsml", *predict_into("killed", polygons=polygons)), time.perf_counter()
    finished = 0
    while process.poll() is None and finished < rows * share / 100:
        time.sleep(0.05)
        for work in set((folder / ".lsml" / "scenes").glob("*")) - known:
            if (work / "journal.json").exists():
                finished = json.loads((work / "journal.json").read_text())["finished"]
    process.kill()
    first = finish(process, started) if process.returncode is None else None
    if first is None or first.code != -9:
        sys.exit(f"the command ended before it was killed:\n{(folder / 'log').read_text()[-3000:]}")
    second = run(folder, *predict_into("killed", polygons=polygons))
    same = {
        path.name: path.read_bytes() == (folder / "killed" / path.name).read_bytes()
        for path in sorted((folder / f"maps-{side}").iterdir())
    }
    one, other = (features(folder / out) for out in (f"maps-{side}", "killed"))
    compared = ", ".join(f"{name} {'the same' if equal else 'DIFFERS'}" for name, equal in same.items())
    return (
        f"{side} x {side} pixels, killed after {finished} of {rows} rows of tiles: {first}, then {second}\n"
        f"bytes: {compared}; {len(one):,} features {'equal' if one == other else 'DIFFER'}"
    )


def write_scene(folder: Path, side: int) -> None:
    """`scene.tif` of the block in `block`, repeated, a strip at a time."""
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.scenes.reading import Scene

    block = folder / "block"
    with Scene.of(block / "scene.tif", LANDSLIDE4SENSE, dem=block / "dem.tif", bands={}) as scene:
        length, grid = scene.file.height, scene.grid
        stored = scene.read(0, 0, length)
    assert stored is not None
    roles = [band.role for band in LANDSLIDE4SENSE.bands]
    scales = [STORED.get(role, (1e-4, 0.0)) for role in roles]
    physical = LANDSLIDE4SENSE.physical(stored)
    bands = [
        (physical[..., place] - offset) / scale if role in STORED else physical[..., place]
        for place, (role, (scale, offset)) in enumerate(zip(roles, scales, strict=True))
    ]
    strip = np.tile(np.rint(bands).clip(1, 65_535).astype(np.uint16), (1, 1, -(-side // length)))[:, :, :side]
    profile = grid | {"driver": "GTiff", "count": len(bands), "dtype": "uint16", "nodata": 0, "tiled": True}
    profile |= {"height": side, "width": side, "compress": "deflate", "predictor": 2, "zlevel": 1}
    with rasterio.open(folder / "scene.tif", "w", bigtiff="if_safer", interleave="band", **profile) as file:
        for row in range(0, side, length):
            rows = min(length, side - row)
            file.write(strip[:, :rows], window=Window(0, row, side, rows))
        for number, band in enumerate(LANDSLIDE4SENSE.bands, start=1):
            file.set_band_description(number, band.name)
        file.scales, file.offsets = zip(*scales, strict=True)


if __name__ == "__main__":
    main()
