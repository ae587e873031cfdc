"""A study of another sensor by the command line, from patches to a champion: five bands of 96 x 96 pixels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.image import imread
from mlflow.models import Model

from lsml.config.schema import TrainConfig, with_values
from lsml.data.splits import FoldedData
from lsml.training.crossval import UNSEEN, cross_validate
from lsml.training.network import Network
from tests.pages import Page
from tests.patches import make_five_bands
from tests.processes import lsml
from tests.training.listening import Listener

EXPERIMENT = """
name: five
data: {path: made}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 2, batch_size: 2, learning_rate: 1e-2}
  input: {indices: all}
space:
  loss.jaccard: {low: 0.0, high: 1.0}
study: {trials: 2, pruner: none}
"""


class Study(NamedTuple):
    """A finished study: its folder, and the run whose model it registered."""

    folder: Path
    best_run: str


def said(folder: Path, *arguments: str) -> str:
    """What a command prints, which has to succeed."""
    done = lsml(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Study:
    """Two trials on six patches."""
    folder = tmp_path_factory.mktemp("five")
    new_store(folder)
    make_five_bands(folder / "made", train=6, validation=3, test=3, seed=5)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    printed = said(folder, "tune", "experiment.yaml", "--study", "first")
    return Study(folder, printed.split()[-1])


def test_the_dataset_has_no_fault(study: Study) -> None:
    """Six, three and three patches, no error and no warning."""
    printed = said(study.folder, "data", "check", "made")
    rows = [line.split()[:3] for line in printed.splitlines() if line.startswith(("train", "validation", "test"))]
    assert rows == [["train", "6", "6"], ["validation", "3", "3"], ["test", "3", "3"]]
    assert "errors: 0, warnings: 0" in printed


def test_the_model_takes_five_bands(study: Study) -> None:
    """Its signature says so, and its metadata of which sensor."""
    model = Model.load(str(next((study.folder / "mlruns").rglob("MLmodel"))))
    assert model.signature is not None
    assert model.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, -1, -1, 5)
    assert '"five bands"' in str(model.metadata)


def test_test_patches_are_scored_and_mapped(study: Study) -> None:
    """Three of each; a mask has the size of its image, and is white or black."""
    scores = json.loads(said(study.folder, "evaluate", "--run-id", study.best_run, "--json", "--baseline"))
    assert (scores["split"], scores["n_patches"]) == ("test", 3)
    assert all(0 <= value <= 1 for value in scores["metrics"].values())
    said(study.folder, "predict", "made/TestData/img", "--run-id", study.best_run, "--out", "maps")
    masks = [imread(path) for path in sorted((study.folder / "maps" / "mask").iterdir())]
    assert [mask.shape for mask in masks] == [(96, 96)] * 3
    assert set(np.unique(masks)) <= {0, 1}


def test_its_report_names_the_bands(study: Study) -> None:
    """Each beside what it is lacking."""
    said(study.folder, "study", "report", "first", "--output", "report.html")
    data = Page((study.folder / "report.html").read_text()).sections["data"]
    assert "five bands: red, near infrared, short-wave infrared, slope, relief; no elevation" in data


def test_its_best_becomes_champion(study: Study) -> None:
    """The file, loaded anew, calls all of 3 * 96 * 96 = 27,648 pixels as its run did."""
    found = json.loads(said(study.folder, "promote", study.best_run, "--json"))
    assert (found["model"], found["version"], found["verdict"]) == ("first", "1", "promoted")
    assert found["reload"].startswith("loads, and classifies 0 of 27648 validation pixels otherwise")


def test_folds_are_validated(study: Study) -> None:
    """Two folds of three patches: every pixel of each has a probability from the network that did not see it."""
    pack = FoldedData.prepare(study.folder / "made", study.folder / "packs", folds=2, repeats=1).train
    config = with_values(TrainConfig(), {"model.filters": 4, "model.depth": 1, "training.epochs": 1})
    done = cross_validate(Network(config), pack, seed=0, folds=2, repeats=1, report=Listener(), checkpoint=None)
    assert done.grid_indices.shape[:2] == (1, 6)
    assert (done.grid_indices != UNSEEN).all()
    assert [np.shape(done.probability(0, patch))[:2] for patch in range(6)] == [(96, 96)] * 6
