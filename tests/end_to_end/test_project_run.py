"""`mlflow run` on the project: its entry points, its run as the study's parent, and a resumed study's link."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import warm
from tests.end_to_end.conftest import EXPERIMENT, runs
from tests.processes import PATIENCE, ROOT, environment

PYTHON = Path(sys.executable).parent

Mlflow = Callable[..., subprocess.CompletedProcess[str]]
"""`mlflow ARGUMENTS` in a folder, with programs looked for in these folders."""


@pytest.fixture
def project(tmp_path: Path, new_store: Callable[[Path], str]) -> Path:
    """A copy of what makes the project one for MLflow, in a folder of its own."""
    for name in ("MLproject", "conda.yaml", "requirements-gpu.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    new_store(tmp_path)
    return tmp_path


def forked(folder: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fork of a process that has imported MLflow, as is what stands for the `python` of its command."""
    with warm.standing_for_python(PATIENCE) as first:
        env = environment(PATH=f"{first}:{path}")
        return warm.run_module("mlflow", *arguments, folder=folder, env=env, timeout=PATIENCE)


def fresh(folder: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As users start it."""
    command = [str(PYTHON / "mlflow"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(PATH=path), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def mlflow_run(mlflow: Mlflow, project: Path, entry: str, **parameters: str) -> str:
    """Runs an entry point in this environment and gives all that it printed."""
    given = [argument for name, value in parameters.items() for argument in ("-P", f"{name}={value}")]
    path = f"{PYTHON}:/usr/bin:/bin"
    done = mlflow(project, path, "run", ".", "-e", entry, "--env-manager", "local", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mlflow", [forked, pytest.param(fresh, marks=pytest.mark.full)])
def test_a_study_is_the_projects_run_and_a_resumed_one_links_to_it(
    mlflow: Mlflow, project: Path, dataset: Path
) -> None:
    """A trial, then a second by another `mlflow run`: both are children of the first project run."""
    given = {"experiment": "experiment.yaml", "data": str(dataset), "study": "x"}
    mlflow_run(mlflow, project, "tune", **given, trials="1")
    printed = mlflow_run(mlflow, project, "tune", **given, trials="2")
    found = re.search(r"best run: ([0-9a-f]{32})", printed)
    assert found

    (parent,) = runs(project, "tags.`lsml.role` = 'study'")
    (resumed,) = runs(project, f"tags.`lsml.resumes_run_id` = '{parent.info.run_id}'")
    assert {run.data.tags["mlflow.project.entryPoint"] for run in (parent, resumed)} == {"tune"}
    children = runs(project, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`lsml.role` = 'trial'")
    assert sorted(run.data.tags["lsml.slot"] for run in children) == ["0", "1"]
    assert {run.info.status for run in (*children, parent, resumed)} <= {"FINISHED", "KILLED"}

    mlflow_run(mlflow, project, "evaluate", run_id=found[1])
    (scored,) = runs(project, f"tags.`lsml.evaluated_run_id` = '{found[1]}'")
    assert scored.data.tags["mlflow.project.entryPoint"] == "evaluate"
    (best,) = [run for run in runs(project) if run.info.run_id == found[1]]
    assert 0 <= best.data.metrics["test_f1"] <= 1


@pytest.mark.parametrize("mlflow", [forked, pytest.param(fresh, marks=pytest.mark.full)])
def test_a_training_is_a_child_of_the_projects_run(mlflow: Mlflow, project: Path, dataset: Path) -> None:
    """`-e train` logs the parameter `seed` on the project's run itself; lsml's own `seed` is the child's."""
    mlflow_run(mlflow, project, "train", experiment="experiment.yaml", data=str(dataset), set="training.epochs=1")
    (trained,) = runs(project, "tags.`lsml.role` = 'train'")
    assert trained.info.status == "FINISHED"
    assert trained.info.run_name == trained.data.tags["lsml.model_name"] == "tiny-train"
    (parent,) = [run for run in runs(project) if run.info.run_id == trained.data.tags["mlflow.parentRunId"]]
    assert parent.data.tags["mlflow.project.entryPoint"] == "train"
