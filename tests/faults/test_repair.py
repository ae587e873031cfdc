"""`lsml study repair`: what killed processes have left open is closed in both stores."""

import os
from pathlib import Path

import pytest

from lsml.workspace import exclusively, study_folder
from tests import warm
from tests.processes import PATIENCE, lsml
from tests.study.conftest import attempts, environment, runs
from tests.study.sleeping import sleeping
from tests.study.test_tune import STORAGE, Listener, run


def _killed(folder: Path, patches: Path, env: dict[str, str]) -> None:
    """Runs in a process of its own, which ends itself in the third epoch."""
    os.chdir(folder)
    os.environ.update(env)
    from tests.study import run_killed

    with warm.warm_workers():
        run_killed.run("s", patches, 2, "TrialRecorder.step:3")


@pytest.mark.full
def test_a_killed_study_is_settled_by_hand(folder: Path, patches: Path) -> None:
    """Killed in a trial's third epoch: attempt and runs are closed; then the study resumes."""
    process = warm.start_function(_killed, folder, patches, dict(os.environ))
    process.join(PATIENCE)
    assert process.exitcode == -9
    assert [entry["state"] for entry in attempts("s")] == ["running"]
    assert len(runs("RUNNING")) == 2
    with exclusively(study_folder("s", STORAGE) / "lock", "study"):
        alive = lsml(folder, "study", "repair", "s", env=environment())
    assert (alive.returncode, alive.stderr) == (
        4,
        "lsml: error: study 's': locked by another process; it is alive: there is nothing to repair\n",
    )
    ids = {run.data.tags["lsml.role"]: run.info.run_id for run in runs()}
    done = lsml(folder, "study", "repair", "s", env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "trial, slot 0, attempt 1: superseded",
        f"trial, MLflow run {ids['trial']}: closed as superseded",
        f"study, MLflow run {ids['study']}: closed as KILLED",
    ]
    assert runs("RUNNING") == []
    assert lsml(folder, "study", "repair", "s", env=environment()).stdout == "nothing is open\n"
    shown = lsml(folder, "study", "show", "s", env=environment()).stdout
    assert "trial 0, attempt 1: superseded: its process was gone" in shown
    run(patches, sleeping, Listener(), trials=2)
    assert [(e["slot"], e["attempt"], e["state"]) for e in attempts("s")][:2] == [
        (0, 1, "superseded"),
        (0, 2, "complete"),
    ]
