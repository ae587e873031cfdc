"""One tiny real study, trained once and looked at by every test of this folder."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.processes import environment, lsml

EXPERIMENT = """
name: tiny
description: A study that ends in seconds.
data: {path: unused}
base:
  model: {filters: 4, depth: 1, dropout: 0.1}
  training: {epochs: 4, batch_size: 2, patience: 4, learning_rate: 5e-3}
space:
  model.dropout: {low: 0.0, high: 0.3}
  loss.jaccard: {low: 0.0, high: 1.0}
study:
  trials: 3
  seed: 7
  sampler: {name: tpe, startup_trials: 1}
  pruner: {name: successive_halving, min_epochs: 2, reduction: 2}
"""

# Python runs a `sitecustomize` on start: this one notes every file that any process of a study opens.
AUDIT = """
import os, sys
_log = os.environ.get("LSML_TEST_AUDIT")
if _log:
    _fd = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def _hook(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            os.write(_fd, os.fsencode(arguments[0]) + b"\\n")
    sys.addaudithook(_hook)
"""


class Study(NamedTuple):
    """A finished study: its folder, what it printed, its best run, and a list of the files that it opened."""

    folder: Path
    data: Path
    output: str
    best_run: str
    opened: Path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset, made by the command."""
    folder = tmp_path_factory.mktemp("dataset")
    done = lsml(folder, "data", "synth", "made", "--train", "6", "--validation", "3", "--test", "3", "--seed", "5")
    assert done.returncode == 0, done.stderr
    return folder / "made"


@pytest.fixture(scope="session")
def study(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of three trials, run to its end in peace."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    (folder / "audit").mkdir()
    (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
    log = folder / "opened.txt"
    env = environment(folder / "audit", LSML_TEST_AUDIT=str(log))
    done = lsml(folder, "tune", "experiment.yaml", "--data", str(dataset), "--study", "first", env=env)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"best run: ([0-9a-f]{32})", last)
    assert found, last
    return Study(folder, dataset, done.stdout, found[1], log)


def client(folder: Path) -> Any:
    """A client of the MLflow store in `folder`."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path, query: str = "") -> list[Any]:
    """Every MLflow run of the store in `folder` that meets the query."""
    store = client(folder)
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    return list(store.search_runs(experiments, query, max_results=1000))


def attempts(folder: Path, name: str) -> list[dict[str, Any]]:
    """Every attempt of a study, as the command shows it."""
    done = lsml(folder, "study", "show", name, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["attempts"])
