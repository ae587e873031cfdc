"""`lsml dashboard`: optuna-dashboard over the study database, which is in none of lsml's requirements."""

from pathlib import Path

import optuna
import pytest

from lsml.study.database import make_study
from tests.processes import environment, lsml

STORAGE = "sqlite:///optuna.db"

# What `optuna_dashboard` has, without its server.
STANDING_IN = """
def run_server(storage, host, port):
    print(host, port, [study.study_name for study in storage.get_all_studies()])
    raise OSError(98, "Address already in use")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a study."""
    monkeypatch.chdir(tmp_path)
    make_study(STORAGE, "mine", pruner=optuna.pruners.NopPruner())
    return tmp_path


def test_it_is_served_over_the_open_database_on_this_machine_alone(folder: Path) -> None:
    """Its address is said; a port that is taken is one line."""
    (folder / "modules").mkdir()
    (folder / "modules" / "optuna_dashboard.py").write_text(STANDING_IN)
    env = environment(folder / "modules")
    done = lsml(folder, "dashboard", "--port", "8123", env=env)
    assert done.stdout.splitlines()[0] == "optuna-dashboard: http://127.0.0.1:8123"
    assert "127.0.0.1 8123 ['mine']" in done.stdout
    complaint = "lsml: error: port 8123: address already in use; choose another --port N"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (4, complaint)


def test_without_it_one_line_says_what_to_install(folder: Path) -> None:
    """And without a database that there is none; neither makes one."""
    done = lsml(folder, "dashboard")
    assert (done.returncode, done.stdout) == (4, "")
    said = "Python package optuna-dashboard is not installed; pip install optuna-dashboard"
    assert done.stderr == f"lsml: error: study database {STORAGE}: {said}\n"
    (folder / "optuna.db").unlink()
    done = lsml(folder, "dashboard")
    assert "optuna.db: there is no such file" in done.stderr
    assert not (folder / "optuna.db").exists()
