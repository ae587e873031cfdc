"""The record of every look at a sealed test split, kept in MLflow with the study, or with the run itself."""

import getpass
import json
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.tracking.store import git_commit, storage_errors

_ARTIFACT = "test_openings.json"
_COUNT = "lsml.test_openings"
_PARENT = "mlflow.parentRunId"


def record_opening(client: MlflowClient, run: Run, *, model_sha256: str, fingerprint: str) -> int:
    """Notes that the test split of `fingerprint` was opened for the run's model; gives the number of looks so far.

    Looks are counted over all trials of a study, since each of them informs the choice among them.
    """
    holder = run.data.tags.get(_PARENT, run.info.run_id)
    with storage_errors("record of test openings"):
        entries = _entries(client, holder)
        entries.append(
            {
                "who": f"{getpass.getuser()}@{socket.gethostname()}",
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "run_id": run.info.run_id,
                "model_sha256": model_sha256,
                "data_fingerprint": fingerprint,
                "code_commit": git_commit(),
            }
        )
        client.log_dict(holder, {"openings": entries}, _ARTIFACT)
        looks = sum(entry["data_fingerprint"] == fingerprint for entry in entries)
        client.set_tag(holder, _COUNT, str(len(entries)))
    return looks


def _entries(client: MlflowClient, run_id: str) -> list[dict[str, Any]]:
    if not any(found.path == _ARTIFACT for found in client.list_artifacts(run_id)):
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(run_id, _ARTIFACT, folder))
        return list(json.loads(path.read_text())["openings"])
