"""What lsml keeps is for its user alone; what was asked for is as any file of theirs."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsml.study.storage import open_storage
from lsml.tracking.store import experiment_id, open_client
from lsml.workspace import STATE_FOLDER, keep_private, make_folder, pack_cache, replace_whole


@pytest.fixture(autouse=True)
def _usual_mask() -> Iterator[None]:
    """Others may read what is made, unless somebody sees to it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_databases_and_the_state_folder_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of studies, that of MLflow, and the folder of packs, locks and logs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    open_storage("sqlite:///optuna.db")
    open_client()
    assert _mode(tmp_path / "optuna.db") == 0o600
    assert _mode(tmp_path / "mlflow.db") == 0o600
    assert _mode(tmp_path / STATE_FOLDER) == 0o700


def test_the_files_of_runs_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, tables and pictures below `mlruns`, which MLflow would let everybody read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = open_client()
    run = client.create_run(experiment_id(client, "private"))
    client.log_text(run.info.run_id, "text", "a.txt")
    assert list((tmp_path / "mlruns").rglob("a.txt"))
    assert _mode(tmp_path / "mlruns") == 0o700


def test_a_stricter_mask_is_kept_and_what_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own choice of who may read a database is undone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared.db").touch()
    (tmp_path / "shared.db").chmod(0o664)
    keep_private(tmp_path / "shared.db")
    assert _mode(tmp_path / "shared.db") == 0o664
    os.umask(0o277)
    keep_private(tmp_path / "own.db")
    assert _mode(tmp_path / "own.db") == 0o400


def test_packs_are_private_and_outputs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output is what the user's mask makes of it, and is not written through a link that lies in its way."""
    monkeypatch.chdir(tmp_path)
    make_folder(pack_cache() / "train")
    assert [_mode(folder) for folder in (STATE_FOLDER, pack_cache(), pack_cache() / "train")] == [0o700] * 3
    (tmp_path / "out").mkdir()
    (tmp_path / "target").write_text("mine")
    (tmp_path / "out" / "mask.png.partial").symlink_to(tmp_path / "target")
    replace_whole(tmp_path / "out" / "mask.png", [b"picture"])
    assert _mode(tmp_path / "out" / "mask.png") == 0o644
    assert (tmp_path / "target").read_text() == "mine"
