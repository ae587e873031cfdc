"""lsml as a package that somebody installed: its wheel in an environment of its own, away from the source tree."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.processes import PATIENCE, ROOT, environment

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lsml", "experiments")


def _run(folder: Path, *command: str | Path) -> str:
    env = {name: value for name, value in environment().items() if name != "PYTHONPATH"} | {"COLUMNS": "80"}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _uv(folder: Path, *command: str | Path) -> None:
    _run(folder, Path(sys.executable).with_name("uv"), "--quiet", "--offline", *command)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has lsml's wheel, and the other packages of this one."""
    made = tmp_path_factory.mktemp("wheel")
    (made / "source").mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, made / "source" / name)
        else:
            shutil.copy(ROOT / name, made / "source")
    _uv(made, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", made, "source")
    (wheel,) = made.glob("*.whl")
    _run(made, sys.executable, "-m", "venv", "--without-pip", "env")
    _uv(made, "pip", "install", "--no-deps", "--python", "env", wheel)
    (packages,) = (made / "env" / "lib").glob("python*/site-packages")
    # After its own, and without what makes lsml of the source tree importable: that is read in their own folder alone.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return made / "env" / "bin"


@pytest.mark.full
def test_a_first_study_with_nothing_but_the_wheel(scripts: Path, tmp_path: Path) -> None:
    """In an empty folder: the demo's study, its best model on the test split beside a baseline, the report."""
    assert Path(_run(tmp_path, scripts / "python", "-c", "import lsml; print(lsml.__file__)")).is_relative_to(
        scripts.parent
    )
    short = ("--trials", "2", "--set", "training.epochs=2", "--set", "training.patience=2")
    said = _run(tmp_path, scripts / "lsml", "tune", "--demo", *short)
    run_id = said.splitlines()[-1].removeprefix("best run: ")
    scores = _run(tmp_path, scripts / "lsml", "evaluate", "demo", "--baseline")
    assert run_id in scores
    assert "logistic regression" in scores
    assert _run(tmp_path, scripts / "lsml", "report", "demo", "--open") == (
        f"report: {tmp_path}/demo-report.html\nno display here: open that file in a browser\n"
    )
    assert "<html" in (tmp_path / "demo-report.html").read_text(encoding="utf-8")


@pytest.mark.full
def test_the_experiments_come_along(scripts: Path, tmp_path: Path) -> None:
    """A name is that of one of those in the source tree's `experiments/`; a wrong one says which there are."""
    names = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
    for name in names:
        assert "searched" in _run(tmp_path, scripts / "lsml", "config", "check", name)
    found = subprocess.run(
        [scripts / "lsml", "tune", "dmo"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert found.stderr.strip() == (
        "lsml: error: experiment dmo: No such file or directory; did you mean demo? "
        f"give a YAML file, or one that comes with lsml by its name: {', '.join(names)}"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_source_tree_is_found_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    """Beside a clone called `lsml`, `import lsml` gives the package in it, and not that folder as an empty one."""
    (tmp_path / "lsml").symlink_to(ROOT)
    found = _run(tmp_path, sys.executable, "-c", "import lsml; print(lsml.__file__)")
    assert Path(found.strip()).parts[-2:] == ("lsml", "__init__.py")
