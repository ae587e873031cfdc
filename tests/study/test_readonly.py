"""A working folder that cannot be written to: what is in it can be read, and writing is refused in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from lsml.errors import StorageError
from lsml.study.database import make_study
from tests.processes import PATIENCE, lsml

from .conftest import environment

# Root may write anywhere, but without these capabilities.
_ALL = "-dac_override,-dac_read_search"
_AS_OTHERS = ["setpriv", f"--bounding-set={_ALL}", f"--inh-caps={_ALL}"] if os.geteuid() == 0 else []


@pytest.fixture
def sealed(folder: Path) -> Iterator[Path]:
    """The test's folder with a study, and without MLflow's database, and without permission to write."""
    make_study("sqlite:///optuna.db", "known", pruner=optuna.pruners.NopPruner())
    (folder / "mlflow.db").unlink()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def _lsml(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*_AS_OTHERS, sys.executable, "-m", "lsml", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_studies_are_read_where_nothing_can_be_written(sealed: Path) -> None:
    """Neither a lock nor another file is made."""
    listed = _lsml(sealed, "study", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert '"study": "known"' in listed.stdout
    shown = _lsml(sealed, "study", "show", "known")
    assert shown.returncode == 0, shown.stderr
    assert "test split never opened" in shown.stdout


def test_writing_where_nothing_can_be_written_is_refused_with_the_folders_name(sealed: Path, patches: Path) -> None:
    """One line and exit code 4, at once: MLflow would try for two minutes to make its database."""
    for command in (
        ("tune", "experiment.yaml", "--data", str(patches)),
        ("evaluate", "--run-id", "0" * 32),
    ):
        done = _lsml(sealed, *command)
        assert done.returncode == 4
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("lsml: error: ")
        assert str(sealed) in done.stderr.splitlines()[-1]


def test_a_state_folder_that_is_a_file_is_refused_in_one_line(folder: Path, patches: Path) -> None:
    """Where no lock can be made, no study starts."""
    (folder / ".lsml").write_text("no folder")
    done = lsml(folder, "tune", "experiment.yaml", "--data", str(patches), env=environment())
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: folder {folder}/.lsml/")


def test_a_database_that_refuses_to_be_written_says_why(folder: Path) -> None:
    """Where Optuna would say that something is wrong with what is written."""
    make_study("sqlite:///optuna.db", "known", pruner=optuna.pruners.NopPruner())
    with pytest.raises(StorageError, match="attempt to write a readonly database"):
        make_study("sqlite:///file:optuna.db?mode=ro&uri=true", "new", pruner=optuna.pruners.NopPruner())
