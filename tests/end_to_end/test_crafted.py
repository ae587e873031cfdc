"""A crafted model in a study, although its run vouches for it: every command that loads it says so and does nothing."""

from pathlib import Path
from typing import Any

import pytest

from lsml.cli.main import main
from lsml.names import Tag
from lsml.tracking.models import RunModel, _digest
from lsml.tracking.store import open_client
from lsml.workspace import sha256_of
from tests.end_to_end.conftest import Study, copy_study, runs
from tests.models import test_archive, test_crafted
from tests.models.test_archive import good

__all__ = ["good"]

CRAFTED = test_archive.CRAFTED | test_crafted.CRAFTED
KINDS = ("lambda inside", "calls that double", "upsampling twice", "an external link", "NaN")
EVERY = [pytest.param(name, marks=[pytest.mark.full] * (name not in KINDS)) for name in CRAFTED]


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a folder of its own."""
    copied = tmp_path_factory.mktemp("crafted") / "study"
    copy_study(study.folder, copied)
    return copied


def _put(client: Any, run_id: str, content: bytes) -> None:
    """Makes it the run's model, as who may write both into its files and into MLflow's database can."""
    files = Path(RunModel(client, run_id).location()[1])
    (files / "data" / "model.keras").write_bytes(content)
    client.set_tag(run_id, Tag.MODEL_SHA256, sha256_of(files / "data" / "model.keras"))
    client.set_tag(run_id, Tag.MODEL_FILES, _digest(files))


@pytest.mark.parametrize("name", EVERY)
def test_every_command_refuses_it(
    name: str,
    good: bytes,
    folder: Path,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 5 and one line; no map, no opening of the test split, no champion, no ensemble."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    client = open_client()
    _put(client, study.best_run, CRAFTED[name][0](good))
    before = {run.info.run_id: dict(run.data.tags) for run in runs(folder)}
    commands = [
        ("predict", str(study.data / "TestData"), "--run-id", study.best_run, "--out", "out"),
        ("evaluate", "--run-id", study.best_run),
        ("ensemble", "first"),
    ]
    # It loads the file in a new process, which takes its time.
    if name in KINDS[:2]:
        commands.append(("promote", study.best_run))
    capsys.readouterr()
    for command in commands:
        assert main(list(command)) == 5, command
        errors = [line for line in capsys.readouterr().err.splitlines() if "lsml: error:" in line]
        assert len(errors) == 1, command
    assert not (folder / "out").exists()
    assert {run.info.run_id: dict(run.data.tags) for run in runs(folder)} == before
    assert "champion" not in client.get_registered_model("first").aliases
