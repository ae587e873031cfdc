"""Real studies of F1 against what a model costs, from the command line."""

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.end_to_end.conftest import EXPERIMENT, attempts, client, runs
from tests.processes import lsml

AGAINST = """
name: tiny
data: {path: unused}
base:
  model: {filters: 4, depth: 1, dropout: 0.1}
  training: {epochs: 6, batch_size: 2, learning_rate: 2e-2}
space:
  model.filters: {choices: [4, 8]}
study:
  trials: 2
  second_objective: parameters
  sampler: {name: nsga2, population: 2}
  pruner: none
"""


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "second_objective: latency",
            "study.second_objective: latency: Optuna cannot prune with several objectives, and study.pruner is",
        ),
        (
            "second_objective: parameters, pruner: none, sampler: cma-es",
            "cma-es searches with one objective only; choose nsga2",
        ),
        (
            "max_cost: 1000",
            "study.max_cost: limits the second objective, and there is none; give study.second_objective",
        ),
    ],
)
def test_what_cannot_go_together_is_one_line(tmp_path: Path, setting: str, says: str) -> None:
    """Exit code 2 before anything runs; no store, no data."""
    (tmp_path / "experiment.yaml").write_text(f"{EXPERIMENT.partition('study:')[0]}study: {{{setting}}}\n")
    done = lsml(tmp_path, "tune", "experiment.yaml")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["experiment.yaml"]


@pytest.mark.full
def test_a_study_of_f1_against_parameters(tmp_path: Path, dataset: Path) -> None:
    """The front is printed and drawn, every run has both figures, and the registered model as many weights."""
    (tmp_path / "experiment.yaml").write_text(AGAINST)
    done = lsml(tmp_path, "tune", "experiment.yaml", "--data", str(dataset))
    assert done.returncode == 0, done.stderr
    assert "Experimental" not in done.stderr
    best_run = re.fullmatch(r"best run: ([0-9a-f]{32})", done.stdout.splitlines()[-1])
    assert best_run

    trials = attempts(tmp_path, "tiny")
    assert [trial["state"] for trial in trials] == ["complete"] * 2
    best = max(trials, key=lambda trial: (trial["val_f1"], -trial["parameters"]))
    assert best_run[1] == best["run_id"]
    # In the front, and then beside the baselines.
    row, _ = (line for line in done.stdout.splitlines() if best["run_id"] in line and "registered" in line)
    assert all(part in row for part in (f"{best['val_f1']:.4f}", f"{best['parameters']:,.0f}"))
    for trial in trials:
        metrics = client(tmp_path).get_run(trial["run_id"]).data.metrics
        assert metrics["parameters"] == trial["parameters"]
        assert metrics["latency_ms"] > 0
        assert trial["epochs"] == 6

    (version,) = client(tmp_path).search_model_versions("name='tiny'")
    assert version.run_id == best["run_id"]
    assert _weights(tmp_path, best["run_id"]) == best["parameters"]
    (parent,) = runs(tmp_path, "tags.`lsml.role` = 'study'")
    names = {entry.path for entry in client(tmp_path).list_artifacts(parent.info.run_id, "study")}
    assert {"study/pareto.html", "study/front.json", "study/trials.csv"} <= names
    assert "| Pareto front | F1 | parameters |  | run |" in parent.data.tags["mlflow.note.content"]


def _weights(folder: Path, run_id: str) -> int:
    """How many numbers there are in the weights of a run's model, but for the state of random generators."""
    (output,) = client(folder).get_run(run_id).outputs.model_outputs
    (path,) = folder.glob(f"mlruns/**/{output.model_id}/artifacts/data/model.keras")
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
        sizes: list[int] = []

        def count(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
                sizes.append(math.prod(item.shape))

        weights.visititems(count)
    return sum(sizes)
