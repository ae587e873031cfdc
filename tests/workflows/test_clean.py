"""What the working folder keeps: its sizes, and what goes."""

import multiprocessing
from pathlib import Path

import pytest
from filelock import FileLock

from lsml.errors import StorageError
from lsml.workflows.clean import clean, kept_files
from tests.processes import PATIENCE, lsml


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packs of 3,000 and 2,000,000 bytes, a checkpoint of 500, a log of 7; and what a study must keep."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSML_PACKS", raising=False)
    state = tmp_path / ".lsml"
    files = {
        "packs/a/images.npy": 3_000,
        "packs/b/images.npy": 2_000_000,
        "studies/s-1/trial-0001.checkpoint": 500,
        "studies/s-1/lock": 0,
        "studies/s-1/run.spool": 11,
        "log/error-1.txt": 7,
    }
    for name, size in files.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(bytes(size))
    return tmp_path


def test_what_is_kept_is_listed_by_size(folder: Path) -> None:
    assert [(kept.kind, kept.size) for kept in kept_files()] == [("packs", 2_003_000), ("checkpoints", 500), ("log", 7)]


def test_what_is_named_goes_and_nothing_else(folder: Path) -> None:
    assert clean(["packs", "checkpoints"]) == 2_003_500
    left = {str(path.relative_to(folder / ".lsml")) for path in folder.rglob("*") if path.is_file()}
    assert left == {"studies/s-1/lock", "studies/s-1/run.spool", "log/error-1.txt"}
    assert clean(["packs", "scenes"]) == 0


def _hold(lock: str, held: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    with FileLock(lock):
        held.set()
        done.wait(PATIENCE)


def test_nothing_goes_while_a_study_runs(folder: Path) -> None:
    """A worker would not find its pack again."""
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(".lsml/studies/s-1/lock", held, done))
    process.start()
    try:
        assert held.wait(PATIENCE)
        with pytest.raises(StorageError, match="locked by another process"):
            clean(["packs"])
        assert (folder / ".lsml" / "packs" / "a" / "images.npy").exists()
    finally:
        done.set()
        process.join()


def test_the_command_lists_removes_and_refuses(folder: Path) -> None:
    """Two million and three thousand bytes are 2.0 MB."""
    assert lsml(folder, "clean").stdout.splitlines()[1].split()[:3] == ["packs", "2.0", "MB"]
    assert lsml(folder, "clean", "--remove", "packs").stdout == "removed: 2.0 MB\n"
    assert not (folder / ".lsml" / "packs").exists()
    refused = lsml(folder, "clean", "--remove", "models")
    assert refused.returncode == 2
    assert refused.stderr.startswith("lsml: error: --remove: there is no models; give one of packs, ")
