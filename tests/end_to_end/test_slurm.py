"""`deploy/slurm.sh` with dask-jobqueue; jobs are processes here, by stand-ins for Slurm."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.deployment import DEPLOY
from tests.processes import environment

from .conftest import EXPERIMENT, runs

pytestmark = pytest.mark.full

SBATCH = """#!/bin/bash
cp "${@: -1}" "$JOBS/$$.sh"
setsid bash "$JOBS/$$.sh" >"$JOBS/$$.log" 2>&1 </dev/null &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill -- "-$1"
"""


def _stand_in(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_study_runs_by_jobs(dataset: Path, tmp_path: Path) -> None:
    """By TLS, each worker a job that has ended when the study has; the exit code is that of lsml."""
    jobs, programs = tmp_path / "jobs", tmp_path / "programs"
    jobs.mkdir()
    programs.mkdir()
    _stand_in(programs / "sbatch", SBATCH)
    _stand_in(programs / "scancel", SCANCEL)
    subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(tmp_path / "secrets")], check=True)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = environment(PATH=path, JOBS=str(jobs), LSML_DASK_PEM=str(tmp_path / "secrets/dask.pem"))
    words = ["bash", str(DEPLOY / "slurm.sh"), "tune", "experiment.yaml", "--data", str(dataset)]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert "\nstudy tiny: " in f"\n{done.stdout}"
    scripts = [job.read_text() for job in jobs.glob("*.sh")]
    assert len(scripts) == 2
    assert all("--nthreads 1" in script and "tls://" in script for script in scripts)
    assert len(runs(tmp_path)) > 3
    assert runs(tmp_path, "attributes.status = 'RUNNING'") == []
    end = time.monotonic() + 30
    while (left := _workers(str(tmp_path))) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == []


def _workers(folder: str) -> list[str]:
    """The command lines of processes that have shown this test's certificate."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if f"{folder}/secrets" in line and "dask" in line]
