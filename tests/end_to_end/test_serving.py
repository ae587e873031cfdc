"""A registered model behind MLflow's server and as MLflow's own function, both where lsml cannot be imported."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import Study, client
from tests.processes import PATIENCE, WITHOUT_LSML, environment, free_port, lsml, wait_until, without_lsml

TOLERANCE = 1e-6

BATCH = """
import json, sys
import h5py, mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/first@candidate")
with h5py.File(sys.argv[2]) as file:
    images = file["img"][()][None].astype("float32")
probability = model.predict(images)
np.save("probability.npy", probability)
np.save("mask.npy", probability >= float(model.metadata.metadata["lsml.threshold"]))
"""


@pytest.fixture(scope="module")
def expected(study: Study) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A test patch, its probability and its mask as `lsml predict` writes them."""
    done = lsml(study.folder, "predict", str(study.data / "TestData"), "--model", "first@candidate", "--out", "served")
    assert done.returncode == 0, done.stderr
    arrays = []
    for path, name in (
        (study.data / "TestData" / "img" / "image_1.h5", "img"),
        (study.folder / "served" / "probability" / "probability_1.h5", "probability"),
        (study.folder / "served" / "mask" / "mask_1.h5", "mask"),
    ):
        with h5py.File(path) as file:
            arrays.append(file[name][()])
    return arrays[0], arrays[1], arrays[2]


@pytest.mark.full
@pytest.mark.landslide4sense("predictions of its HDF5 files are HDF5 files")
def test_batches_are_scored_without_lsml(
    study: Study, expected: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """By `mlflow.pyfunc`; the one line that the docs show makes the mask."""
    store, patch = f"sqlite:///{study.folder / 'mlflow.db'}", study.data / "TestData" / "img" / "image_1.h5"
    done = without_lsml(tmp_path, BATCH, store, str(patch))
    assert done.returncode == 0, done.stderr
    _, probability, mask = expected
    np.testing.assert_allclose(np.load(tmp_path / "probability.npy")[0, ..., 0], probability, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy")[0, ..., 0], mask == 1)


@pytest.mark.full
@pytest.mark.landslide4sense("predictions of its HDF5 files are HDF5 files")
def test_a_served_model_answers_as_predict_does(
    study: Study, expected: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """`mlflow models serve` as a real process in which lsml cannot be imported, within 1e-6."""
    # Python reads it at each start, of the server and of what the server starts.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LSML)
    port = free_port()
    env = environment() | {
        "PYTHONPATH": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{study.folder / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = (
        "models",
        "serve",
        "--model-uri",
        "models:/first@candidate",
        "--env-manager",
        "local",
        "--port",
        str(port),
    )
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        cwd=tmp_path,
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        image, probability, _ = expected
        body = json.dumps({"inputs": image[None].astype(np.float32).tolist()}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        told = []

        def answers() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError),
                urllib.request.urlopen(asked, timeout=PATIENCE) as answer,
            ):
                told.extend(json.load(answer)["predictions"])
            return bool(told)

        wait_until(answers)
        np.testing.assert_allclose(np.asarray(told)[0, ..., 0], probability, rtol=0, atol=TOLERANCE)
        files = client(study.folder).get_model_version_by_alias("first", "candidate").source
        asked.data = Path(files, "serving_input_example.json").read_bytes()
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            assert np.shape(json.load(answer)["predictions"]) == (1, 32, 32, 1)
    finally:
        os.killpg(server.pid, 9)
        server.wait()
        log.close()
