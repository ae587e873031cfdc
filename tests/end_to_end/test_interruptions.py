"""Real trainings that are killed or interrupted: nothing is lost, and the numbers are those of a study in peace."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import EXPERIMENT, Study, attempts, client, runs
from tests.processes import Running, living, lsml, wait_until

WITHOUT_CLOCK = ("loss", "val_loss", "val_f1", "val_iou", "val_average_precision", "val_threshold", "learning_rate")


@pytest.mark.full
def test_a_killed_study_of_another_name_ends_with_the_same_numbers(
    study: Study, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    """A worker killed in mid trial, then the coordinator, then the same command: equal curves to the last digit."""
    new_store(tmp_path)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    command = ("tune", "experiment.yaml", "--data", str(study.data), "--study", "second")
    with Running(tmp_path, *command) as running:
        running.wait_for("trial 1  epoch 1/4")
        running.kill_workers()
        running.wait_for("trial 1 (attempt 2)")
        running.wait_for("trial 2  epoch 1/4")
        workers = running.worker_pids()
        running.kill()
        _gone(workers)
    done = lsml(tmp_path, *command)
    assert done.returncode == 0, done.stderr

    peaceful, killed = _counted(study.folder, "first"), _counted(tmp_path, "second")
    assert [entry["slot"] for entry in killed] == [0, 1, 2]
    states = [entry["state"] for entry in attempts(tmp_path, "second")]
    assert states.count("superseded") == 2
    assert runs(tmp_path, "attributes.status = 'RUNNING'") == []
    for one, other in zip(peaceful, killed, strict=True):
        assert (one["state"], one["val_f1"]) == (other["state"], other["val_f1"])
        for name in WITHOUT_CLOCK:
            assert _curve(study.folder, one, name) == _curve(tmp_path, other, name), name


@pytest.fixture
def endless(dataset: Path, tmp_path: Path, new_store: Callable[[Path], str]) -> tuple[str, ...]:
    """The command of a study in `tmp_path` whose trials end by no end of their own."""
    new_store(tmp_path)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    for_ever = (word for name in ("epochs", "patience") for word in ("--set", f"training.{name}=9999"))
    return ("tune", "experiment.yaml", "--data", str(dataset), *for_ever)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.full),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.full),
    ],
    ids=["INT", "TERM", "HUP"],
)
def test_a_signal_stops_a_study_in_good_order(endless: tuple[str, ...], tmp_path: Path, number: int, code: int) -> None:
    """In mid epoch: exit code 128 + signal, run KILLED, slot free, no process left."""
    with Running(tmp_path, *endless) as running:
        running.wait_for("trial 0  epoch 1/")
        workers = running.worker_pids()
        running.signal_group(number)
    assert running.process.returncode == code
    _gone(workers)
    assert runs(tmp_path, "attributes.status = 'RUNNING'") == []
    (trial,) = runs(tmp_path, "tags.`lsml.role` = 'trial'")
    assert trial.info.status == "KILLED"
    assert trial.data.tags["lsml.reason"] == f"interrupted by {signal.Signals(number).name}"
    (attempt,) = attempts(tmp_path, "tiny")
    assert attempt["state"] == "superseded"


def test_a_study_outlives_what_it_is_started_to_ignore_and_a_second_one(
    endless: tuple[str, ...], tmp_path: Path
) -> None:
    """As by `nohup`, and in the background of a shell without job control: neither it nor its worker takes notice.

    The same command elsewhere is refused with exit code 4 meanwhile, and does no harm.
    """
    with Running(tmp_path, *endless, ignoring=(signal.SIGHUP, signal.SIGINT)) as running:
        running.wait_for("trial 0  epoch 1/")
        for number in (signal.SIGHUP, signal.SIGINT):
            os.killpg(running.process.pid, number)
        second = lsml(tmp_path, *endless)
        assert second.returncode == 4
        assert "locked by another process" in second.stderr
        (trial,) = runs(tmp_path, "tags.`lsml.role` = 'trial'")
        told = len(_curve_of(tmp_path, trial.info.run_id, "loss"))
        wait_until(lambda: len(_curve_of(tmp_path, trial.info.run_id, "loss")) > told)
        running.signal_group(signal.SIGTERM)
    assert running.process.returncode == 143
    (trial,) = runs(tmp_path, "tags.`lsml.role` = 'trial'")
    assert trial.data.tags["lsml.reason"] == "interrupted by SIGTERM"


def _gone(pids: list[int]) -> None:
    """No worker outlives its coordinator."""
    assert pids
    wait_until(lambda: not living(pids))


def _counted(folder: Path, study: str) -> list[dict]:
    return [entry for entry in attempts(folder, study) if entry["state"] != "superseded"]


def _curve(folder: Path, attempt: dict, name: str) -> dict[int, float]:
    return _curve_of(folder, attempt["run_id"], name)


def _curve_of(folder: Path, run_id: str, name: str) -> dict[int, float]:
    history = client(folder).get_metric_history(run_id, name)
    assert len({point.step for point in history}) == len(history)
    return {point.step: point.value for point in history}
