"""Small studies in real processes, and what they leave in both stores."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with an experiment file; stores and state land here."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    # In full: MLflow keeps one connection a URI, and these tests change folders in one process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    from lsml.data.synthetic import synthesize

    root = tmp_path_factory.mktemp("patches") / "data"
    synthesize(root, train=6, validation=3, test=3, seed=1)
    return root


def environment() -> dict[str, str]:
    """For processes that import lsml and the trial functions of these tests from any folder."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}


def python(*arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
    """Runs Python in the current folder."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, env=environment(), check=False
    )


def attempts(study: str) -> list[dict[str, Any]]:
    """Every attempt that the study's database holds: state, value, parameters, curve."""
    from lsml.study.database import attempt_of, cost_of, f1_of, load_study, run_id_of, slot_of, state_of

    return [
        {
            "slot": slot_of(trial),
            "attempt": attempt_of(trial),
            "state": state_of(trial),
            "value": f1_of(trial),
            "cost": cost_of(trial),
            "params": trial.params,
            "curve": trial.intermediate_values,
            "run_id": run_id_of(trial),
        }
        for trial in load_study("sqlite:///optuna.db", study).all_trials()
    ]


def counted(study: str) -> list[dict[str, Any]]:
    """The attempts that count, in the order of their slots."""
    ended = [entry for entry in attempts(study) if entry["state"] in ("complete", "pruned", "failed")]
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
