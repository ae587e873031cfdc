"""Images a second of training, with train_on_batch as `fit` uses it and with Keras's own fit, in turns.

    python bench/training.py [--filters 16] [--depth 4] [--batch 16] [--patches 96] [--rounds 5]

Prints one line a round and way, then the medians and the ratio. Run it on an idle machine; on a GPU the same
command says so in its first line.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from lsml.training.device import Arithmetic, load_keras


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("filters", 16), ("depth", 4), ("batch", 16), ("patches", 96), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    load_keras()
    import keras
    import numpy as np

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.loader import EpochLoader
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.losses import CompoundLoss
    from lsml.models.unet import build_network

    config = with_values(TrainConfig(), {"model.filters": given.filters, "model.depth": given.depth})
    arithmetic = Arithmetic.choose(config.training)
    print(", ".join(arithmetic.describe().values()))  # noqa: T201

    class Dataset(keras.utils.PyDataset):
        """The loader's batches as Keras's fit wants them."""

        def __init__(self, loader: EpochLoader) -> None:
            super().__init__()
            self._loader = loader

        def __len__(self) -> int:
            return len(self._loader)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return self._loader[index]

    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "data", train=given.patches, validation=1, test=1)
        data = TrainingData.prepare(Path(folder) / "data", Path(folder) / "packs")
        network = build_network(config, data.statistics, precision=arithmetic.precision)
        network.compile(keras.optimizers.AdamW(1e-3), CompoundLoss(config.loss), jit_compile=arithmetic.xla)

        def batches(epoch: int) -> EpochLoader:
            return EpochLoader(data.train, epoch=epoch, batch_size=given.batch, augment=config.augment, seed=0)

        def by_batch(epoch: int) -> None:
            for images, truth in batches(epoch):
                network.train_on_batch(images, truth)

        def by_fit(epoch: int) -> None:
            network.fit(Dataset(batches(epoch)), shuffle=False, verbose=0)

        speeds: dict[str, list[float]] = {"train_on_batch": [], "fit": []}
        for epoch in range(given.rounds + 1):
            for name, way in (("train_on_batch", by_batch), ("fit", by_fit)):
                started = time.perf_counter()
                way(epoch)
                speed = batches(epoch).n_patches / (time.perf_counter() - started)
                if epoch:  # the first round compiles
                    speeds[name].append(speed)
                    print(f"round {epoch} {name} {speed:.1f} images/s")  # noqa: T201
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"median {medians}, ratio {medians['train_on_batch'] / medians['fit']:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
