"""How people name runs, in a real MLflow store."""

import contextlib
import hashlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsml.errors import StorageError
from lsml.models.export import ModelFile
from lsml.names import State, Tag
from lsml.tracking import check_known
from lsml.tracking.models import RunModel
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.study import named_run, named_study
from tests.bands import SENSOR
from tests.processes import environment, lsml


def test_a_run_goes_by_its_id_its_first_digits_its_name_and_what_is_registered(store: Any) -> None:
    """A trial by all of these; a study by its name, of two the later one, although a trial is called the same."""
    trial = store.create_run("0", run_name="demo-000").info.run_id
    store.create_run("0", start_time=1, run_name="demo", tags={Tag.ROLE: "study"})
    study = store.create_run("0", start_time=2, run_name="demo", tags={Tag.ROLE: "study"}).info.run_id
    store.create_run("0", start_time=3, run_name="demo", tags={Tag.ROLE: "trial"})
    model = ModelFile(b"network", hashlib.sha256(b"network").hexdigest(), SENSOR)
    RunModel(store, trial).log(model, threshold=0.5, backend="tensorflow")
    model = RegisteredModel(store, "demo")
    model.give_alias("candidate", model.register(trial, tags={}), tags={})
    for name in (trial, trial[:12], "demo-000", "demo@candidate", "demo/1", "models:/demo@candidate", "models:/demo/1"):
        assert named_run(store, name).info.run_id == trial, name
        check_known(name)
    check_known("demo")
    assert named_run(store, "demo").info.run_id == study


def test_a_study_goes_by_its_runs_and_models_too(store: Any) -> None:
    """By its name, the start of its id, a trial of it by name or id; a run of no study is refused."""
    study = store.create_run("0", run_name="demo", tags={Tag.ROLE: "study"}).info.run_id
    below = {Tag.PARENT: study, Tag.ROLE: "trial"}
    trial = store.create_run("0", run_name="demo-000", tags=below).info.run_id
    for name in ("demo", study[:12], "demo-000", trial):
        assert named_study(store, name).info.run_id == study, name
    store.create_run("0", run_name="demo-train", tags={Tag.ROLE: "train"})
    with pytest.raises(StorageError, match="is of no study; lsml study list names the studies"):
        named_study(store, "demo-train")


def test_a_training_has_a_model_of_its_own(store: Any) -> None:
    """And none of its experiment's, which a study may have; one of an earlier lsml keeps that."""
    tags = {Tag.ROLE: "train", Tag.EXPERIMENT: "demo"}
    earlier = store.create_run("0", run_name="demo", tags=tags)
    now = store.create_run("0", run_name="demo-train", tags=tags | {Tag.MODEL_NAME: "demo-train"})
    assert [RegisteredModel.of_run(store, run).name for run in (earlier, now)] == ["demo", "demo-train"]


def test_a_lost_attempt_stands_for_the_one_that_went_on(store: Any) -> None:
    """Two were lost, the third is complete; of a slot whose only attempt was lost it is that one."""
    for name in ("demo-000", "demo-000.2", "demo-001"):
        store.create_run("0", run_name=name, tags={Tag.STATE: State.SUPERSEDED})
    last = store.create_run("0", run_name="demo-000.3", tags={Tag.STATE: State.COMPLETE}).info.run_id
    assert named_run(store, "demo-000").info.run_id == last
    check_known("demo-000")
    assert named_run(store, "demo-001").info.run_name == "demo-001"


def test_what_names_no_run_or_two_is_refused(store: Any) -> None:
    """Two runs of one name, each of which is told; an unknown name; one that would end a filter's text."""
    ids = sorted(store.create_run("0", run_name="twice", tags={Tag.ROLE: "trial"}).info.run_id for _ in range(2))
    with pytest.raises(StorageError, match=f"2 runs go by that: {ids[0]}, {ids[1]}; give the id of one"):
        named_run(store, "twice")
    for name in ("never", "0' or '1", "f" * 32, "x@y", "x/1"):
        with pytest.raises(StorageError):
            named_run(store, name)
    store.delete_run(ids[0])
    assert named_run(store, "twice").info.run_id == ids[1]


UNKNOWN = {
    "demo-01": "run demo-01: no run has that id or name, and no study; did you mean demo-001",
    "dem": "run dem: no run has that id or name",
    "f" * 32: "no run has that id or name",
    "demo@candidat": "no registered model has that name with that alias or version; did you mean demo@candidate",
    "models:/demo/7": "did you mean demo/1",
}


def test_what_nothing_is_called_is_said_without_mlflow(store: Any) -> None:
    """In the database file itself, with the names that are alike; MLflow takes seconds to load."""
    run_id = store.create_run("0", run_name="demo-001").info.run_id
    model = ModelFile(b"network", hashlib.sha256(b"network").hexdigest(), SENSOR)
    RunModel(store, run_id).log(model, threshold=0.5, backend="tensorflow")
    version = RegisteredModel(store, "demo").register(run_id, tags={})
    store.set_registered_model_alias("demo", "candidate", version)
    for name, says in UNKNOWN.items():
        with pytest.raises(StorageError, match=re.escape(says)):
            check_known(name)
    script = """
import sys
from lsml.cli.main import main
for command in ("evaluate", "leaderboard", "refit", "promote", "reproduce", "compare"):
    assert main([command, "demo-01"]) == 4
assert not {"mlflow", "keras", "sqlalchemy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert [UNKNOWN["demo-01"] in line for line in done.stderr.splitlines()] == [True] * 6


def test_only_a_database_file_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server, a registry of its own and a file that is no database are left to MLflow; one that is missing is not."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="there is no such file"):
        check_known("demo")
    (tmp_path / "mlflow.db").write_text("no database")
    check_known("demo")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    check_known("demo")


def test_a_database_of_another_mlflow_is_told_with_the_command_that_mends_it(store: Any, tmp_path: Path) -> None:
    """Whole, and with the address of the database: MLflow's instruction is longer than a line."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("update alembic_version set version_num = 'bda7b8c39065'")
    done = lsml(tmp_path, "rollback", "demo", python=sys.executable)
    assert done.returncode == 4
    assert done.stderr.endswith("then run: mlflow db upgrade sqlite:///mlflow.db\n")
