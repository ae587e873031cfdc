"""A network written as ONNX, run by ONNX Runtime, against TensorFlow on the same patches and as many threads.

    python bench/exported.py [--patches 16] [--filters 16] [--threads 1] [--rounds 7] [--smoke]

Both run the exported graph, float32, of a U-Net of depth 4.
"""

import os
import tempfile
from pathlib import Path

from timing import arguments, in_turns, median, ratio, show

from lsml.training.device import load_keras

BATCH = 8


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, patches=16, filters=16, threads=1, rounds=7)
    if given.smoke:
        given.patches, given.filters = 8, 4
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(given.threads)
    load_keras()
    import keras
    import numpy as np
    import onnxruntime

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.models.portable import write_onnx, write_saved_model
    from lsml.models.unet import build_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "data", train=given.patches, validation=1, test=1)
        data = TrainingData.prepare(folder / "data", folder / "packs")
        network = build_model(with_values(TrainConfig(), {"model.filters": given.filters}), data.statistics)
        for write, path in ((write_onnx, folder / "model.onnx"), (write_saved_model, folder / "saved")):
            differs = write(network, path, LANDSLIDE4SENSE, {"threshold": 0.5})
            print(f"{path.name}: probabilities at most {differs:.1e} from Keras's")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = given.threads
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        saved = keras.layers.TFSMLayer(str(folder / "saved"), call_endpoint="serving_default")
        images, _ = data.train.batch(range(given.patches))
        images = np.asarray(images, np.float32)
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        ways = {
            "TensorFlow": lambda: [np.asarray(next(iter(saved(batch).values()))) for batch in batches],
            "ONNX Runtime": lambda: [session.run(None, {"stored_bands": batch}) for batch in batches],
        }
        took = in_turns(ways, given.rounds)
    rows = [
        [name, *(1000 * value / given.patches for value in median(seconds)), *ratio(took["TensorFlow"], seconds)]
        for name, seconds in took.items()
    ]
    columns = ["", "CPU ms/patch", "wall ms/patch", "speed by CPU, of TensorFlow's", "by wall"]
    show(f"Exported U-Net of {given.filters} filters, {given.threads} threads", columns, rows)


if __name__ == "__main__":
    main()
