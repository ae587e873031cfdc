"""Predicting a folder of patches, as `lsml predict` does, against the bare forward pass of the same batches.

    python bench/predict.py [--patches 96] [--filters 16] [--rounds 5] [--smoke]

Without pictures, with the twelve that are drawn by default, and with one of every patch.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show

from lsml.training.device import load_keras

BATCH = 16


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, patches=96, filters=16)
    if given.smoke:
        given.patches, given.filters = 2, 4
    load_keras()
    import numpy as np

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.formats import read_image
    from lsml.data.scan import scan_images
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.evaluation.predict import predict_patches
    from lsml.models.unet import build_model

    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "data", train=given.patches, validation=1, test=1)
        patches = scan_images(Path(folder) / "data" / "TrainData")
        statistics = TrainingData.prepare(Path(folder) / "data", Path(folder) / "packs").statistics
        model = build_model(with_values(TrainConfig(), {"model.filters": given.filters}), statistics)
        images = np.stack([read_image(patch.image, LANDSLIDE4SENSE) for patch in patches]).astype(np.float32)

        def forward() -> None:
            for start in range(0, len(images), BATCH):
                model.predict_on_batch(images[start : start + BATCH])

        def whole(pictures: int) -> Callable[[], object]:
            out = Path(folder) / f"out-{pictures}"
            return lambda: predict_patches(
                model.predict_on_batch,
                patches,
                0.5,
                out,
                sensor=LANDSLIDE4SENSE,
                pictures=pictures,
                progress=lambda done, total: None,
            )

        ways = {
            "forward pass": forward,
            "predict, no pictures": whole(0),
            "predict, 12 pictures": whole(12),
            "predict, every picture": whole(len(patches)),
        }
        took = in_turns(ways, given.rounds)
    rows = [
        [name, *(1000 * value / len(patches) for value in median(seconds)), *ratio(seconds, took["forward pass"])]
        for name, seconds in took.items()
    ]
    columns = ["", "CPU ms/patch", "wall ms/patch", "CPU, of forward", "wall, of forward"]
    show(f"Prediction of {len(patches)} patches, {given.filters} filters", columns, rows)


if __name__ == "__main__":
    main()
