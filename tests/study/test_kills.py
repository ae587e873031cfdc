"""A coordinator or a worker killed at any step loses nothing, and changes no result."""

import os
from pathlib import Path

from .conftest import attempts, counted, python, runs, same_curves

STEPS = [
    "OptunaSlots.ask:1",  # asked, but no run yet
    "study.open_study_run:1",  # the study's run is open, but not noted down
    "TrialRecorder.started:2",  # the second trial's run is open, but not noted down
    "OptunaSlots.remember_run:1",
    "Workers.submit:1",
    "OptunaSlots.report:2",  # an epoch is in the database, unanswered, and not yet in MLflow
    "TrialRecorder.epoch:3",
    "TrialRecorder.outcome:1",  # all of the trial is in MLflow, nothing told to the database
    "OptunaSlots.complete:1",  # told, but its run is still open
    "TrialRecorder.closed:1",
    "models.register:1",  # registered, but not written down on the study's run
    "study.end_study_run:1",
]
TRIALS = 5


def test_a_coordinator_killed_at_every_step_changes_nothing(folder: Path, patches: Path) -> None:
    """Killed at each step in turn and started again, a study ends like one that was left in peace."""
    script = str(Path(__file__).with_name("run_killed.py"))
    done = python(script, "killed", str(patches), str(TRIALS), *STEPS)
    codes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    # Every step was reached, so every kill happened; the last start ran to its end.
    assert codes == dict.fromkeys(STEPS, "-9") | {"None": "0"}, done.stdout + done.stderr
    assert python(script, "quiet", str(patches), str(TRIALS)).stdout.split() == ["None", "0"]

    assert [entry["slot"] for entry in counted("killed")] == list(range(TRIALS))
    assert {entry["state"] for entry in attempts("killed")} <= {"complete", "pruned", "superseded"}
    assert runs("RUNNING") == []
    same_curves(counted("killed"), counted("quiet"))
    # Nothing was done twice in MLflow either: one study run each, and one version per study's best run.
    studies = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    assert sorted(run.data.tags["lsml.study"] for run in studies) == ["killed", "quiet"]
    assert {run.info.status for run in studies} == {"FINISHED"}
    versions = _versions()
    assert len(versions) == len(set(versions)) == 2
    # A counted trial's run is closed as the database has it, and holds the whole curve.
    for entry in counted("killed"):
        run = next(run for run in runs() if run.info.run_id == entry["run_id"])
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED"}[entry["state"]]
        assert _curve(entry["run_id"]) == entry["curve"]


def test_a_lost_worker_is_replaced_and_its_trial_goes_on(folder: Path, patches: Path, monkeypatch) -> None:
    """Two deaths of a worker leave two superseded attempts, and the same results as without."""
    script = str(Path(__file__).with_name("run_killed.py"))
    deaths = folder / "deaths"
    deaths.write_text("one\ntwo")
    monkeypatch.setenv("LSML_TEST_DEATHS", str(deaths))
    done = python(script, "deaths", str(patches), "2")
    assert done.stdout.split() == ["None", "0"], done.stderr
    assert python(script, "quiet", str(patches), "2").stdout.split() == ["None", "0"]
    states = [entry["state"] for entry in attempts("deaths")]
    assert states.count("superseded") == 2
    assert runs("RUNNING") == []
    same_curves(counted("deaths"), counted("quiet"))


def test_a_worker_that_dies_every_time_fails_its_trial(folder: Path, patches: Path, monkeypatch) -> None:
    """With two retries used up the third death ends the slot as failed, and the study goes on."""
    deaths = folder / "deaths"
    deaths.write_text("one\ntwo\nthree")
    monkeypatch.setenv("LSML_TEST_DEATHS", str(deaths))
    script = str(Path(__file__).with_name("run_killed.py"))
    done = python(script, "deaths", str(patches), "2")
    assert done.stdout.split() == ["None", "0"], done.stderr
    found = [(entry["slot"], entry["attempt"], entry["state"]) for entry in attempts("deaths")]
    assert found == [(0, 1, "superseded"), (0, 2, "superseded"), (0, 3, "failed"), (1, 1, "complete")]


def _versions() -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    return [version.run_id for version in client.search_model_versions("name='kill-test'")]


def _curve(run_id: str) -> dict[int, float]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    history = client.get_metric_history(run_id, "val_f1")
    assert len({point.step for point in history}) == len(history)
    return {point.step: point.value for point in history}
