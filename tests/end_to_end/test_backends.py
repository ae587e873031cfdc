"""Models across Keras backends: trained under one, scored under the other, and loaded where lsml is not installed."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.conftest import client
from tests.processes import PATIENCE, environment, lsml, without_lsml

pytestmark = pytest.mark.full

BACKENDS = ("tensorflow", "jax")
OTHER = {"tensorflow": "jax", "jax": "tensorflow"}

EXPERIMENT = """
name: {backend}
data: {{path: unused}}
base:
  model: {{filters: 4, depth: 1}}
  training: {{epochs: 12, batch_size: 2, learning_rate: 2e-2, patience: 12}}
space:
  loss.jaccard: {{low: 0.0, high: 1.0}}
study: {{trials: 1}}
"""

LOAD_AND_SCORE = """
import json, sys
import glob, h5py, keras, mlflow, numpy as np
from sklearn.metrics import f1_score
store, data, *models = sys.argv[1:]
mlflow.set_tracking_uri(store)
images, masks = [], []
for path in sorted(glob.glob(data + "/TestData/img/*.h5")):
    images.append(h5py.File(path)["img"][:])
    masks.append(h5py.File(path.replace("/img/image", "/mask/mask"))["mask"][:])
scores = {}
for name in models:
    model = mlflow.pyfunc.load_model(f"models:/{name}@candidate")
    threshold = np.float32(model.metadata.metadata["lsml.threshold"])
    landslide = model.predict(np.stack(images).astype("float32")) >= threshold
    scores[name] = f1_score(np.stack(masks).ravel(), landslide.ravel())
print(json.dumps({"backend": keras.backend.backend(), "tensorflow": "tensorflow" in sys.modules, "f1": scores}))
"""


class Trained(NamedTuple):
    """A folder with the stores of two studies, the dataset, and the best run of each by its backend."""

    folder: Path
    data: Path
    runs: dict[str, str]


@pytest.fixture(scope="module")
def pythons() -> dict[str, str]:
    """The interpreter of each backend's environment; the one with JAX has no TensorFlow."""
    jax = os.environ.get("LSML_JAX_PYTHON")
    if not jax:
        pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test` makes one")
    missing = "import importlib.util; assert not importlib.util.find_spec('tensorflow')"
    subprocess.run([jax, "-c", missing], check=True, timeout=PATIENCE)
    return {"tensorflow": sys.executable, "jax": jax}


@pytest.fixture(scope="module")
def trained(pythons: dict[str, str], dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One study under each backend, at the same time, on the same data and into the same stores."""
    folder = tmp_path_factory.mktemp("backends")

    def tune(backend: str) -> str:
        (folder / f"{backend}.yaml").write_text(EXPERIMENT.format(backend=backend))
        arguments = ("tune", f"{backend}.yaml", "--data", str(dataset))
        done = lsml(folder, *arguments, python=interpreter(pythons, backend), env=under(backend))
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1].removeprefix("best run: ")

    with ThreadPoolExecutor() as pool:
        best = dict(zip(BACKENDS, pool.map(tune, BACKENDS), strict=True))
    return Trained(folder, dataset, best)


@pytest.fixture(scope="module")
def scored(pythons: dict[str, str], trained: Trained) -> dict[str, dict[str, float]]:
    """Test F1 of each run, by the backend that evaluates and the one that trained, as `lsml evaluate` prints it."""
    scores: dict[str, dict[str, float]] = {}
    for backend in BACKENDS:
        scores[backend] = {}
        for trainer, run in trained.runs.items():
            arguments = ("evaluate", "--run-id", run, "--json")
            env = under(backend)
            done = lsml(trained.folder, *arguments, python=interpreter(pythons, backend), env=env)
            assert done.returncode == 0, done.stderr
            scores[backend][trainer] = json.loads(done.stdout)["metrics"]["f1"]
    return scores


def interpreter(pythons: dict[str, str], backend: str) -> str | None:
    """That of the environment with JAX; None with TensorFlow, which a process that is there already has loaded."""
    return pythons[backend] if backend == "jax" else None


def under(backend: str) -> dict[str, str]:
    """The environment of a process with this backend, on the CPU, because a GPU rounds float32 in its own way."""
    return environment(KERAS_BACKEND=backend, CUDA_VISIBLE_DEVICES="-1")


@pytest.mark.parametrize("trainer", BACKENDS)
def test_a_model_scores_the_same_under_the_other_backend(trainer: str, scored: dict[str, dict[str, float]]) -> None:
    """`lsml evaluate` gives the F1 of the backend that trained, to 1e-4; and it is one that can differ."""
    assert 0.15 < scored[trainer][trainer] < 1
    assert scored[OTHER[trainer]][trainer] == pytest.approx(scored[trainer][trainer], abs=1e-4)


@pytest.mark.parametrize("loader", BACKENDS)
def test_models_load_under_either_backend_without_lsml(
    loader: str, pythons: dict[str, str], trained: Trained, scored: dict[str, dict[str, float]]
) -> None:
    """MLflow alone loads the models of both studies from the registry: scikit-learn's F1 is that of training's side."""
    store = f"sqlite:///{trained.folder / 'mlflow.db'}"
    done = without_lsml(
        trained.folder,
        LOAD_AND_SCORE,
        *(store, str(trained.data), *BACKENDS),
        python=pythons[loader],
        env=under(loader),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["backend"], found["tensorflow"]) == (loader, loader == "tensorflow")
    for trainer in BACKENDS:
        assert found["f1"][trainer] == pytest.approx(scored[trainer][trainer], abs=1e-4)


def test_a_model_names_the_backend_that_it_was_trained_under(trained: Trained) -> None:
    """Run and requirements of the model say JAX, and nothing of TensorFlow."""
    from mlflow.artifacts import download_artifacts

    store = client(trained.folder)
    run = store.get_run(trained.runs["jax"])
    assert run.data.tags["lsml.backend"] == "jax"
    (output,) = run.outputs.model_outputs
    location = store.get_logged_model(output.model_id).artifact_location
    pins = download_artifacts(artifact_uri=f"{location}/requirements.txt")
    names = [line.partition("==")[0] for line in Path(pins).read_text().splitlines()]
    assert names == ["mlflow", "keras", "jax", "numpy"]


def test_what_jax_has_compiled_is_kept_for_the_next_process(trained: Trained) -> None:
    """In lsml's own folder, whose user the programs belong to."""
    assert any((trained.folder / ".lsml" / "jax").iterdir())


def test_a_backend_that_is_not_there_is_one_line(pythons: dict[str, str], dataset: Path, tmp_path: Path) -> None:
    """TensorFlow asked for where there is JAX only, or a name that is none: exit code 2 and what to set."""
    (tmp_path / "jax.yaml").write_text(EXPERIMENT.format(backend="jax"))
    for backend, why in (("tensorflow", "is not installed"), ("jx", "is none of tensorflow, jax, torch")):
        arguments = ("tune", "jax.yaml", "--data", str(dataset))
        done = lsml(tmp_path, *arguments, python=pythons["jax"], env=under(backend))
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == f"lsml: error: Keras backend {backend}: {why}; set KERAS_BACKEND=jax"
        assert "Traceback" not in done.stderr
