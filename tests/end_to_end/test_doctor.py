"""The doctor: what it finds on a sound machine and on broken ones."""

import json
from pathlib import Path

from lsml.workflows.doctor import examine
from tests.processes import environment, lsml


def test_a_sound_machine_has_no_error(tmp_path: Path) -> None:
    """Versions, device, both stores and disk are examined, and no store is made."""
    done = lsml(tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert list(findings) == ["versions", "device", "study database", "MLflow store", "waiting for MLflow", "disk"]
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warning"}
    assert "keras" in findings["versions"]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_each_result_is_there_before_the_next_check_begins() -> None:
    """The first needs no library to be loaded, which takes the second seconds."""
    results = examine(storage=None, require_gpu=False)
    assert next(results).what == "versions"


def test_what_is_broken_is_named_and_the_rest_is_still_examined(tmp_path: Path) -> None:
    """An unreachable MLflow server, no database driver and no GPU: three errors, exit code 4, no traceback."""
    stores = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "LSML_STORAGE": "nonsense://x:hunter2@y/z"}
    done = lsml(tmp_path, "doctor", "--require-gpu", env=environment(**stores, CUDA_VISIBLE_DEVICES=""))
    assert done.returncode == 4
    states = dict(
        reversed(line.split(":")[0].split(maxsplit=1)) for line in done.stdout.splitlines() if ":" in line[:40]
    )
    assert states["study database"] == states["MLflow store"] == states["device"] == "error"
    assert states["versions"] == "ok"
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
