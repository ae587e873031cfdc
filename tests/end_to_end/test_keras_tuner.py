"""A real study whose trials KerasTuner chooses, from the command line."""

import csv
import io
from pathlib import Path

import pytest

from tests.end_to_end.conftest import EXPERIMENT, client, runs
from tests.processes import lsml

pytestmark = pytest.mark.full

TUNER = """
  engine: keras-tuner
  tuner: {name: hyperband, max_epochs: 1, hyperband_iterations: 2}
"""


@pytest.fixture(scope="module")
def folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study of at most nine trials, by Hyperband, ran to its end, and what it printed."""
    folder = tmp_path_factory.mktemp("hyperband")
    text = EXPERIMENT.replace("epochs: 4", "epochs: 2").replace("trials: 3", "trials: 9")
    (folder / "experiment.yaml").write_text(text.rstrip() + TUNER)
    done = lsml(folder, "tune", "experiment.yaml", "--data", str(dataset))
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    return folder


def test_a_study_with_keras_tuner_is_like_any_other(folder: Path) -> None:
    """Runs below one parent, the best registered, the table among the artifacts, and all trials told to the user."""
    (parent,) = runs(folder, "tags.`lsml.role` = 'study'")
    children = runs(folder, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`lsml.role` = 'trial'")
    # With trials of one epoch there is one bracket with one trial; it is gone through twice, and there is the base.
    assert len(children) == 3
    assert {child.info.status for child in children} == {"FINISHED"}
    assert sorted(child.data.params["training.epochs"] for child in children) == ["1", "1", "2"]
    given = parent.data.params
    assert (given["study.engine"], given["study.tuner"]) == ("keras-tuner", "hyperband")
    assert (given["study.tuner.factor"], given["study.tuner.max_epochs"]) == ("3", "1")
    assert not any(name.startswith(("study.sampler", "study.pruner")) for name in given)
    store = client(folder)
    assert store.get_model_version_by_alias("tiny", "candidate").run_id == parent.data.tags["lsml.best_run_id"]
    page = store.download_artifacts(parent.info.run_id, "study/trials.csv", str(folder))
    rows = list(csv.DictReader(io.StringIO(Path(page).read_text(encoding="utf-8"))))
    assert [row["slot"] for row in rows] == list("012")
    assert [row["training.epochs"] for row in rows] == [row["epochs"] for row in rows]


def test_it_says_which_tuner_and_that_trials_are_a_cap(folder: Path) -> None:
    """One line when it starts, one when it ends with fewer trials than it might have had."""
    said = (folder / "said.txt").read_text()
    assert "search: KerasTuner's hyperband tuner, without study.sampler and study.pruner; --trials is a cap" in said
    assert "the tuner had no more to try after 3 trials: --trials 9 is a cap" in said


def test_the_same_command_again_has_nothing_to_do(folder: Path, dataset: Path) -> None:
    """It trains nothing, registers nothing, and names the best run again."""
    before = len(runs(folder))
    done = lsml(folder, "tune", "experiment.yaml", "--data", str(dataset))
    assert done.returncode == 0, done.stderr
    assert "study tiny has its 3 trials: nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] in (folder / "said.txt").read_text().splitlines()
    assert len(runs(folder)) == before
    assert len(client(folder).search_model_versions("name='tiny'")) == 1
