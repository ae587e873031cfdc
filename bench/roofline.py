"""What training step, loader, pack and prediction reach of this machine's arithmetic and memory, measured beside them.

    python bench/roofline.py [--filters 16] [--batch 16] [--rounds 5] [--smoke]

Arithmetic: a matrix product of 2,048 x 2,048 in the type that is trained in. Memory: a copy of 256 MB, read and
written. Work is counted, not measured: two operations a multiplication and addition of the convolutions, three times
those of the forward pass for a step; and the bytes that come in and go out, each once.
"""

import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, show

from lsml.training.device import Arithmetic, load_keras


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, filters=16, batch=16)
    side, copied, patches = (64, 1 << 20, 2) if given.smoke else (2048, 256 << 20, 64)
    if given.smoke:
        given.filters, given.batch = 4, 2
    load_keras()
    import keras
    import numpy as np

    from lsml.config.schema import AugmentConfig, TrainConfig, with_values
    from lsml.data.formats import read_image, read_mask
    from lsml.data.layout import PatchFiles
    from lsml.data.loader import EpochLoader
    from lsml.data.packing import pack_split
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.losses import CompoundLoss
    from lsml.models.unet import build_model, build_networks
    from lsml.training.optimizer import make_optimizer

    config = with_values(TrainConfig(), {"model.filters": given.filters})
    arithmetic = Arithmetic.choose(config.training)
    dtype = "bfloat16" if arithmetic.precision == "mixed_bfloat16" else "float32"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        synthesize(path / "data", train=patches, validation=1, test=1)
        data = TrainingData.prepare(path / "data", path / "packs")
        images, truth = data.train.batch([number % patches for number in range(given.batch)])
        network = build_networks(config, data.statistics, precision=arithmetic.precision).training_model
        network.compile(
            make_optimizer(config.training, 1, frozenset()), CompoundLoss(config.loss), jit_compile=arithmetic.xla
        )
        model = build_model(config, data.statistics)
        loader = EpochLoader(data.train, epoch=1, batch_size=min(16, patches), augment=AugmentConfig(), seed=0)
        train = path / "data" / "TrainData"
        files = [
            PatchFiles(p.stem, p, train / "mask" / p.name.replace("image", "mask"))
            for p in sorted((train / "img").glob("*.h5"))
        ]
        numbers = iter(range(1000))
        matrices = {kind: keras.ops.cast(keras.random.normal((side, side)), kind) for kind in ("float32", dtype)}
        product = {
            kind: (lambda matrix=matrix: float(keras.ops.cast(keras.ops.matmul(matrix, matrix)[0, 0], "float32")))
            for kind, matrix in matrices.items()
        }
        source, target = np.ones(copied, np.uint8), np.empty(copied, np.uint8)
        ways = {
            "product, float32": product["float32"],
            f"product, {dtype}": product[dtype],
            "copy": lambda: np.copyto(target, source),
            "step": lambda: network.train_on_batch(images, truth),
            "predict": lambda: model.predict_on_batch(images),
            "loader": lambda: [loader[step] for step in range(len(loader))],
            "pack": lambda: pack_split("train", files, path / f"again-{next(numbers)}", LANDSLIDE4SENSE, fill=None),
            "read": lambda: [
                (read_image(file.image, LANDSLIDE4SENSE), read_mask(file.mask, LANDSLIDE4SENSE)) for file in files
            ],
        }
        took = {name: median(seconds).wall for name, seconds in in_turns(ways, given.rounds).items()}
    stored, packed = 128 * 128 * 15 * 8, 128 * 128 * (14 * 2 + 1)
    forward = operations(model) * given.batch
    peak = {kind: 2 * side**3 / took[f"product, {kind}"] for kind in ("float32", dtype)}
    memory = 2 * copied / took["copy"]
    work = {
        "step": (3 * forward, given.batch * 128 * 128 * 15 * 4, peak[dtype]),
        "predict": (forward, given.batch * 128 * 128 * 15 * 4, peak["float32"]),
        "loader": (0, loader.n_patches * (packed + 128 * 128 * 15 * 4), peak["float32"]),
        "pack": (0, len(files) * (stored + packed), peak["float32"]),
        "read": (0, len(files) * 2 * stored, peak["float32"]),
    }
    rows = [
        [name, flop / took[name] / 1e9, flop / took[name] / best, size / took[name] / 1e9, size / took[name] / memory]
        for name, (flop, size, best) in work.items()
    ]
    print(", ".join(f"{kind} product {value / 1e9:.0f} GFLOP/s" for kind, value in peak.items()))
    print(f"copy {memory / 1e9:.1f} GB/s")
    show("Roofline", ["", "GFLOP/s", "of the product", "GB/s", "of the copy"], rows)


def operations(model: object) -> int:
    """Of the convolutions for one patch of 128 x 128: two for each weight and pixel that it meets."""
    import keras

    probe = keras.Model(model.input, [layer.output for layer in model.layers if layer.weights])  # type: ignore
    shapes = probe.compute_output_shape((1, 128, 128, model.input_shape[-1]))  # type: ignore[attr-defined]
    layers = [layer for layer in model.layers if layer.weights]  # type: ignore[attr-defined]
    total = 0
    for layer, shape in zip(layers, shapes, strict=True):
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += 2 * layer.kernel.shape[2] * layer.kernel.shape[3] * shape[1] * shape[2]
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * int(layer.kernel.shape[0] ** 2 * layer.kernel.shape[2] * shape[3]) * shape[1] * shape[2]
    return total


if __name__ == "__main__":
    main()
