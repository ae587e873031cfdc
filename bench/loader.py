"""Patches a second and core that the training loader gives, at strengths of augmentation, against reading alone.

python bench/loader.py [--patches 96] [--batch 16] [--rounds 7] [--smoke]
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, patches=96, batch=16)
    if given.smoke:
        given.patches, given.batch = 4, 2
    from lsml.config.schema import AugmentConfig
    from lsml.data.loader import EpochLoader
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize

    every = {"elastic": 1.0, "dropout": 1.0, "mixup": 1.0, "cutmix": 1.0}
    configs = {
        "none": AugmentConfig(strength=0.0),
        "default (strength .5)": AugmentConfig(),
        "strength 1": AugmentConfig(strength=1.0),
        "strength 1, every change": AugmentConfig(strength=1.0, **every),
    }
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "data", train=given.patches, validation=1, test=1)
        split = TrainingData.prepare(Path(folder) / "data", Path(folder) / "packs").train

        def epoch(config: AugmentConfig) -> Callable[[], None]:
            loader = EpochLoader(split, epoch=1, batch_size=given.batch, augment=config, seed=0)

            def run() -> None:
                for step in range(len(loader)):
                    loader[step]

            return run

        took = in_turns({name: epoch(config) for name, config in configs.items()}, given.rounds)
    patches = given.patches // given.batch * given.batch
    rows = [[name, patches / median(seconds).cpu, ratio(seconds, took["none"]).cpu] for name, seconds in took.items()]
    show("Loader", ["augmentation", "patches/s of CPU time", "CPU, of none's"], rows)


if __name__ == "__main__":
    main()
