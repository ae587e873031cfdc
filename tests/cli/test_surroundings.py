"""Commands in surroundings that are not lsml's doing: what a notebook, a scheduler or a shell leaves around them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment, lsml


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset; nobody may change it."""
    from tests.patches import make_patches

    root = tmp_path_factory.mktemp("patches") / "data"
    make_patches(root, train=4, validation=2, test=2, seed=1)
    return root


def test_pictures_are_drawn_whatever_backend_matplotlib_is_to_have(tmp_path: Path, patches: Path) -> None:
    """A notebook hands its own backend to commands, which are installed without it."""
    env = environment(MPLBACKEND="module://matplotlib_inline.backend_inline")
    done = lsml(tmp_path, "data", "show", str(patches), "--out", "drawn.png", python=sys.executable, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def _in_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which `$LSML` stands for the command."""
    env = environment(LSML=f"{sys.executable} -m lsml")
    return subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("where", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
    ids=["full", "closed"],
)
def test_output_that_cannot_be_written_is_said_and_the_work_is_done(tmp_path: Path, where: str, why: str) -> None:
    """One line on standard error, after the dataset was made; exit code 4."""
    size = "--train 1 --validation 1 --test 1"
    done = _in_shell(tmp_path, f"$LSML data synth made {size} {where}")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith(f"lsml: error: standard output: cannot be written ({why}); ")
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "made").glob("*/img/*.h5"))) == 3


def test_an_error_keeps_its_exit_code_where_no_output_can_be_written(tmp_path: Path) -> None:
    """That of a usage error, which says nothing on standard output."""
    assert _in_shell(tmp_path, "$LSML study lits >&-").returncode == 2


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "2> >(true)"], ids=["closed", "full", "broken pipe"])
def test_messages_that_cannot_be_written_do_not_stop_the_work(tmp_path: Path, where: str) -> None:
    """Progress is shown on standard error; the dataset is made without it, and nothing is written into its files."""
    size = "--train 4 --validation 2 --test 2 --seed 1"
    done = _in_shell(tmp_path, f"$LSML data synth made {size} {where} && $LSML data check made --out c.png {where}")
    assert done.returncode == 0
    assert "errors: 0" in done.stdout


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`| head -1` takes the first of many lines."""
    done = _in_shell(tmp_path, "$LSML config reference | head -1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "# Configuration\n", "")


def test_a_system_without_sighup_can_ask_for_the_version(tmp_path: Path) -> None:
    """As Windows is."""
    script = "import signal; del signal.SIGHUP; from lsml.cli.main import main; raise SystemExit(main(['--version']))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "lsml 0.1.0\n"), done.stderr
