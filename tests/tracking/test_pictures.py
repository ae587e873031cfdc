"""Pictures of patches in MLflow, whatever the patches are called."""

from typing import Any

import numpy as np
import pytest

from lsml.evaluation.evaluate import EvaluationReport, PredictedPatch, evaluate_predictions
from lsml.names import Tag
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import experiment_id
from lsml.training.outcome import Panel


def test_a_picture_is_logged_whatever_its_patch_is_called(store: Any) -> None:
    """Brackets, accents and marks are none of MLflow's signs for pictures; two such names stay two pictures."""
    run = store.create_run(experiment_id(store, "lsml")).info.run_id
    picture = np.zeros((4, 4, 3), np.uint8)
    names = ("validation/image_7", "validation/patch (1)", "validation/patch [1]", "validation/Großglockner#2")
    RunWriter(store, run).log_panels([Panel(name, picture) for name in names])
    logged = [artifact.path for artifact in store.list_artifacts(run, "images") if artifact.path.endswith(".png")]
    assert len(logged) == len(names)


def test_a_second_evaluation_of_the_same_patches_logs_no_picture_again(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other patches it does; scores are written each time, into the run that `mlflow run` made for it too."""
    run = store.create_run(experiment_id(store, "lsml")).info.run_id

    project = store.create_run("0", tags={"mlflow.project.entryPoint": "evaluate"}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", project)

    def evaluate(fingerprint: str) -> int:
        truth = np.eye(4, dtype=np.uint8)
        patch = PredictedPatch("image_1", truth, truth.astype(np.float32))
        report = EvaluationReport(
            run_id=run,
            model_run_id=run,
            data="data",
            split="test",
            evaluation=evaluate_predictions([patch], 0.5),
            panels=(Panel("test/image_1", np.zeros((4, 4, 3), np.uint8)),),
            figures={},
            split_protocol="own",
            fingerprint=fingerprint,
            openings=1,
            augmented=None,
            baseline=None,
            pixel_metres=None,
        )
        RunWriter(store, run).evaluation(report)
        return len([file for file in store.list_artifacts(run, "images") if file.path.endswith(".png")])

    assert [evaluate(fingerprint) for fingerprint in ("aa", "aa", "bb")] == [1, 1, 2]
    assert store.get_run(run).data.tags[f"{Tag.DATA}test"] == "bb"
    of_project = store.get_run(project)
    assert of_project.info.run_name == f"evaluate {store.get_run(run).info.run_name} on test"
    assert of_project.data.metrics["test_f1"] == 1
    assert run in of_project.data.tags["mlflow.note.content"]
