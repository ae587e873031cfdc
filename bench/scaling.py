"""Packing, loading and predicting at 100 to 10,000 patches: time a patch and memory, each size in a process.

    python bench/scaling.py [--largest 10000] [--smoke]

A hundred synthetic patches are linked under as many names as it takes: what is read and written is as large as if they
were different. Memory is what the process has for itself (RssAnon), without the pages of the pack that it reads.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import arguments, show

SIZES = (100, 1000, 4000, 10000)
SOURCES = 100


def main() -> None:
    """Runs the benchmark."""
    if len(sys.argv) > 2 and sys.argv[1] == "--in":
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    given = arguments(__doc__, largest=10000)
    sizes, sources = ((2, 4), 2) if given.smoke else (tuple(size for size in SIZES if size <= given.largest), SOURCES)
    from lsml.data.synthetic import synthesize

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "source", train=sources, validation=2, test=1)
        for size in sizes:
            data = linked(Path(folder) / "source", Path(folder) / str(size), size)
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            command = [sys.executable, __file__, "--in", str(data)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append([size, *(1000 * seconds / size for seconds in found["seconds"]), *found["megabytes"]])
    columns = ["patches", "pack ms/patch", "load ms/patch", "predict ms/patch"]
    show("Scaling", [*columns, "MB after pack", "after load", "after predict"], rows)


def linked(source: Path, target: Path, size: int) -> Path:
    """A dataset of `size` train patches that are hard links to those of `source`."""
    for kind, prefix in (("img", "image"), ("mask", "mask")):
        files = sorted((source / "TrainData" / kind).glob("*.h5"))
        (target / "TrainData" / kind).mkdir(parents=True)
        for number in range(size):
            os.link(files[number % len(files)], target / "TrainData" / kind / f"{prefix}_{number + 1}.h5")
        (target / "ValidData" / kind).mkdir(parents=True)
        for file in (source / "ValidData" / kind).glob("*.h5"):
            os.link(file, target / "ValidData" / kind / file.name)
    return target


def measure(data: Path) -> dict[str, list[float]]:
    """Seconds of packing, of one epoch of loading with the default augmentation, and of predicting by a tiny model."""
    from lsml.training.device import load_keras

    load_keras()
    from lsml.config.schema import AugmentConfig, TrainConfig, with_values
    from lsml.data.loader import EpochLoader
    from lsml.data.scan import scan_images
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.splits import TrainingData
    from lsml.evaluation.predict import predict_patches
    from lsml.models.unet import build_model

    seconds, megabytes = [], []

    def lap(started: float) -> None:
        seconds.append(time.perf_counter() - started)
        status = Path("/proc/self/status").read_text()
        megabytes.append(int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024)  # type: ignore[index]

    started = time.perf_counter()
    prepared = TrainingData.prepare(data, data.with_name(f"{data.name}-packs"))
    lap(started)
    started = time.perf_counter()
    batch_size = min(16, len(prepared.train))
    for _ in EpochLoader(prepared.train, epoch=1, batch_size=batch_size, augment=AugmentConfig(), seed=0):
        pass
    lap(started)
    model = build_model(with_values(TrainConfig(), {"model.filters": 4, "model.depth": 1}), prepared.statistics)
    patches, out = scan_images(data / "TrainData"), data.with_name(f"{data.name}-out")
    started = time.perf_counter()
    predict_patches(
        model.predict_on_batch, patches, 0.5, out, sensor=LANDSLIDE4SENSE, pictures=0, progress=lambda done, total: None
    )
    lap(started)
    return {"seconds": seconds, "megabytes": megabytes}


if __name__ == "__main__":
    main()
