"""The contracts of `test_models.py` under JAX, where TensorFlow is not installed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

CONTRACTS = "tests/contracts/test_models.py"


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_contracts_hold_under_jax(tmp_path: Path) -> None:
    """Every test there passes, and none is skipped, in the environment with JAX."""
    python = os.environ.get("LSML_JAX_PYTHON")
    if not python:
        pytest.skip("LSML_JAX_PYTHON names no Python of an environment with JAX; `make test-all` makes one")
    # This process's own settings for its tests, such as a worker's number, are not those of that one. Almost all of
    # its time is compilation, which takes half as long without optimisation.
    own = {key: value for key, value in environment().items() if not key.startswith("PYTEST_")}
    jax = {"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'jax'}", CONTRACTS],
        cwd=ROOT,
        env=own | jax,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert " passed in " in done.stdout.splitlines()[-1]
    assert "skipped" not in done.stdout.splitlines()[-1]
