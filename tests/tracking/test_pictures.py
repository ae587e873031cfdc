"""Pictures of patches in MLflow, whatever the patches are called."""

from pathlib import Path

import numpy as np
import pytest

from lsml.tracking.runs import RunWriter
from lsml.tracking.store import experiment_id, open_client
from lsml.training.outcome import Panel


def test_a_picture_is_logged_whatever_its_patch_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets, accents and marks are none of MLflow's signs for pictures; two such names stay two pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = open_client()
    run = client.create_run(experiment_id(client, "lsml")).info.run_id
    picture = np.zeros((4, 4, 3), np.uint8)
    names = ("validation/image_7", "validation/patch (1)", "validation/patch [1]", "validation/Großglockner#2")
    RunWriter(client, run).log_panels([Panel(name, picture) for name in names])
    logged = [artifact.path for artifact in client.list_artifacts(run, "images") if artifact.path.endswith(".png")]
    assert len(logged) == len(names)
