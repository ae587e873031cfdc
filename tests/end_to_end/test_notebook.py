"""The notebook in docs/ runs from its first cell to its last, in an empty folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, environment


def code_of(notebook: Path) -> str:
    """All code cells, one after another."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_first_study_runs(tmp_path: Path) -> None:
    """Its cells end without an error; afterwards there is a registered model, and a mask of each test patch."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    done = subprocess.run(
        [sys.executable, "-c", code_of(ROOT / "docs" / "first_study.ipynb")],
        cwd=tmp_path,
        env=environment(MPLBACKEND="agg"),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "registered: demo version 1" in done.stdout
    assert len(list((tmp_path / "maps" / "mask").iterdir())) == 8
