"""A model that lsml registered before its modules moved: stored in `tests/stored`, it still predicts and evaluates.

The stored project is a study of two trials on `lsml data synth data --train 8 --validation 4 --test 4 --seed 1`: both
databases as SQL and the registered model, with @FOLDER@ where the folder stood. Whoever changes names of tags, fields
or layers sees here what that does to models that people already have.
"""

import hashlib
import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.processes import lsml

STORED = Path(__file__).parents[1] / "stored"
RUN = "88ed3d3fc2ff4842aee41bd08420dd7e"
MODEL = "mlruns/1/models/m-3a9aff74c7e84fdda0150ef85f6598b1/artifacts"

# What the lsml that made it printed for `lsml evaluate --run-id RUN --json`.
TEST_F1, THRESHOLD = 0.18893461362597164, 0.6280830502510071


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored project in a folder of its own, with its patches made again."""
    folder = tmp_path_factory.mktemp("stored")
    for name in ("mlflow", "optuna"):
        text = (STORED / f"{name}.sql").read_text(encoding="utf-8")
        with sqlite3.connect(folder / f"{name}.db") as database:
            database.executescript(text.replace("@FOLDER@", str(folder)))
    shutil.copytree(STORED / "model", folder / MODEL)
    description = folder / MODEL / "MLmodel"
    description.write_text(description.read_text(encoding="utf-8").replace("@FOLDER@", str(folder)))
    made = lsml(folder, "data", "synth", "data", *("--train", "8", "--validation", "4", "--test", "4", "--seed", "1"))
    assert made.returncode == 0, made.stderr
    return folder


def test_a_stored_model_evaluates_as_it_did(project: Path) -> None:
    """Its F1 on the test split is the one that was printed then, but for pixels that other processors round over."""
    done = lsml(project, "evaluate", "--run-id", RUN, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["metrics"]["f1"] == pytest.approx(TEST_F1, abs=1e-3)
    assert report["threshold"] == pytest.approx(THRESHOLD)


def test_a_stored_model_predicts(project: Path) -> None:
    """By its name in the registry, a mask a patch."""
    done = lsml(project, "predict", "data/TestData/img", "--model", "tiny@candidate", "--out", "predicted")
    assert done.returncode == 0, done.stderr
    masks = sorted((project / "predicted").rglob("mask*.h5"))
    assert len(masks) == 4
    assert all(np.any(np.frombuffer(mask.read_bytes(), np.uint8)) for mask in masks)


@pytest.fixture
def crafted(project: Path) -> Iterator[Path]:
    """The stored project with a model that names a function of Python's, and the SHA-256 of that beside it."""
    paths = project / MODEL / "MLmodel", project / MODEL / "data" / "model.keras"
    files = {path: path.read_bytes() for path in paths}
    description, model = paths
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(files[model])) as source, zipfile.ZipFile(held, "w") as target:
        for entry in source.infolist():
            config = source.read(entry)
            if entry.filename == "config.json":
                tree = json.loads(config)
                tree["config"]["layers"][1] |= {"module": "os", "class_name": "system", "config": "touch ran"}
                config = json.dumps(tree).encode()
            target.writestr(entry.filename, config)
    model.write_bytes(held.getvalue())
    was, now = (hashlib.sha256(content).hexdigest() for content in (files[model], held.getvalue()))
    description.write_bytes(files[description].replace(was.encode(), now.encode()))
    yield project
    for path, content in files.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("predict", "data/TestData/img", "--run-id", RUN, "--out", "crafted"), "system of module os is not one of"),
        (("evaluate", "--model", "tiny@candidate", "--split", "valid"), "system of module os is not one of"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_crafted_model_is_refused_by_commands(crafted: Path, command: tuple[str, ...], why: str) -> None:
    """Where its SHA-256 was rewritten with it, too, which an earlier lsml kept beside it: one line, exit code 5."""
    done = lsml(crafted, *command)
    assert done.returncode == 5, done.stderr
    assert why in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (crafted / "ran").exists()


def test_a_stored_study_is_not_resumed(project: Path) -> None:
    """Its record has fields by the names that they had then: one line says which, and exit code 2."""
    (project / "tiny.yaml").write_text(
        "name: tiny\ndata: {path: data}\n"
        "base: {model: {filters: 4, depth: 1}, training: {epochs: 2, batch_size: 4}}\n"
        "space: {training.learning_rate: {low: 1e-4, high: 1e-1, log: true}}\n"
        "study: {trials: 2, seed: 0, pruner: {name: none}}\n"
    )
    done = lsml(project, "tune", "tiny.yaml")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("lsml: error: study 'tiny': made by an earlier lsml, in which '")
    assert "Traceback" not in done.stderr
