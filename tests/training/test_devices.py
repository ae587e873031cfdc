"""A training on several devices: two of JAX's processors, as there is no second GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lsml.config.schema import TrainingConfig
from lsml.training.device import Arithmetic, Device, _choose_devices
from tests.processes import PATIENCE, environment, lsml

TWO = {"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.fixture(scope="module")
def jax() -> str:
    """The interpreter of the environment with JAX."""
    python = os.environ.get("LSML_JAX_PYTHON")
    if not python:
        pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test-all` makes one")
    return python


@pytest.mark.parametrize(
    ("seen", "batch", "count"),
    [(1, 16, 1), (2, 16, 2), (3, 16, 2), (8, 6, 6), (8, 7, 7), (4, 7, 1), (6, 16, 4)],
)
def test_a_batch_is_shared_out_evenly(seen: int, batch: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By as many devices as divide it; under TensorFlow by one."""
    monkeypatch.setitem(sys.modules, "keras.distribution", SimpleNamespace(get_device_count=lambda: seen))
    config = TrainingConfig(batch_size=batch)
    assert _choose_devices(config, Device("gpu", "", "jax", True)) == count
    assert _choose_devices(config, Device("gpu", "", "tensorflow", True)) == 1


def test_checkpoints_of_one_device_and_of_several_differ() -> None:
    """In their keys, as the last digits do; what one device says is what it said before there were several."""
    device = Device("gpu", "", "jax", True)
    one, two = (Arithmetic(device, "float32", True, count) for count in (1, 2))
    assert one.identity != two.identity
    assert two.identity[: len(one.identity)] == one.identity
    assert "devices" not in one.describe()
    assert two.describe()["devices"] == "2"


@pytest.mark.full
def test_two_devices_train_as_one(jax: str, tmp_path: Path) -> None:
    """By single batches and by `fit`: the same course of loss and F1, on weights that lie on both."""
    words = [jax, "-m", "tests.training.sharing"]
    env = environment(**TWO)
    done = subprocess.run(
        words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=4 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for way in ("batches", "fit"):
        one, both = found[way]["1"], found[way]["all"]
        assert (one["devices"], both["devices"]) == (1, 2)
        assert (one["said"], both["said"]) == ("1", "2")
        # float32, summed in another order; a pixel of 9,216 more or less would be 1e-4 of F1.
        assert both["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert both["val_f1"] == pytest.approx(one["val_f1"], abs=2e-3)
    # With a moving average of the weights too, training goes on from the last ones either way.
    assert found["fit"]["1"]["loss"] == pytest.approx(found["batches"]["1"]["loss"], rel=1e-3)


EXPERIMENT = """
name: shared
data: {path: unused}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 3, batch_size: 2, learning_rate: 2e-2}
space: {model.depth: {choices: [1, 2]}}
"""


@pytest.mark.full
def test_lsml_train_uses_both(jax: str, tmp_path: Path) -> None:
    """Its run says so, and has the F1 of one device, also where validation has an odd number of patches."""
    from mlflow import MlflowClient

    from tests.patches import make_patches

    make_patches(tmp_path / "data", train=6, validation=3, test=3, seed=5)
    (tmp_path / "shared.yaml").write_text(EXPERIMENT)
    for flags in ({}, {"XLA_FLAGS": TWO["XLA_FLAGS"]}):
        env = environment(**{name: text for name, text in TWO.items() if name != "XLA_FLAGS"}, **flags)
        done = lsml(tmp_path, "train", "shared.yaml", "--data", str(tmp_path / "data"), python=jax, env=env)
        assert done.returncode == 0, done.stderr
    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in store.search_experiments()]
    one, both = store.search_runs(ids, order_by=["attributes.start_time"])
    assert [run.data.tags.get("lsml.devices") for run in (one, both)] == [None, "2"]
    assert both.data.metrics["best_val_f1"] == pytest.approx(one.data.metrics["best_val_f1"], abs=2e-3)
