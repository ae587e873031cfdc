"""A coordinator or a worker killed at any step loses nothing, and changes no result."""

from pathlib import Path

import pytest

from .conftest import attempts, client, counted, run_killed, runs, same_curves

STEPS = [
    "TrialQueue.ask:1",  # asked, but no run yet
    "StudyRun.open:1",  # the study's run is open, but not noted down
    "TrialRecorder.started:2",  # the second trial's run is open, but not noted down
    "TrialQueue.remember_run:1",
    "Workers.submit:1",
    "SearchQueue.report:2",  # an epoch is in the database, unanswered, and not yet in MLflow
    "TrialRecorder.step:3",
    "TrialRecorder.outcome:1",  # all of the trial is in MLflow, nothing told to the database
    "TrialQueue.complete:1",  # told, but its run is still open
    "TrialRecorder.closed:1",
    "TrialQueue.fail:1",  # the search is done, and a baseline that fails is told to the database alone
    "RegisteredModel.register:1",  # registered, but not written down on the study's run
    "views.save_study_view:1",
    "StudyRun.log:1",
    "StudyRun.end:1",
]
TRIALS = 5


@pytest.mark.full
def test_a_coordinator_killed_at_every_step_changes_nothing(folder: Path, patches: Path) -> None:
    """Killed at each step in turn and started again, a study ends like one that was left in peace."""
    done = run_killed("killed", patches, TRIALS, *STEPS)
    codes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    # Every step was reached, so every kill happened; the last start ran to its end.
    assert codes == dict.fromkeys(STEPS, "-9") | {"None": "0"}, done.stdout + done.stderr
    assert run_killed("quiet", patches, TRIALS).stdout.split() == ["None", "0"]

    assert [entry["slot"] for entry in counted("killed")] == list(range(TRIALS))
    assert {entry["state"] for entry in attempts("killed")} <= {"complete", "pruned", "superseded"}
    assert runs("RUNNING") == []
    same_curves(counted("killed"), counted("quiet"))
    assert _ended("killed") == _ended("quiet")
    assert (
        _standings("killed", "baselines")
        == _standings("quiet", "baselines")
        == [
            ("simple", 0.4, ""),
            ("broken", None, "ValueError: loss is nan in epoch 2"),
        ]
    )
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


SIGNALS = [
    ("LocalWorkers._open:1", "SIGINT"),  # its workers are starting
    ("TrialRecorder.step:2", "SIGTERM"),  # in the thread that writes to MLflow
    ("TrialQueue.complete:1", "SIGHUP"),  # told to the database, but its run is still open
    ("views.save_study_view:1", "SIGTERM"),  # after the search
]


@pytest.mark.parametrize(
    "signals",
    [SIGNALS, pytest.param([(step, "SIGTERM") for step in STEPS], marks=pytest.mark.full)],
    ids=["some", "every step"],
)
def test_a_signal_at_any_step_leaves_nothing_open(folder: Path, patches: Path, signals: list[tuple[str, str]]) -> None:
    """Its exit code is 128 and the signal's number, and every trial under way is closed in both stores."""
    done = run_killed("interrupted", patches, 3, *(f"{step}:{name}" for step, name in signals))
    codes = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert codes == [[f"{step}:{name}", CODES[name]] for step, name in signals] + [["None", "0"]], done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "interrupted by" in line and line.startswith("lsml: ")]
    assert said == [f"lsml: interrupted by {name}: stopped cleanly; the same command resumes" for _, name in signals]
    # Whatever a process had left open the next one would have closed with another reason.
    reasons = {run.data.tags.get("lsml.reason", "") for run in runs("KILLED")}
    assert reasons <= {f"interrupted by {name}" for name in CODES} | {f"pruned after epoch {epoch}" for epoch in (2, 4)}
    assert runs("RUNNING") == []
    assert [entry["slot"] for entry in counted("interrupted")] == [0, 1, 2]


CODES = {"SIGINT": "130", "SIGTERM": "143", "SIGHUP": "129"}

FOLD_STEPS = [
    "TrialRecorder.closed:2",  # the search is done
    "TrialRecorder.started:1",  # the base's confirmation has a run that nobody noted down
    "TrialRecorder.outcome:1",  # all of it is in MLflow, nothing told to the database
    "TrialQueue.complete:1",  # told, but its run is still open
    "TrialRecorder.step:2",  # in the middle of the tuned configuration's
    "TrialQueue.complete:1",
    "TrialRecorder.outcome:1",  # the first baseline is in MLflow alone
    "TrialQueue.complete:1",
    "TrialQueue.fail:1",  # the second one, which fails
    "RegisteredModel.register:1",
    "RegisteredModel.give_alias:1",
    "views.save_study_view:1",
    "StudyRun.log:1",
    "StudyRun.end:1",
]


@pytest.mark.full
def test_the_stages_after_a_search_in_folds_survive_kills(folder: Path, patches: Path) -> None:
    """Killed once in every stage, a study in folds comes to the same end; nothing is done twice, nothing stays open."""
    text = Path("experiment.yaml").read_text()
    text = text.replace("{path: unused}", "{path: unused, folds: 2}").replace("trials: 4", "trials: 4\n  confirm: 1")
    text = text.replace("{name: successive_halving, min_epochs: 2, reduction: 2}", "{name: none}")
    Path("experiment.yaml").write_text(text)
    done = run_killed("killed", patches, 2, *FOLD_STEPS)
    codes = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert codes == [[step, "-9"] for step in FOLD_STEPS] + [["None", "0"]], done.stdout + done.stderr
    assert run_killed("quiet", patches, 2).stdout.split() == ["None", "0"]
    assert runs("RUNNING") == []
    same_curves(counted("killed"), counted("quiet"))
    ended = {name: _ended(name) for name in ("killed", "quiet")}
    # Two of the search, the base and one tuned of the confirmation, one baseline; the other one failed.
    assert ended["quiet"] == {"trial": 2, "confirm": 2, "refit": 0, "baseline": 1}
    assert ended["killed"] == ended["quiet"]
    standings = [_standings(name) for name in ("killed", "quiet")]
    assert standings[0] == standings[1]
    versions = _versions()
    assert len(versions) == len(set(versions)) == 2


def _ended(study: str) -> dict[str, int]:
    """How many runs of each stage ended complete or pruned."""
    found = [run.data.tags for run in runs() if run.data.tags["lsml.study"] == study]
    roles = [tags["lsml.role"] for tags in found if tags.get("lsml.state") in ("complete", "pruned")]
    return {role: roles.count(role) for role in ("trial", "confirm", "refit", "baseline")}


def _standings(study: str, field: str = "standings") -> list[tuple[str, float | None, str]]:
    from lsml.study.database import load_study

    result = load_study("sqlite:///optuna.db", study).result
    assert result
    return [(entry["what"], entry["f1"], entry["reason"]) for entry in result[field]]


def test_a_lost_worker_is_replaced_and_its_trial_goes_on(folder: Path, patches: Path, monkeypatch) -> None:
    """Two deaths of a worker leave two superseded attempts, and the same results as without."""
    deaths = folder / "deaths"
    deaths.write_text("one\ntwo")
    monkeypatch.setenv("LSML_TEST_DEATHS", str(deaths))
    done = run_killed("deaths", patches, 2)
    assert done.stdout.split() == ["None", "0"], done.stderr
    assert run_killed("quiet", patches, 2).stdout.split() == ["None", "0"]
    states = [entry["state"] for entry in attempts("deaths")]
    assert states.count("superseded") == 2
    assert runs("RUNNING") == []
    same_curves(counted("deaths"), counted("quiet"))


def test_a_worker_that_dies_every_time_fails_its_trial(folder: Path, patches: Path, monkeypatch) -> None:
    """With two retries used up the third death ends the slot as failed, and the study goes on."""
    deaths = folder / "deaths"
    deaths.write_text("one\ntwo\nthree")
    monkeypatch.setenv("LSML_TEST_DEATHS", str(deaths))
    done = run_killed("deaths", patches, 2)
    assert done.stdout.split() == ["None", "0"], done.stderr
    found = [(entry["slot"], entry["attempt"], entry["state"]) for entry in attempts("deaths")]
    assert found == [(0, 1, "superseded"), (0, 2, "superseded"), (0, 3, "failed"), (1, 1, "complete")]


def _versions() -> list[str]:
    return [version.run_id for version in client().search_model_versions()]


def _curve(run_id: str) -> dict[int, float]:
    history = client().get_metric_history(run_id, "val_f1")
    assert len({point.step for point in history}) == len(history)
    return {point.step: point.value for point in history}
