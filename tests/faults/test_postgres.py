"""Studies and runs in PostgreSQL: its server crashes, is not there, or never answers."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from optuna.pruners import NopPruner

from lsml import workspace
from lsml.errors import StorageError
from lsml.study import storage as gate
from lsml.study.database import make_study
from lsml.study.storage import open_storage
from lsml.tracking.spool import _Spool, waiting_files
from lsml.tracking.store import open_client
from lsml.tracking.writes import Write
from lsml.training.outcome import Attempt
from lsml.workspace import connection_url, study_folder
from tests.postgres import PASSWORD, USER, PostgresServer
from tests.processes import environment, lsml
from tests.study.conftest import attempts, client, counted, runs
from tests.study.sleeping import sleeping
from tests.study.test_tune import Listener, run

REST = "keepalives_idle=30&tcp_user_timeout=30000"


@pytest.fixture
def storage(postgres: PostgresServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty study database; MLflow's is in the same server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.create(f"mlflow-{folder.name}", template="mlflow"))
    return postgres.create(f"study-{folder.name}")


class Outage(Listener):
    """The server crashes, or freezes, in the second epoch of the second trial, and goes on after some seconds."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
        super().__init__()
        self._begin, self._end, self._begun = begin, end, False
        self._timer = threading.Timer(seconds, end)

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        if (attempt.slot, step) == (1, 2) and not self._begun:
            self._begun = True
            self._begin()
            self._timer.start()

    def end(self) -> None:
        """Has it go on before its time."""
        self._timer.cancel()
        self._end()


def crash(server: PostgresServer, seconds: float) -> Outage:
    """It is started again after some seconds."""
    return Outage(server.stop, server.start, seconds)


def frost(server: PostgresServer, seconds: float) -> Outage:
    """It does nothing for some seconds, and nobody can see that but by waiting."""
    return Outage(server.freeze, server.thaw, seconds)


def check_whole(storage: str, trials: int) -> None:
    """Fails unless each slot has one attempt, with the same curve in both stores, and nothing is open or waits."""
    ended = counted("s", storage)
    assert [(entry["slot"], entry["attempt"]) for entry in ended] == [(slot, 1) for slot in range(trials)]
    assert len(attempts("s", storage)) == trials
    for entry in ended:
        curve = client().get_metric_history(entry["run_id"], "val_f1")
        assert {point.step: point.value for point in curve} == entry["curve"]
        assert list(entry["curve"]) == list(range(1, len(entry["curve"]) + 1))
    assert runs("RUNNING") == []
    assert waiting_files() == []


@pytest.mark.full
@pytest.mark.parametrize(("outage", "seconds"), [(crash, 3), (crash, 60), (frost, 3), (frost, 60)])
def test_a_database_server_that_crashes_or_freezes_is_waited_for(
    folder: Path,
    patches: Path,
    postgres: PostgresServer,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
    outage: Callable[[PostgresServer, float], Outage],
    seconds: float,
) -> None:
    """No trial is lost or run again, no worker dies, and no value is lost."""
    if seconds < workspace._ANSWER_SECONDS:
        # For an answer within those seconds, which a frozen server does not give, it is asked again.
        monkeypatch.setattr(workspace, "_ANSWER_SECONDS", 1.0)
    result = run(patches, sleeping, outage(postgres, seconds), storage=storage, trials=4, workers=2)
    assert result.counts["failed"] == 0
    check_whole(storage, 4)


@pytest.mark.parametrize("outage", [crash, pytest.param(frost, marks=pytest.mark.full)])
def test_a_database_server_that_stays_away_ends_the_study_in_one_line(
    folder: Path,
    patches: Path,
    postgres: PostgresServer,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
    outage: Callable[[PostgresServer, float], Outage],
) -> None:
    """After a bounded wait, with MLflow's runs closed; when it is back the same command ends the study."""
    monkeypatch.setattr(gate, "_PATIENCE_SECONDS", 1)
    monkeypatch.setattr(workspace, "_ANSWER_SECONDS", 1.0)
    # In a store of its own, which answers all the time.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    listener = outage(postgres, 3600)
    try:
        with pytest.raises(StorageError, match=rf"database postgresql://{USER}:\*\*\*@.*check LSML_STORAGE") as caught:
            run(patches, sleeping, listener, storage=storage, trials=2)
    finally:
        listener.end()
    assert "\n" not in str(caught.value)
    assert {r.info.status for r in runs() if r.data.tags["lsml.role"] == "trial"} == {"FINISHED", "KILLED"}
    assert runs("RUNNING") == []
    run(patches, sleeping, Listener(), storage=storage, trials=2)
    assert [(entry["slot"], entry["attempt"]) for entry in counted("s", storage)] == [(0, 1), (1, 2)]
    assert runs("RUNNING") == []


def test_a_frozen_database_server_is_asked_again(
    folder: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was asked before is done once where it thaws in time; else the wait ends, and nothing is lost."""
    monkeypatch.setattr(workspace, "_ANSWER_SECONDS", 1.0)
    study = make_study(postgres.create(f"frozen-{folder.name}"), "s", pruner=NopPruner())
    study.enqueue_trial({}, user_attrs={"slot": 0, "attempt": 1})
    trial = study.ask()
    postgres.freeze()
    thawing = threading.Timer(3, postgres.thaw)
    thawing.start()
    trial.report(0.5, 1)
    thawing.join()
    study.enqueue_trial({}, user_attrs={"slot": 1, "attempt": 1})
    study.gate.patience = 2.0
    postgres.freeze()
    try:
        with pytest.raises(StorageError, match=rf"postgresql://{USER}:\*\*\*@.*; check LSML_STORAGE") as error:
            trial.report(0.6, 2)
    finally:
        postgres.thaw()
    assert "\n" not in str(error.value)
    trial.report(0.6, 2)
    first, second = study.all_trials()
    assert (first.intermediate_values, second.user_attrs["slot"]) == ({1: 0.5, 2: 0.6}, 1)


def test_mlflows_database_in_a_frozen_server_is_waited_for_within_bounds(
    folder: Path, postgres: PostgresServer, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server of MLflow's between: its client reads on where it thaws in time, and else ends."""
    monkeypatch.setattr(workspace, "_ANSWER_SECONDS", 1.0)
    store = open_client()
    experiment = store.create_experiment(folder.name)
    postgres.freeze()
    thawing = threading.Timer(3, postgres.thaw)
    thawing.start()
    assert store.get_experiment(experiment).name == folder.name
    thawing.join()
    postgres.freeze()
    started = time.monotonic()
    try:
        with pytest.raises(MlflowException, match=r"timeout|expired|closed"):
            store.with_patience(1).get_experiment(experiment)
        assert time.monotonic() - started < 10
    finally:
        postgres.thaw()
    assert store.get_experiment(experiment).name == folder.name


@pytest.fixture
def silent() -> Iterator[int]:
    """A port of loopback that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("answers", ["refuses", "is silent"])
@pytest.mark.parametrize(
    ("variable", "command"),
    [("LSML_STORAGE", ("study", "list")), ("MLFLOW_TRACKING_URI", ("evaluate", "--run-id", "0" * 32))],
)
def test_a_server_that_cannot_be_reached_is_one_line(
    tmp_path: Path, silent: int, variable: str, command: tuple[str, ...], answers: str
) -> None:
    """Exit code 4, and the password nowhere."""
    port = 9 if answers == "refuses" else silent
    env = environment(**{variable: f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/d"})
    done = lsml(tmp_path, *command, env=env)
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    why = "Connection refused" if answers == "refuses" else "connection timeout expired"
    assert why in line
    assert f"check {variable}" in line
    assert PASSWORD not in line


@pytest.mark.parametrize("variable", ["LSML_STORAGE", "MLFLOW_TRACKING_URI"])
def test_a_password_that_is_wrong_is_one_line(tmp_path: Path, postgres: PostgresServer, variable: str) -> None:
    """Exit code 4 and what the server says, as of any other refusal."""
    url = postgres.url("postgres").replace(PASSWORD, f"not-{PASSWORD}")
    command = ("study", "list") if variable == "LSML_STORAGE" else ("evaluate", "--run-id", "0" * 32)
    done = lsml(tmp_path, *command, env=environment(**{variable: url}))
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert f'password authentication failed for user "{USER}"' in line
    assert PASSWORD not in line


@pytest.mark.parametrize("opening", [open_storage, lambda url: open_client()])
def test_a_driver_that_is_missing_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, opening: Callable[[str], object]
) -> None:
    """PostgreSQL's, where the URL names none: psycopg 3."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1/d")
    with pytest.raises(StorageError, match=r"package 'psycopg\[binary\]' is not installed; pip install 'psycopg\[bin"):
        opening("postgresql://127.0.0.1/d")


@pytest.mark.parametrize(
    ("url", "connected"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql+pg8000://h/d?x=1", "postgresql+pg8000://h/d?x=1"),
        ("postgresql://u:p@h/d", f"postgresql+psycopg://u:p@h/d?connect_timeout=5&{REST}"),
        ("postgresql+psycopg2://h/d?connect_timeout=9", f"postgresql+psycopg2://h/d?connect_timeout=9&{REST}"),
    ],
)
def test_a_url_says_how_to_connect(url: str, connected: str) -> None:
    """By psycopg 3 if it names no driver, and with time-outs, but for those that it gives and drivers without such."""
    assert connection_url(url) == connected


def test_a_study_has_the_same_folder_after_its_password_has_changed() -> None:
    """Its checkpoints and what waits for MLflow are found again; another database has another folder."""
    first, second, other = (study_folder("s", f"postgresql://{who}/d") for who in ("u:a@h", "u:b@h", "u:a@i"))
    assert first == second != other


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://{USER}:{PASSWORD}@h/d",
        f"postgresql://{USER}:a/{PASSWORD}@h/d",
        f"postgresql://h/d?password={PASSWORD}",
    ],
)
def test_what_waits_for_mlflow_is_kept_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """Wherever in the URL it stands; and the file is taken again under the same URL."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    spool = _Spool(tmp_path / "a.spool")
    spool.append(Write.of_end("run", "FINISHED"))
    spool.close()
    assert PASSWORD.encode() not in spool.path.read_bytes()
    assert len(_Spool(spool.path)) == 1
