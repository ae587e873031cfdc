"""`mlflow run` on the project: its entry points, its run as the study's parent, and a resumed study's link."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import EXPERIMENT, runs
from tests.processes import ROOT, environment


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what makes the project one for MLflow, in a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("MLproject", "conda.yaml", "requirements-gpu.lock"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder


def mlflow_run(project: Path, entry: str, **parameters: str) -> str:
    """Runs an entry point in this environment and gives all that it printed."""
    given = [argument for name, value in parameters.items() for argument in ("-P", f"{name}={value}")]
    python = Path(sys.executable).parent
    done = subprocess.run(
        [str(python / "mlflow"), "run", ".", "-e", entry, "--env-manager", "local", *given],
        cwd=project,
        env=environment(PATH=f"{python}:/usr/bin:/bin"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_study_is_the_projects_run_and_a_resumed_one_links_to_it(project: Path, dataset: Path) -> None:
    """A trial, then a second by another `mlflow run`: both are children of the first project run."""
    given = {"experiment": "experiment.yaml", "data": str(dataset), "study": "x"}
    mlflow_run(project, "tune", **given, trials="1")
    printed = mlflow_run(project, "tune", **given, trials="2")
    found = re.search(r"best run: ([0-9a-f]{32})", printed)
    assert found

    (parent,) = runs(project, "tags.`lsml.role` = 'study'")
    (resumed,) = runs(project, f"tags.`lsml.resumes_run_id` = '{parent.info.run_id}'")
    assert {run.data.tags["mlflow.project.entryPoint"] for run in (parent, resumed)} == {"tune"}
    children = runs(project, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`lsml.role` = 'trial'")
    assert sorted(run.data.tags["lsml.slot"] for run in children) == ["0", "1"]
    assert {run.info.status for run in (*children, parent, resumed)} <= {"FINISHED", "KILLED"}

    mlflow_run(project, "evaluate", run_id=found[1])
    (scored,) = runs(project, f"tags.`lsml.evaluated_run_id` = '{found[1]}'")
    assert scored.data.tags["mlflow.project.entryPoint"] == "evaluate"
    (best,) = [run for run in runs(project) if run.info.run_id == found[1]]
    assert 0 <= best.data.metrics["test_f1"] <= 1


def test_a_training_is_a_child_of_the_projects_run(project: Path, dataset: Path) -> None:
    """`-e train` logs the parameter `seed` on the project's run itself; lsml's own `seed` is the child's."""
    mlflow_run(project, "train", experiment="experiment.yaml", data=str(dataset), set="training.epochs=1")
    (trained,) = runs(project, "tags.`lsml.role` = 'train'")
    assert trained.info.status == "FINISHED"
    (parent,) = [run for run in runs(project) if run.info.run_id == trained.data.tags["mlflow.parentRunId"]]
    assert parent.data.tags["mlflow.project.entryPoint"] == "train"
