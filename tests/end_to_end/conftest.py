"""One tiny real study, trained once and looked at by every test of this folder."""

import contextlib
import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from tests.patches import make_patches
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
from tests.opened import note
note()
"""

# Every column of MLflow's database that says where a study's files are.
_PLACES = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


class Study(NamedTuple):
    """A finished study: its folder, what it printed, its best run, a list of the files that it opened, what it left."""

    folder: Path
    data: Path
    output: str
    best_run: str
    opened: Path
    left: frozenset[str]


@pytest.fixture(scope="session")
def dataset(shared: Path) -> Path:
    """A small synthetic dataset, made once; nobody may change it."""
    with FileLock(shared / "dataset.lock"):
        if not (shared / "made").exists():
            make_patches(shared / "made", train=6, validation=3, test=3, seed=5)
    return shared / "made"


@pytest.fixture(scope="session")
def study(dataset: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of three trials, run to its end in peace: once by the session, and each pytest process has its copy."""
    original = shared / "study"
    with FileLock(shared / "study.lock"):
        if not (original / "output.txt").exists():
            _run_study(original, dataset)
    folder = tmp_path_factory.mktemp("own") / "study"
    copy_study(original, folder)
    output = (folder / "output.txt").read_text()
    last = output.splitlines()[-1]
    found = re.fullmatch(r"best run: ([0-9a-f]{32})", last)
    assert found, last
    # All else is of the tests.
    left = {path.name for path in original.iterdir()} - {"experiment.yaml", "audit", "opened.txt", "output.txt"}
    return Study(folder, dataset, output, found[1], folder / "opened.txt", frozenset(left))


def _run_study(folder: Path, dataset: Path) -> None:
    """From the command line, by an interpreter of its own, every opened file noted down."""
    (folder / "audit").mkdir(parents=True)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
    env = environment(folder / "audit", LSML_TEST_AUDIT=str(folder / "opened.txt"))
    arguments = ("tune", "experiment.yaml", "--data", str(dataset), "--study", "first")
    done = lsml(folder, *arguments, python=sys.executable, env=env)
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)


def copy_study(source: Path, target: Path) -> None:
    """A study's folder with both stores under another path."""
    shutil.copytree(source, target)
    with contextlib.closing(sqlite3.connect(target / "mlflow.db")) as database, database:
        for table, columns in _PLACES.items():
            for column in columns:
                change = f"update {table} set {column} = replace({column}, ?, ?)"
                database.execute(change, (str(source), str(target)))


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
