"""A real study's folder, copied and moved: commands read and write beside the database that they open."""

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Study, copy_study
from tests.processes import lsml


def _listing(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.full
def test_a_copied_and_a_moved_study_is_evaluated_where_it_is(study: Study, tmp_path: Path) -> None:
    """Scores, tables and pictures lie in the copy, the original stays as it is; then with the original gone."""
    original, copied, moved = (tmp_path / name for name in ("original", "copied", "moved"))
    copy_study(study.folder, original)
    # Opened where it is, as after a study of its own.
    assert lsml(original, "study", "show", "first").returncode == 0
    shutil.copytree(original, copied)
    before = _listing(original)
    arguments = ("evaluate", study.best_run, "--split", "valid")
    done = lsml(copied, *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert _listing(original) == before
    assert len(list(copied.glob(f"mlruns/*/{study.best_run}/artifacts/valid_patches.csv"))) == 1
    shutil.move(copied, moved)
    shutil.rmtree(original)
    for command in (arguments, ("compare", "first-000", "first-001"), ("report", "first")):
        again = lsml(moved, *command)
        assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved"]
