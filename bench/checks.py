"""What the checks of models and patches cost: at the start of a prediction, and of a study's time.

    python bench/checks.py [--filters 16] [--patches 96] [--rounds 5] [--smoke]

A prediction's model is fetched, loaded and used once, beside what MLflow and Keras do of that by themselves: at most
.3 s more. A study is experiments/demo.yaml with one worker; its checks are its packed patches opened and checked once
more, which is all that a study checks but the files that it packs (`bench/pack.py`): at most .02 of its time.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from timing import Took, arguments, in_turns, median, once, show

from lsml.training.device import load_keras

ROOT = Path(__file__).resolve().parents[1]
TINY = """
name: tiny
data: {synthetic: {train: 2, validation: 1, test: 1}}
base: {model: {filters: 4, depth: 1}, training: {epochs: 1, batch_size: 1}}
space: {model.dropout: {low: 0.0, high: 0.3}}
study: {trials: 1}
"""


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, filters=16, patches=96)
    if given.smoke:
        given.filters, given.patches = 4, 2
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        experiment = ROOT / "experiments" / "demo.yaml"
        if given.smoke:
            experiment = Path(folder) / "tiny.yaml"
            experiment.write_text(TINY)
        of_study(experiment, given.rounds)
        of_prediction(given.filters, given.patches, given.rounds)
        os.chdir("/")


def of_study(experiment: Path, rounds: int) -> None:
    """Of one study; its patches are opened several times."""
    from lsml.config.experiment import load_experiment
    from lsml.workflows.sources import SILENT, ExperimentData
    from lsml.workspace import pack_cache

    command = [sys.executable, "-m", "lsml", "-q", "tune", str(experiment), "--workers", "1", "--seed", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    study = once(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment))
    source = ExperimentData(load_experiment(experiment).data, None, SILENT.step)
    checks = median(in_turns({"checks": lambda: source.prepare(pack_cache())}, rounds)["checks"])
    share = Took(*(of / whole for of, whole in zip(checks, study, strict=True)))
    rows = [["study", *study], ["its checks", *checks], ["share", *share]]
    show(f"Checks of a study, {experiment.stem}", ["", "CPU s", "wall s"], rows)


def of_prediction(filters: int, patches: int, rounds: int) -> None:
    """Of a model of so many filters, on a folder of so many patches."""
    load_keras()
    with tempfile.TemporaryDirectory() as folder:
        took = {name: median(each) for name, each in in_turns(_ways(Path(folder), filters, patches), rounds).items()}
    spared = ("MLflow fetches the model", "Keras loads it")
    rows = [[name, *seconds] for name, seconds in took.items()]
    total = [sum((-1 if name in spared else 1) * seconds[kind] for name, seconds in took.items()) for kind in (0, 1)]
    rows.append(["checks in all", *total])
    show(f"Checks of a prediction, {filters} filters, {patches} patches", ["", "CPU s", "wall s"], rows)


def _ways(folder: Path, filters: int, patches: int) -> Mapping[str, Callable[[], object]]:
    """Each step of a prediction's start, by MLflow or Keras alone and as lsml does it, and what lsml adds."""
    import keras
    import numpy as np
    from mlflow.artifacts import download_artifacts

    from lsml.config.schema import TrainConfig, with_values
    from lsml.data.quality import admit, look_at_files
    from lsml.data.scan import scan_images
    from lsml.data.sensor import LANDSLIDE4SENSE
    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize
    from lsml.models.export import export, load_file
    from lsml.models.unet import build_model
    from lsml.tracking.models import RunModel
    from lsml.tracking.store import open_client

    synthesize(folder / "data", train=patches, validation=1, test=1)
    files = scan_images(folder / "data" / "TrainData")
    statistics = TrainingData.prepare(folder / "data", folder / "packs").statistics
    file = export(build_model(with_values(TrainConfig(), {"model.filters": filters}), statistics), LANDSLIDE4SENSE)
    path = folder / "model.keras"
    path.write_bytes(file.content)
    client = open_client()
    model = RunModel(client, str(client.create_run("0").info.run_id))
    model.log(file, threshold=0.5, backend="tensorflow")
    batch = np.zeros((min(patches, 16), 128, 128, len(LANDSLIDE4SENSE)), np.float32)

    def fetched(fetch: Callable[[str], object]) -> None:
        with tempfile.TemporaryDirectory() as target:
            fetch(target)

    def used(network: "keras.Model") -> None:
        # Some of what a trial patch costs, the first patches would.
        network.predict_on_batch(batch)

    return {
        "MLflow fetches the model": lambda: fetched(
            lambda target: download_artifacts(artifact_uri=model.location()[1], dst_path=target)
        ),
        "lsml fetches it, by its record": lambda: fetched(lambda target: model.fetch(Path(target))),
        "Keras loads it": lambda: used(keras.saving.load_model(path, compile=False)),
        "lsml loads it, checked": lambda: used(load_file(path, LANDSLIDE4SENSE)),
        "lsml looks at the patches' values": lambda: admit({"x": look_at_files(files, LANDSLIDE4SENSE)}, force=False),
    }


if __name__ == "__main__":
    main()
