"""Seconds of a training step against the same network in PyTorch, and against steps without each remedy.

    python bench/step.py [--architecture unet] [--filters 16] [--depth 4] [--batch 16] [--rounds 5] [--remedies 5]

PyTorch is measured where `make bench-peers` has made its environment, in turns with lsml, each in a process of its own;
on a GPU also as `torch.compile` makes it, with CUDA's graphs.
The remedies, each taken back by itself in `--remedies` rounds: Keras's own normalisation, transposed convolution and
dropout, AdamW as Keras's, float32 instead of bfloat16; and some that were not kept: XLA, no dropout at all. Without
such rounds only PyTorch is measured.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from timing import Took, arguments, in_turns, median, once, ratio, show

from lsml.training.device import Arithmetic, load_keras

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
SIZE = 128


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, architecture="unet", filters=16, depth=4, batch=16, steps=4, remedies=5)
    size = SIZE
    if given.smoke:
        given.filters, given.depth, given.batch, given.steps, given.remedies, size = 4, 2, 2, 1, 1, 16
    load_keras()
    import keras
    import numpy as np

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.statistics import PERCENTS, BandStatistics
    from lsml.losses import CompoundLoss
    from lsml.models.kernels import FAST, OF_KERAS, Layers
    from lsml.models.unet import build_networks
    from lsml.training.optimizer import make_optimizer

    bands = len(LANDSLIDE4SENSE)
    row = tuple([1.0] * bands)
    statistics_of_ones = BandStatistics(LANDSLIDE4SENSE, row, row, row, row, row, (row,) * len(PERCENTS))
    generator = np.random.default_rng(0)
    images = generator.normal(size=(given.batch, size, size, bands)).astype("float32")
    truth = (generator.random((given.batch, size, size, 1)) < 0.05).astype("float32")
    config = with_values(
        TrainConfig(),
        {"model.architecture": given.architecture, "model.filters": given.filters, "model.depth": given.depth},
    )
    arithmetic = Arithmetic.choose(config.training)

    def steps(
        kinds: Layers = FAST, *, precision: str = arithmetic.precision, xla: bool = arithmetic.xla, **options: object
    ) -> Callable[[], None]:
        own = with_values(config, {name.replace("__", "."): value for name, value in options.items()})
        network = build_networks(own, statistics_of_ones, precision=precision, kinds=kinds).training_model
        optimizer = make_optimizer(own.training, given.steps, frozenset())
        if options.get("training__schedule") == "constant":
            optimizer = keras.optimizers.AdamW(own.training.learning_rate, weight_decay=own.training.weight_decay)
        network.compile(optimizer, CompoundLoss(own.loss), jit_compile=xla)

        def by_batches() -> None:
            for _ in range(given.steps):
                network.train_on_batch(images, truth)

        def by_fit() -> None:
            batches = ((images, truth) for _ in range(given.steps))
            network.fit(batches, steps_per_epoch=given.steps, shuffle=False, verbose=0)

        return by_fit if arithmetic.trains_by_fit else by_batches

    if given.alone:
        took_alone = in_turns({"lsml": steps()}, given.rounds)["lsml"]
        print(json.dumps({"seconds": [[value / given.steps for value in seconds] for seconds in took_alone]}))
        return
    columns = ["a step", "CPU s", "wall s", "images/s", "CPU, of lsml's", "wall, of lsml's"]
    if given.remedies:
        ways = {
            "lsml": steps(),
            "Keras's batch normalisation": steps(FAST._replace(batch_normalization=OF_KERAS.batch_normalization)),
            "Keras's transposed convolution": steps(
                FAST._replace(transposed_convolution=OF_KERAS.transposed_convolution)
            ),
            "Keras's dropout": steps(FAST._replace(channel_dropout=OF_KERAS.channel_dropout)),
            "Keras's AdamW": steps(training__schedule="constant"),
            "all of Keras's": steps(OF_KERAS, training__schedule="constant"),
            "no dropout": steps(model__dropout=0.0),
            "float32": steps(precision="float32"),
            "XLA": steps(xla=True),
        }
        took: dict[str, list[Took]] = {name: [] for name in ways}
        for number in range(given.remedies + 1):
            for name, way in ways.items():
                seconds = once(way)
                if number:
                    took[name].append(Took(seconds.cpu / given.steps, seconds.wall / given.steps))
        rows = [
            [name, *median(seconds), given.batch / median(seconds).wall, *ratio(seconds, took["lsml"])]
            for name, seconds in took.items()
        ]
        show(
            f"Training step of {given.architecture}, {given.filters} filters, depth {given.depth}, batch {given.batch}",
            columns,
            rows,
        )
    if given.architecture != "unet":
        return
    if not PEERS.exists():
        print(f"\nPyTorch: not measured; make bench-peers brings {PEERS}")
        return
    sizes = {"filters": given.filters, "depth": given.depth, "batch": given.batch, "steps": given.steps}
    against = {
        "lsml": [sys.executable, __file__, "--alone", *(f"--{name}={value}" for name, value in sizes.items())],
        "PyTorch": [str(PEERS), str(ROOT / "bench" / "peers" / "step.py"), f"--size={size}"]
        + [f"--{name}={value}" for name, value in sizes.items()],
    }
    if arithmetic.device.kind == "gpu":
        against["PyTorch, compiled"] = [*against["PyTorch"], "--compile"]
    rounds: dict[str, list[Took]] = {name: [] for name in against}
    for _ in range(given.rounds):
        for name, command in against.items():
            rounds[name].append(alone([*command, "--rounds=3"]))
    rows = [
        [name, *median(seconds), given.batch / median(seconds).wall, *ratio(seconds, rounds["lsml"])]
        for name, seconds in rounds.items()
    ]
    show("Each in a process of its own", columns, rows)


def alone(command: list[str]) -> Took:
    """The median of three rounds of steps in another process, which prints them as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return Took(*(statistics.median(column) for column in zip(*found, strict=True)))


if __name__ == "__main__":
    main()
