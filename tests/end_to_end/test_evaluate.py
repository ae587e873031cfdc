"""Evaluation from the command line: its answer, its record, and the model without lsml."""

import contextlib
import csv
import json
import re
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pandas
import pytest

import lsml as api
from lsml.errors import DataError
from tests.end_to_end.conftest import Study, client, copy_study, runs
from tests.processes import environment, lsml, without_lsml

SCORES = {
    *("f1", "iou", "precision", "recall", "average_precision", "calibration_error"),
    *("object_hit_rate", "object_precision"),
}

LOAD_AND_SCORE = """
import json, sys
import glob, h5py, mlflow, numpy as np
from sklearn.metrics import f1_score
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
images, masks = [], []
for path in sorted(glob.glob(sys.argv[3] + "/TestData/img/*.h5")):
    images.append(h5py.File(path)["img"][:])
    masks.append(h5py.File(path.replace("/img/image", "/mask/mask"))["mask"][:])
probability = model.predict(np.stack(images).astype("float32"))[..., 0]
threshold = model.metadata.metadata["lsml.threshold"]
print(json.dumps(f1_score(np.stack(masks).ravel(), (probability >= np.float32(threshold)).ravel())))
"""

# Runs in the process that reads for another, which it kills in the moment in which a file of the test split opens.
DIES_AT_TEST_PATCH = """
import os, sys
def hook(event, arguments):
    if event == "open" and "/TestData/" in str(arguments[0]):
        os.kill(os.getppid(), 9)
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def evaluation(study: Study) -> dict:
    """The first evaluation of the study's best run, as JSON."""
    done = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--json", "--baseline", "--tta", "d4")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_json_is_all_that_is_printed(study: Study, evaluation: dict) -> None:
    """Standard output is one JSON object with the promised keys, scores in 0..1."""
    assert evaluation["run_id"] == study.best_run
    assert (evaluation["split"], evaluation["n_patches"]) == ("test", 3)
    assert set(evaluation["metrics"]) == SCORES
    assert all(0 <= value <= 1 for value in evaluation["metrics"].values())
    assert set(evaluation["pixel_baseline"]) == SCORES
    ahead = evaluation["f1_above_pixel_baseline"]
    assert ahead["value"] == pytest.approx(evaluation["metrics"]["f1"] - evaluation["pixel_baseline"]["f1"], abs=1e-9)
    for name, (low, high) in evaluation["intervals"].items():
        assert low <= evaluation["metrics"][name] <= high, name
    objects = evaluation["objects"]
    assert sum(objects["hits"]) <= sum(objects["landslides"])
    shown = evaluation["metrics"]["object_hit_rate"] * sum(objects["landslides"])
    assert shown == pytest.approx(sum(objects["hits"]))


def test_scores_pictures_and_table_are_on_the_run(study: Study, evaluation: dict) -> None:
    """The run holds `test_*` scores equal to the printed ones, panels, and a table with one row a patch."""
    store = client(study.folder)
    metrics = store.get_run(study.best_run).data.metrics
    assert {name: metrics[f"test_{name}"] for name in SCORES} == evaluation["metrics"]
    assert [metrics["test_f1_low"], metrics["test_f1_high"]] == evaluation["intervals"]["f1"]
    tags = store.get_run(study.best_run).data.tags
    assert tags["lsml.score.test.split"] == "the own split of synthetic patches"
    assert tags["lsml.score.test.patches"] == evaluation["data_fingerprint"]
    images = [entry.path for entry in store.list_artifacts(study.best_run, "images")]
    assert sum("test~" in path and path.endswith(".png") for path in images) == 3
    table = store.download_artifacts(study.best_run, "test_patches.csv", str(study.folder))
    with Path(table).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["id"] for row in rows) == ["image_1", "image_2", "image_3"]
    # The pooled F1 follows from the table's counts: 2 hits / (2 hits + misses + false alarms).
    hits, misses, alarms = (sum(int(row[name]) for row in rows) for name in ("hits", "misses", "false_alarms"))
    assert evaluation["metrics"]["f1"] == pytest.approx(2 * hits / max(1, 2 * hits + misses + alarms), abs=1e-9)


def test_curves_and_a_table_for_the_ui_are_on_the_run(study: Study, evaluation: dict) -> None:
    """Three figures, and the patches worst first in a file that pandas reads as MLflow does, once, not appended."""
    store = client(study.folder)
    drawn = [entry.path for entry in store.list_artifacts(study.best_run, "test")]
    assert sorted(drawn) == ["test/f1_over_threshold.png", "test/precision_recall.png", "test/reliability.png"]
    shown = json.loads(store.get_run(study.best_run).data.tags["mlflow.loggedArtifacts"])
    assert {"path": "test_patches.json", "type": "table"} in shown
    path = store.download_artifacts(study.best_run, "test_patches.json", str(study.folder))
    table = pandas.read_json(path, orient="split")
    assert sorted(table["id"]) == ["image_1", "image_2", "image_3"]
    wrong = (table["misses"] + table["false_alarms"]).tolist()
    assert wrong == sorted(wrong, reverse=True)


def test_other_averages_and_orientations_have_names_of_their_own(study: Study, evaluation: dict) -> None:
    """Means that flatter, and scores with test-time augmentation, stand beside the plain pooled ones."""
    metrics = client(study.folder).get_run(study.best_run).data.metrics
    names = {"two_class_mean_f1", "two_class_mean_iou", "per_image_mean_f1"}
    assert {name: metrics[f"test_{name}"] for name in names} == evaluation["other_averages"]
    augmented = evaluation["tta"]
    assert {name: metrics[f"test_tta_{name}"] for name in SCORES} == augmented["metrics"] != evaluation["metrics"]
    gained = augmented["metrics"]["f1"] - evaluation["metrics"]["f1"]
    assert augmented["f1_above_plain"]["value"] == pytest.approx(gained, abs=1e-9)


def test_every_look_is_counted(study: Study, evaluation: dict, tmp_path: Path) -> None:
    """A second look, through the study's run, is allowed, counted, and recorded with who, when and which model."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    first = evaluation["test_openings"]
    done = lsml(study.folder, "evaluate", "--run-id", parent.info.run_id, "--tta", "d4")
    assert done.returncode == 0, done.stderr
    assert "as some papers report them, are not comparable with the pooled scores above" in done.stdout
    assert "the threshold was chosen without test-time augmentation" in done.stdout
    assert f"opening {first + 1} of the test split: it has been opened {first + 1} times by now" in done.stdout
    assert "intervals are unreliable: fewer than 60 patches" in done.stdout
    sizes = ", ".join(rf"\d+ of \d+ {size}" for size in ("up to 0.1 ha", "up to 1 ha", "larger"))
    assert re.search(rf"^landslides hit \(half of their pixels\): {sizes}$", done.stdout, re.MULTILINE)
    store = client(study.folder)
    entries = _openings(study.folder)
    assert len(entries) == first + 1
    assert {entry["run_id"] for entry in entries} == {study.best_run}
    assert {entry["model"] for entry in entries} == {"first/1"}
    assert {entry["data_fingerprint"] for entry in entries} == {evaluation["data_fingerprint"]}
    assert all("@" in entry["who"] and len(entry["model_sha256"]) == 64 for entry in entries)
    assert all(datetime.fromisoformat(entry["when"]).tzinfo == UTC for entry in entries)
    # The study's run shows the scores of its best trial too.
    metrics = store.get_run(parent.info.run_id).data.metrics
    assert metrics["test_f1"] == evaluation["metrics"]["f1"]
    # And so does the report that stands in it.
    report = Path(store.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))).read_text()
    assert f"This study opened it {first + 1} times" in report
    assert "had not been opened" not in report


def test_test_patches_that_were_trained_on_are_refused(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, with masks of their own: by the command and the API, forced with a warning and a tag.

    Where what was trained on is gone, a line says that nothing was compared.
    """
    folder, leaking = tmp_path / "study", tmp_path / "leaking"
    copy_study(study.folder, folder)
    shutil.copytree(study.data / "TestData", leaking / "TestData")
    (image,) = (study.data / "TrainData/img").glob("image_4.*")
    shutil.copy(image, leaking / "TestData/img" / image.with_stem("image_2").name)
    says = "test split: image_2 equals image_4 of train: leakage; keep it in one split"
    command = ("evaluate", "--run-id", study.best_run, "--data", str(leaking))
    before = client(folder).get_run(study.best_run).data.metrics
    done = lsml(folder, *command)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == f"lsml: error: {says}; --force takes them as they are"
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=says):
        api.evaluate(run_id=study.best_run, data=leaking)
    assert client(folder).get_run(study.best_run).data.metrics == before
    forced = lsml(folder, *command, "--force")
    assert forced.returncode == 0, forced.stderr
    assert f"lsml: warning: {says}" in forced.stderr
    assert client(folder).get_run(study.best_run).data.tags["lsml.forced.test"].startswith("image_2 equals")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("update tags set value = '/gone' where key = 'lsml.data.root'")
    apart = lsml(folder, *command)
    assert apart.returncode == 0, apart.stderr
    says = "test split: not compared with the patches that the model was trained on: dataset /gone: no such folder"
    assert f"lsml: warning: {says}" in apart.stderr


def test_a_killed_evaluation_leaves_its_opening(study: Study, evaluation: dict, tmp_path: Path) -> None:
    """Of the registered model, killed as it opens the first test patch: one opening more, without a fingerprint.

    The count is MLflow's: with none of lsml's own files beside the databases `study show` tells of it.
    """
    before = len(_openings(study.folder))
    (tmp_path / "sitecustomize.py").write_text(DIES_AT_TEST_PATCH)
    killed = lsml(study.folder, "evaluate", "--model", "first@candidate", env=environment(tmp_path))
    assert killed.returncode == -9, killed.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(study.folder / name, elsewhere)
    shown = lsml(elsewhere, "study", "show", "first")
    assert f"test split opened {before + 1} times:" in shown.stdout
    assert "first/1" in shown.stdout
    assert "unknown: cut off before its end" in shown.stdout
    entries = _openings(elsewhere)
    assert [entry["data_fingerprint"] for entry in entries[-2:]] == [evaluation["data_fingerprint"], None]
    # Both places have all of it.
    store = client(study.folder)
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    tags = (parent.data.tags, store.get_registered_model("first").tags)
    held = [{key: value for key, value in of.items() if key.startswith("lsml.test_opening.")} for of in tags]
    assert held[0] == held[1] != {}


def _openings(folder: Path) -> list[dict]:
    shown = lsml(folder, "study", "show", "first", "--json")
    assert shown.returncode == 0, shown.stderr
    return list(json.loads(shown.stdout)["test_openings"])


@pytest.mark.landslide4sense("a script without lsml reads its HDF5 files")
def test_the_registered_model_gives_the_same_score_where_lsml_is_not_installed(
    study: Study, evaluation: dict, tmp_path: Path
) -> None:
    """Loaded by MLflow alone from the registry, with scikit-learn's F1 on all pixels: equal to 1e-6."""
    store = f"sqlite:///{study.folder / 'mlflow.db'}"
    done = without_lsml(tmp_path, LOAD_AND_SCORE, store, "models:/first@candidate", str(study.data))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(evaluation["metrics"]["f1"], abs=1e-6)


def test_a_registered_model_on_validation_leaves_the_seal_alone(study: Study, evaluation: dict) -> None:
    """The scores go to the run that the version came from, agree with its training's, and no opening is added."""
    before = _openings(study.folder)
    done = lsml(study.folder, "evaluate", "--model", "models:/first@candidate", "--split", "valid", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["split"], found["run_id"], found["test_openings"]) == ("valid", study.best_run, None)
    assert found["threshold"] == evaluation["threshold"]
    run = client(study.folder).get_run(study.best_run)
    assert run.data.metrics["valid_f1"] == found["metrics"]["f1"]
    # Training scores in the precision that suits the device, which moves F1 by some thousandths.
    assert found["metrics"]["f1"] == pytest.approx(run.data.metrics["best_val_f1"], abs=0.02)
    assert run.data.tags["lsml.data.valid"] == found["data_fingerprint"] != evaluation["data_fingerprint"]
    assert _openings(study.folder) == before


def test_a_run_and_a_registered_model_at_once_are_refused(tmp_path: Path) -> None:
    """Which of the two was meant is not guessed: exit code 2, and no store is made."""
    done = lsml(tmp_path, "evaluate", "--run-id", "0" * 32, "--model", "first@candidate")
    assert done.returncode == 2
    assert f"run: given as {'0' * 32} and as first@candidate; give one of them" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_runs_that_cannot_be_evaluated_say_why(study: Study, tmp_path: Path) -> None:
    """An unknown run is a storage error, a run without a model a model error, a missing dataset a data error."""
    unknown = lsml(study.folder, "evaluate", "--run-id", "0" * 32)
    assert unknown.returncode == 4
    assert "lsml study show" in unknown.stderr
    store = client(study.folder)
    bare = store.create_run("0").info.run_id
    without = lsml(study.folder, "evaluate", "--run-id", bare, "--data", str(study.data))
    assert without.returncode == 5
    assert "has no model" in without.stderr
    missing = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--data", str(tmp_path / "none"))
    assert missing.returncode == 3
    for done in (unknown, without, missing):
        (line,) = done.stderr.splitlines()
        assert line.startswith("lsml: error: ")
