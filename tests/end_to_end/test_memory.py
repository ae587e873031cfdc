"""A training that really runs out of memory: one line, exit code 6, and a run that says why."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import EXPERIMENT, runs
from tests.processes import environment

pytestmark = pytest.mark.full


def test_a_training_that_does_not_fit_ends_with_one_line_and_exit_6(dataset: Path, tmp_path: Path) -> None:
    """`lsml train` of 128 filters at depth 5 with 1,100 MB to spare: its run is closed as failed, with the reason.

    The kernels down to 3 * 3 * 2,048 * 2,048 floats take 301 MB. The next, of 302 MB, is drawn, scaled and moved, an
    array each: the third does not fit while 195 MB are left, for TensorFlow does not outlive a thread without stack.
    """
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    values = ("model.filters=128", "model.depth=5", "training.batch_size=6", "training.epochs=1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.starved", "1100", "train", "experiment.yaml", "--data", str(dataset)]
        + [word for value in values for word in ("--set", value)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 6, done.stderr
    why = "out of memory: batch size 6 with 128 filters and depth 5 does not fit"
    fix = "lower training.batch_size, model.filters or model.depth"
    assert done.stderr.strip().splitlines()[-1] == f"lsml: error: {why}; {fix}"
    assert "Traceback" not in done.stderr
    (run,) = runs(tmp_path)
    assert (run.info.status, run.data.tags["lsml.reason"]) == ("FAILED", f"{why}; {fix}")
