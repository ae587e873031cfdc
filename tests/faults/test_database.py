"""The study's database is locked, full, or loses the answer to what it has done; and disks that are full."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from lsml.errors import StorageError
from lsml.study import storage as gate
from lsml.study.database import make_study
from lsml.tracking.spool import _Spool
from lsml.tracking.writes import Write
from lsml.training.outcome import Attempt, Checkpoint, Report, TrialOutcome, TrialTask
from lsml.workspace import study_folder
from tests.study.conftest import attempts, counted, runs
from tests.study.sleeping import sleeping
from tests.study.test_tune import STORAGE, Listener, run

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect("optuna.db", timeout=60, isolation_level=None)
connection.execute("begin exclusive")
print("locked", flush=True)
time.sleep(float(sys.argv[1]))
"""


class Locking(Listener):
    """Another process locks the database for some seconds, from the second epoch of the first trial on."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.holder: subprocess.Popen[bytes] | None = None

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        if (attempt.slot, step) == (0, 2) and self.holder is None:
            command = [sys.executable, "-S", "-c", HOLD, str(self._seconds)]
            self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert self.holder.stdout
            assert self.holder.stdout.readline() == b"locked\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite gives up waiting for a lock at once, so that all waiting is lsml's."""
    monkeypatch.setattr(gate, "_SQLITE_TIMEOUT_SECONDS", 0.05)


def test_a_lock_is_waited_for(folder: Path, patches: Path, quick: None) -> None:
    """For two seconds every call fails; no value is lost, and no trial is run again."""
    run(patches, sleeping, Locking(2), trials=2)
    assert [(entry["slot"], entry["attempt"]) for entry in attempts("s")] == [(0, 1), (1, 1)]
    assert all(list(entry["curve"]) == [1, 2, 3, 4][: len(entry["curve"])] for entry in counted("s"))
    assert len(counted("s")[0]["curve"]) == 4
    assert runs("RUNNING") == []


def test_a_lock_that_stays_stops_the_study_in_one_line(
    folder: Path, patches: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's runs are closed all the same; when the lock is gone the same command ends the study."""
    monkeypatch.setattr(gate, "_PATIENCE_SECONDS", 0.5)
    locking = Locking(60)
    with pytest.raises(StorageError, match=r"study database sqlite:///optuna\.db: .*database is locked"):
        run(patches, sleeping, locking, trials=2)
    assert {r.info.status for r in runs()} == {"KILLED"}
    assert locking.holder
    locking.holder.kill()
    locking.holder.wait()
    run(patches, sleeping, Listener(), trials=2)
    assert [(e["slot"], e["attempt"], e["state"]) for e in attempts("s")][:2] == [
        (0, 1, "superseded"),
        (0, 2, "complete"),
    ]
    assert [entry["slot"] for entry in counted("s")] == [0, 1]
    assert runs("RUNNING") == []


@pytest.fixture
def full_database() -> Iterator[list[bool]]:
    """While its one value is true, the study's database may not grow any more."""
    full = [False]

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        (_, _, path) = connection.execute("pragma database_list").fetchone()
        if path.endswith("optuna.db"):
            pages = connection.execute("pragma page_count").fetchone()[0] if full[0] else 2**30
            connection.execute(f"pragma max_page_count = {pages}")

    def before(connection: sqlalchemy.Connection, *_: object) -> None:
        limit(connection.connection.dbapi_connection)  # type: ignore[arg-type]

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", before)
    yield full
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", before)


class Filling(Listener):
    """The disk is full from the second trial's start on."""

    def __init__(self, full: list[bool]) -> None:
        super().__init__()
        self._full = full

    def trial_ended(self, attempt: Attempt, *more: object) -> None:
        super().trial_ended(attempt, *more)  # type: ignore[arg-type]
        self._full[0] = True


@pytest.mark.full
def test_a_full_disk_stops_the_study_and_it_resumes(folder: Path, patches: Path, full_database: list[bool]) -> None:
    """SQLite's own refusal: one line, MLflow's runs are closed, and with space the same command ends the study."""
    with pytest.raises(StorageError, match="database or disk is full"):
        run(patches, sleeping, Filling(full_database), trials=40)
    assert runs("RUNNING") == []
    full_database[0] = False
    run(patches, sleeping, Listener(), trials=3)
    ended = [entry["slot"] for entry in counted("s")]
    assert sorted(set(ended)) == ended
    assert {0, 1, 2} <= set(ended)
    assert runs("RUNNING") == []


def test_what_was_done_although_its_answer_was_lost_is_not_done_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit of each kind is done, and then the connection breaks: one trial, its state and values once."""
    study = make_study(STORAGE, "s", pruner=optuna.pruners.NopPruner())
    lost: set[str] = set()

    def losing(name: str) -> None:
        original = getattr(optuna.storages.RDBStorage, name)

        def wrapped(*args: object, **kwargs: object) -> object:
            answer = original(*args, **kwargs)
            if name not in lost:
                lost.add(name)
                why = sqlite3.OperationalError("server closed the connection unexpectedly")
                raise sqlalchemy.exc.OperationalError("commit", {}, why)
            return answer

        monkeypatch.setattr(optuna.storages.RDBStorage, name, wrapped)

    for name in ("_create_new_trial", "set_trial_state_values", "set_trial_user_attr", "set_trial_intermediate_value"):
        losing(name)
    study.enqueue_trial({}, user_attrs={"slot": 0, "attempt": 1})
    trial = study.ask()
    trial.set_user_attr("run_id", "1" * 32)
    trial.report(0.5, 1)
    lost.discard("set_trial_state_values")
    study.tell(trial, 0.5)
    assert len(lost) == 4
    (only,) = make_study(STORAGE, "s", pruner=optuna.pruners.NopPruner()).all_trials()
    assert (only.state, only.value, only.intermediate_values) == (TrialState.COMPLETE, 0.5, {1: 0.5})
    assert only.user_attrs == {"slot": 0, "attempt": 1, "run_id": "1" * 32}


def checkpointing(task: TrialTask, report: Report) -> TrialOutcome:
    """Writes a checkpoint of 4,000 bytes first, as a training does, for which there may be no room."""
    assert task.checkpoint
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if task.checkpoint.with_name("full").exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        weights = {"weights": [np.arange(1000, dtype=np.float32)]}
        Checkpoint("key", [], weights).save(task.checkpoint.with_suffix(".weights"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return sleeping(task, report)


def writing(task: TrialTask, report: Report) -> TrialOutcome:
    """Comes to a full disk with a file that is nobody's checkpoint."""
    assert task.checkpoint
    if task.checkpoint.with_name("full").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scratch")
    return sleeping(task, report)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (checkpointing, r"checkpoint .*\.weights: File too large \(\d,\d{3} bytes to write\); free space"),
        (writing, r"file scratch: cannot be written \(No space left on device\); free space"),
    ],
    ids=["checkpoint", "another file"],
)
def test_a_full_disk_of_a_worker_fails_no_trial(folder: Path, patches: Path, function, said: str) -> None:
    """The study stops, its attempt is superseded, and with space the same command runs the slot again."""
    full = study_folder("s", STORAGE) / "full"
    full.parent.mkdir(parents=True)
    full.touch()
    with pytest.raises(StorageError, match=said):
        run(patches, function, Listener(), trials=1)
    assert [(entry["attempt"], entry["state"]) for entry in attempts("s")] == [(1, "superseded")]
    assert {r.info.status for r in runs()} == {"KILLED"}
    full.unlink()
    run(patches, function, Listener(), trials=1)
    assert [(e["attempt"], e["state"]) for e in attempts("s")] == [(1, "superseded"), (2, "complete")]


def test_a_full_disk_below_what_waits_for_mlflow_says_how_much(folder: Path) -> None:
    """One line that names the file and the bytes."""
    spool = _Spool(folder / "a.spool")
    (folder / "a.spool").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"file .*a\.spool: .* \d+ bytes \(No space left on device\)"):
        spool.append(Write.of_end("1" * 32, "FINISHED"))
