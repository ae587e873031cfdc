"""A working folder that is moved, renamed or copied: its runs have the files beside their database, and no others."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsml.errors import StorageError
from lsml.names import Tag
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import check_writable, experiment_id, open_client
from lsml.workflows.repair import relocate_files
from tests.forking import exit_code


@pytest.fixture
def old(tmp_path: Path, new_store: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with patches, and one run that has a file."""
    folder = tmp_path / "old"
    (folder / "patches").mkdir(parents=True)
    new_store(folder)

    def fill() -> None:
        client = _open(folder, monkeypatch)
        run = client.create_run(experiment_id(client, "lsml"), tags={Tag.DATA_ROOT: str(folder / "patches")})
        RunWriter(client, run.info.run_id).log_texts({"said.txt": "before"})

    # MLflow keeps in mind, for as long as a process lives, where the files of a run are.
    assert exit_code(fill) == 0
    return folder


def _open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    # In full: MLflow keeps one connection a URI, and these tests change folders in one process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return open_client()


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("leave", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_files_are_read_and_written_beside_the_database(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: Any
) -> None:
    """Those of earlier runs, of later ones and of the patches; what stands at the old place stays as it is."""
    new = tmp_path / "new"
    leave(str(old), str(new))
    # After a move another project stands there.
    (old / "mlruns" / "1").mkdir(parents=True, exist_ok=True)
    before = _listing(old)
    client = _open(new, monkeypatch)
    (run,) = client.search_runs([experiment_id(client, "lsml")])
    assert run.data.tags[Tag.DATA_ROOT] == str(new / "patches")
    assert client.list_artifacts(run.info.run_id)[0].path == "said.txt"
    later = client.create_run(run.info.experiment_id).info.run_id
    for run_id in (run.info.run_id, later):
        RunWriter(client, run_id).log_texts({"more.txt": "after"})
        assert (new / "mlruns" / run.info.experiment_id / run_id / "artifacts" / "more.txt").is_file()
    # MLflow's own experiment too, of which no run has a file.
    assert client.get_experiment("0").artifact_location == str(new / "mlruns" / "0")
    assert _listing(old) == before


def test_files_that_somebody_keeps_elsewhere_stay_there(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that comes without them still names them, and patches that were not moved stay where they are."""
    new = tmp_path / "new"
    new.mkdir()
    shutil.move(old / "mlflow.db", new)
    client = _open(new, monkeypatch)
    (run,) = client.search_runs([experiment_id(client, "lsml")])
    assert client.list_artifacts(run.info.run_id)[0].path == "said.txt"
    assert run.data.tags[Tag.DATA_ROOT] == str(old / "patches")


def _written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes a file into the one run of the store in a folder; gives its id."""
    client = _open(folder, monkeypatch)
    (run,) = client.search_runs([experiment_id(client, "lsml")])
    check_writable(client, run)
    RunWriter(client, run.info.run_id).log_texts({"more.txt": "after"})
    return str(run.info.run_id)


def _write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    return exit_code(lambda: _written(folder, monkeypatch))


def test_a_database_that_was_copied_alone_writes_nothing_into_the_original(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says how to go on; with its files beside it, it goes on by itself."""
    new, before = tmp_path / "new", _listing(old)
    new.mkdir()
    shutil.copy(old / "mlflow.db", new)
    said = f"{new}/mlflow.db: it was copied or moved without the files of its runs, which are in {old}/mlruns; "
    with pytest.raises(StorageError, match=said):
        _written(new, monkeypatch)
    client = _open(new, monkeypatch)
    with pytest.raises(StorageError, match="lsml relocate"):
        client.create_run("1")
    assert _listing(old) == before
    shutil.copytree(old / "mlruns", new / "mlruns")
    assert _write(new, monkeypatch) == 0
    assert len(list((new / "mlruns").glob("1/*/artifacts/more.txt"))) == 1
    assert _listing(old) == before


def test_files_of_some_runs_alone_are_not_taken_for_all(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy whose database was renewed without its files would lose those of the later run."""
    new = tmp_path / "new"
    shutil.copytree(old, new)

    def later() -> None:
        client = _open(old, monkeypatch)
        run = client.create_run(experiment_id(client, "lsml"))
        RunWriter(client, run.info.run_id).log_texts({"later.txt": "later"})

    assert exit_code(later) == 0
    shutil.copy(old / "mlflow.db", new)
    with pytest.raises(StorageError, match="lsml relocate"):
        _open(new, monkeypatch).create_run("1")


def test_a_project_without_files_of_runs_goes_on_where_it_is(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to leave behind."""
    shutil.rmtree(old / "mlruns")
    new = tmp_path / "new"
    shutil.move(old, new)
    assert _write(new, monkeypatch) == 0
    assert len(list((new / "mlruns").glob("1/*/artifacts/more.txt"))) == 1
    assert not old.exists()


@pytest.mark.parametrize("beside", [True, False], ids=["beside the database", "elsewhere"])
def test_relocate_names_one_folder_after_a_backup(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """What is not there is counted; the backup is the database as it was."""
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(old / "mlflow.db", new)
    target = new / "mlruns" if beside else tmp_path / "large disk" / "files"
    _open(new, monkeypatch)
    done = relocate_files(None if beside else target)
    assert done
    assert (done.backup, done.before, done.now) == (new / "mlflow.db.backup", (old / "mlruns",), target)
    # One run, whose file stays behind.
    assert done.missing == 1
    assert done.backup.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(done.backup)) as backup:
        assert backup.execute("select artifact_location from experiments where name = 'lsml'").fetchall() == [
            (str(old / "mlruns" / "1"),)
        ]
    assert _write(new, monkeypatch) == 0
    assert len(list(target.glob("1/*/artifacts/more.txt"))) == 1
    # Said twice it changes nothing.
    assert relocate_files(None if beside else target) is None


def test_relocate_of_locations_that_are_uris(old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server writes down `file:///…` where its artifact root is one."""
    with contextlib.closing(sqlite3.connect(old / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"update {table} set {column} = 'file://' || {column}")
    new = tmp_path / "new"
    shutil.move(old, new)
    assert _write(new, monkeypatch) == 0
    assert len(list((new / "mlruns").glob("1/*/artifacts/more.txt"))) == 1


def test_relocate_of_a_server_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's files are where it was told."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="is no database file"):
        relocate_files(None)
