"""A working folder that is moved, renamed or copied: its runs have the files beside their database, and no others."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsml.names import Tag
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import experiment_id, open_client
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
