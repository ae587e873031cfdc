"""The notebook in docs/ runs from its first cell to its last, in an empty folder."""

import json
import shutil
from pathlib import Path

import pytest

from tests import warm
from tests.processes import ROOT, environment

pytestmark = pytest.mark.full


def code_of(notebook: Path) -> str:
    """All code cells, one after another."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_first_study_runs(tmp_path: Path) -> None:
    """Its cells end without an error; afterwards there is a registered model, and a mask of each test patch."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "first_study.py").write_text(code_of(ROOT / "docs" / "first_study.ipynb"), encoding="utf-8")
    env = environment(MPLBACKEND="agg")
    done = warm.run_module("tests.end_to_end.notebook_cells", "first_study.py", folder=tmp_path, env=env, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "registered: first version 1" in done.stdout
    assert len(list((tmp_path / "maps" / "mask").iterdir())) == 8
