"""An epoch of training with train_on_batch, as lsml trains, against one with Keras's own fit.

python bench/training.py [--filters 16] [--depth 4] [--batch 16] [--patches 96] [--rounds 5] [--smoke]
"""

import itertools
import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show

from lsml.training.device import Arithmetic, load_keras


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, filters=16, depth=4, batch=16, patches=96)
    if given.smoke:
        given.filters, given.depth, given.batch, given.patches = 4, 2, 2, 4
    load_keras()
    import keras
    import numpy as np

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.loader import EpochLoader
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.losses import CompoundLoss
    from lsml.models.unet import build_networks
    from lsml.training.optimizer import make_optimizer

    config = with_values(TrainConfig(), {"model.filters": given.filters, "model.depth": given.depth})
    arithmetic = Arithmetic.choose(config.training)

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
        network = build_networks(config, data.statistics, precision=arithmetic.precision).training_model
        optimizer = make_optimizer(config.training, given.patches // given.batch, frozenset())
        network.compile(optimizer, CompoundLoss(config.loss), jit_compile=arithmetic.xla)
        epochs = itertools.count(1)

        def batches() -> EpochLoader:
            return EpochLoader(data.train, epoch=next(epochs), batch_size=given.batch, augment=config.augment, seed=0)

        def by_batch() -> None:
            for images, truth in batches():
                network.train_on_batch(images, truth)

        def by_fit() -> None:
            network.fit(Dataset(batches()), shuffle=False, verbose=0)

        took = in_turns({"train_on_batch": by_batch, "fit": by_fit}, given.rounds)
    patches = given.patches // given.batch * given.batch
    rows = [
        [name, *median(seconds), patches / median(seconds).wall, ratio(seconds, took["train_on_batch"]).wall]
        for name, seconds in took.items()
    ]
    print(", ".join(arithmetic.describe().values()))
    show("Epoch", ["", "CPU s", "wall s", "images/s", "wall, of train_on_batch's"], rows)


if __name__ == "__main__":
    main()
