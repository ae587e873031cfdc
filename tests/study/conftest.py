"""Small studies in real processes, and what they leave in both stores."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
name: kill-test
data: {path: unused}
base:
  model: {filters: 4, depth: 1, dropout: 0.1}
  training: {epochs: 4, batch_size: 2, patience: 4, learning_rate: 5e-3}
space:
  model.dropout: {low: 0.0, high: 0.3}
  loss.jaccard: {low: 0.0, high: 1.0}
study:
  trials: 4
  sampler: {name: tpe, startup_trials: 2}
  pruner: {name: successive_halving, min_epochs: 2, reduction: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with an experiment file and an empty MLflow store; state lands here. Workers start warmed up."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    # In full: MLflow keeps one connection a URI, and these tests change folders in one process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    from lsml.report import sections

    # Drawing the figures of its report takes a sixth of such a study; tests of reports and real studies draw them.
    monkeypatch.setattr(sections, "as_svg", lambda figure: b"<svg/>")
    with warm.warm_workers():
        yield tmp_path


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    from tests.patches import make_patches

    root = tmp_path_factory.mktemp("patches") / "data"
    make_patches(root, train=6, validation=3, test=3, seed=1)
    return root


def environment() -> dict[str, str]:
    """For processes that import lsml and the trial functions of these tests from any folder."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def run_killed(study: str, data: Path, trials: int, *steps: str) -> subprocess.CompletedProcess[str]:
    """`run_killed.py` in the current folder."""
    arguments = (study, str(data), str(trials), *steps)
    return warm.run_module("tests.study.run_killed", *arguments, folder=Path.cwd(), env=environment(), timeout=500)


def attempts(study: str, storage: str = "sqlite:///optuna.db") -> list[dict[str, Any]]:
    """Every attempt that the study's database holds: state, value, parameters, curve."""
    from lsml.study.database import AttemptRecord, load_study

    return [
        {
            "slot": AttemptRecord(trial).slot,
            "attempt": AttemptRecord(trial).ordinal,
            "state": AttemptRecord(trial).state,
            "value": AttemptRecord(trial).f1,
            "cost": AttemptRecord(trial).cost,
            "params": trial.params,
            "curve": trial.intermediate_values,
            "run_id": AttemptRecord(trial).run_id,
        }
        for trial in load_study(storage, study).all_trials()
    ]


def counted(study: str, storage: str = "sqlite:///optuna.db") -> list[dict[str, Any]]:
    """The attempts that count, in the order of their slots."""
    ended = [entry for entry in attempts(study, storage) if entry["state"] in ("complete", "pruned", "failed")]
    return sorted(ended, key=lambda entry: entry["slot"])


def client() -> Any:
    """A client of this test's MLflow store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def runs(status: str | None = None) -> list[Any]:
    """Every MLflow run, or those of one status."""
    store = client()
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    query = f"attributes.status = '{status}'" if status else ""
    return list(store.search_runs(experiments, query, max_results=1000))


def same_curves(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Fails unless the slots have equal states, parameters, values and curves to the last digit."""
    assert [entry["slot"] for entry in first] == [entry["slot"] for entry in second]
    for one, other in zip(first, second, strict=True):
        for key in ("state", "params", "value", "cost", "curve"):
            assert one[key] == other[key], f"slot {one['slot']}: {key}"
