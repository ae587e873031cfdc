"""A training epoch, with loading, augmentation, metrics and validation, against its bare steps and forward passes.

    python bench/loop.py [--architecture unet] [--filters 16] [--patches 96] [--validation 32] [--rounds 5] [--smoke]

The bare ones are the same compiled functions on batches that lie ready. The share that is left of the speed, in wall
time on idle cores, is what loading, augmentation, scoring and checkpoints leave of it.
"""

import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show

from lsml.training.device import load_keras


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, architecture="unet", filters=16, patches=96, validation=32)
    if given.smoke:
        given.filters, given.patches, given.validation = 4, 4, 2
    load_keras()
    import numpy as np

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.scoring.metrics import best_epoch
    from lsml.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        synthesize(path / "data", train=given.patches, validation=given.validation, test=1)
        data = TrainingData.prepare(path / "data", path / "packs")
        fields = {"model.architecture": given.architecture, "model.filters": given.filters}
        config = with_values(TrainConfig(), {**fields, "training.batch_size": min(16, given.patches)})
        checkpoint = path / "checkpoint"
        trainer = Trainer(
            config, data.train, data.statistics, validation=data.validation, keep=best_epoch, checkpoint=checkpoint
        )
        batches = list(trainer._loader(1))
        held_out = [images for images, _ in _batches(data.validation, config.training.batch_size)]

        def bare() -> None:
            for images, truth in batches:
                trainer._trained.train_on_batch(images, truth)
            for images in held_out:
                np.asarray(trainer.network.predict_on_batch(images))

        took = in_turns({"bare": bare, "epoch": trainer.epoch}, given.rounds)
    rows = [
        [
            name,
            *median(seconds),
            given.patches / median(seconds).wall,
            *(1 / value for value in ratio(seconds, took["bare"])),
        ]
        for name, seconds in took.items()
    ]
    columns = ["", "CPU s", "wall s", "training images/s", "CPU, speed left", "wall, speed left"]
    show(f"Epoch of {given.patches} + {given.validation} patches, {given.architecture}", columns, rows)


def _batches(split: object, size: int) -> list[tuple[object, object]]:
    places = range(0, len(split), size)  # type: ignore[arg-type]
    return [split.batch([start + n for n in range(min(size, len(split) - start))]) for start in places]  # type: ignore


if __name__ == "__main__":
    main()
