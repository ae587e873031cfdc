"""Studies in folds from the command line, with real networks: what they print, register and refuse."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow.entities import Run
from mlflow.models import Model

from tests import warm
from tests.end_to_end.conftest import client, runs
from tests.pages import Page
from tests.processes import environment, lsml

pytestmark = pytest.mark.full

EXPERIMENT = """
name: few
description: Six patches in folds.
data: {path: unused, folds: 2, repeats: 1}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 3, batch_size: 2, learning_rate: 1e-2}
space:
  loss.jaccard: {low: 0.0, high: 1.0}
study:
  trials: 2
  confirm: 1
  pruner: {name: none}
"""


class Study(NamedTuple):
    """A finished study in folds: its folder, its patches, what it printed, and the run whose model it registered."""

    folder: Path
    bare: Path
    output: str
    best_run: str


@pytest.fixture(scope="module")
def study(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two trials on a bare pair of folders with six patches."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "few.yaml").write_text(EXPERIMENT)
    bare = folder / "bare"
    for name in ("img", "mask"):
        shutil.copytree(dataset / "TrainData" / name, bare / name)
    arguments = ("tune", "few.yaml", "--data", str(bare))
    done = warm.run_module("tests.end_to_end.short_recipe", *arguments, folder=folder, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"best run: ([0-9a-f]{32})", done.stdout.splitlines()[-1])
    assert found
    return Study(folder, bare, done.stdout, found[1])


def test_the_output_sets_the_choice_beside_what_it_has_to_beat(study: Study) -> None:
    """One row each for the registered configuration, its rival and all baselines, with scores in 0..1."""
    rows = dict(re.findall(r"^(\S.*?)  +(\d\.\d{4})\b", study.output, re.MULTILINE))
    assert {"base configuration", "logistic regression on single pixels"} <= rows.keys()
    assert {"gradient boosting on single pixels", "NDVI and slope threshold"} <= rows.keys()
    assert "six-input U-Net of public notebooks" in rows
    assert len(rows) == 6
    assert all(0 <= float(score) <= 1 for score in rows.values())
    (registered,) = re.findall(r"(\d\.\d{4})  +registered", study.output)
    (stated,) = re.findall(r"out-of-fold F1 (\d\.\d{4}) \(pooled over pixels\); after correction for", study.output)
    assert stated == registered


def test_a_network_that_a_baseline_is_ahead_of_is_not_registered(study: Study, dataset: Path) -> None:
    """Three epochs teach it nothing: a logistic regression is the candidate, and says what scikit-learn's says.

    The network stays open to evaluation by its run, and is refused as champion with exit code 6.
    """
    ahead = r"^(\S.*) is ahead by \+0\.\d{4} .* of the best network: the baseline is registered, .* run ([0-9a-f]{32})$"
    found = re.search(ahead, study.output, re.MULTILINE)
    assert found
    store = client(study.folder)
    registered, network = store.get_run(study.best_run), store.get_run(found[2])
    assert registered.data.tags["lsml.role"] == "baseline"
    assert registered.data.params["baseline"] == found[1]
    assert store.get_model_version_by_alias("few", "candidate").run_id == study.best_run
    assert network.data.tags["lsml.role"] == "confirm"
    assert network.data.tags["lsml.behind"].startswith(f"{found[1]} is ahead by +")
    scored = lsml(study.folder, "evaluate", "--run-id", found[2], "--data", str(dataset), "--json")
    assert scored.returncode == 0, scored.stderr
    refused = lsml(study.folder, "promote", found[2])
    assert refused.returncode == 6, refused.stderr
    assert f"worse than a baseline of its study: {found[1]} is ahead by +" in refused.stdout


def test_a_confirmed_run_holds_the_model_and_its_score(study: Study) -> None:
    """A child of the study, in other folds, whose networks' mean is its model, with the threshold of that mean."""
    store, run = client(study.folder), _confirmed(study)
    assert run.data.tags["lsml.data.partition"] == "1"
    assert (run.data.tags["lsml.data.folds"], run.data.tags["lsml.data.repeats"]) == ("2", "1")
    metrics = run.data.metrics
    assert [point.step for point in store.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    (output,) = run.outputs.model_outputs
    model = Model.load(store.get_logged_model(output.model_id).artifact_location)
    assert model.metadata["lsml.threshold"] == run.data.metrics["best_val_threshold"]
    # The logits of the model, and so that of its threshold, are divided by the temperature that the folds gave.
    rescaled = _logit(model.metadata["lsml.threshold"]) * metrics["best_val_temperature"]
    assert rescaled == pytest.approx(_logit(metrics["best_val_raw_threshold"]), abs=1e-3)


def _confirmed_network(study: Study) -> str:
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    return str(parent.data.tags["lsml.best_network_run_id"])


def _confirmed(study: Study) -> Run:
    return runs(study.folder, "tags.`lsml.role` = 'confirm'")[0]


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_a_trial_reports_folds_and_keeps_every_epoch_of_them(study: Study) -> None:
    """Two folds as steps; a table with 2 folds x 3 epochs; pictures of patches held out; costs; no model."""
    store = client(study.folder)
    (trial, *_) = runs(study.folder, "tags.`lsml.role` = 'trial'")
    assert [point.step for point in store.get_metric_history(trial.info.run_id, "val_f1")] == [1, 2]
    assert trial.data.metrics["folds"] == 2
    # The mean of two folds' networks.
    assert 2 * trial.data.metrics["parameters"] == _confirmed(study).data.metrics["parameters"] > 0
    assert trial.data.metrics["latency_ms"] > 0
    table = Path(store.download_artifacts(trial.info.run_id, "folds.csv")).read_text().splitlines()
    assert table[0].startswith("repeat,fold,epoch,")
    assert [row.split(",")[:3] for row in table[1:]] == [["1", f, e] for f in "12" for e in "123"]
    assert store.list_artifacts(trial.info.run_id, "images")
    assert not trial.outputs.model_outputs


def test_the_report_sets_the_standings_side_by_side(study: Study) -> None:
    """The registered configuration first, baselines among the rest, with intervals over all six patches."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    file = client(study.folder).download_artifacts(parent.info.run_id, "report.html", str(study.folder))
    page = Page(Path(file).read_text())
    (standings,) = page.tables["standings"]
    assert standings[1][2] == "registered"
    assert {"logistic regression on single pixels", "six-input U-Net of public notebooks"} <= {r[0] for r in standings}
    stated = re.search(r"F1 (0\.\d{4}), 95 % interval", page.sections["answer"])
    assert stated
    assert float(stated[1]) == pytest.approx(float(standings[1][1]), abs=2e-3)
    assert "6 patches (2 contiguous folds, 1 repeat)" in page.sections["answer"]
    assert [row[0] for row in page.tables["answer"][0][1:]] == [row[0] for row in standings[2:]]
    assert f"lsml evaluate --run-id {study.best_run}" in page.sections["again"]
    confirmed = client(study.folder).get_run(standings[1][3])
    assert f"lsml reproduce {confirmed.info.run_id}" in page.sections["again"]


def test_patches_that_were_trained_on_are_no_test(study: Study, dataset: Path) -> None:
    """The folder of the folds is refused with exit code 3; another dataset's test split is scored."""
    refused = lsml(study.folder, "evaluate", "--run-id", study.best_run)
    assert refused.returncode == 3
    assert "the model was trained on all of it, in folds; give other patches with --data DIR" in refused.stderr
    scored = lsml(study.folder, "evaluate", "--run-id", study.best_run, "--data", str(dataset), "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["n_patches"] == 3


def test_there_is_no_ensemble_of_trials_in_folds(study: Study) -> None:
    """Exit code 2 and one line: folds leave no model of each trial, and what would."""
    refused = lsml(study.folder, "ensemble", "few")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "cross-validated, which leaves many networks and no model of each trial; tune without data.folds" in line


def test_a_trial_in_folds_names_the_run_that_has_the_model(study: Study, dataset: Path) -> None:
    """Exit code 5 for a trial's run, and the study's run as the one to give instead; `study show` names the model's."""
    (trial, *_) = runs(study.folder, "tags.`lsml.role` = 'trial'")
    refused = lsml(study.folder, "evaluate", "--run-id", trial.info.run_id, "--data", str(dataset))
    assert refused.returncode == 5
    assert f"has no model; its study's run speaks for the registered model: {_parent(study)}" in refused.stderr
    shown = lsml(study.folder, "study", "show", "few", "--json")
    told = json.loads(shown.stdout)
    assert told["best_run_id"] == study.best_run
    assert 0 <= told["corrected"]["interval"][0] <= told["corrected"]["value"] <= told["best_f1"]
    assert told["network"]["run_id"] == _confirmed_network(study)
    standings = told["standings"]
    assert standings[0]["f1"] == client(study.folder).get_run(study.best_run).data.metrics["best_val_f1"]
    table = lsml(study.folder, "study", "show", "few").stdout
    assert "registered" in table
    listed = lsml(study.folder, "study", "list", "--json")
    assert [row["study"] for row in json.loads(listed.stdout)] == ["few"]


def _parent(study: Study) -> str:
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    return str(parent.info.run_id)


def test_the_same_command_again_has_nothing_to_do(study: Study) -> None:
    """It prints the same, but for an alias that was given then, and trains nothing."""
    before = len(runs(study.folder, ""))
    again = lsml(study.folder, "tune", "few.yaml", "--data", str(study.bare))
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("study few has its 2 trials: nothing to do\n")
    assert "alias: few@candidate is version 1\n" in study.output
    assert again.stdout.split("\n", 1)[1] == study.output.replace("alias: few@candidate is version 1\n", "")
    assert len(runs(study.folder, "")) == before


def test_a_single_training_in_folds_has_a_model_too(study: Study, dataset: Path) -> None:
    """`lsml train` cross-validates, and the mean of the folds' networks, which it logs, can be scored.

    With --profile it says where the time of the last fold's epochs went: no part is larger than the whole.
    """
    done = lsml(study.folder, "train", "few.yaml", "--data", str(study.bare), "--profile")
    assert done.returncode == 0, done.stderr
    spent = re.findall(r"^(\S.*?)  +(\d+\.\d{3})  +(\d+\.\d{3})$", done.stdout, re.MULTILINE)
    assert {"batches: waiting for them", "training steps", "together"} <= {what for what, *_ in spent}
    assert all(0 <= float(later) <= float(spent[-1][2]) + 0.001 for _, _, later in spent)
    assert re.search(r"out-of-fold F1: 0\.\d{4} \(pooled over pixels\), 2 folds\n", done.stdout)
    run_id = done.stdout.splitlines()[-1].removeprefix("run: ")
    scored = lsml(study.folder, "evaluate", "--run-id", run_id, "--data", str(dataset))
    assert scored.returncode == 0, scored.stderr
    refused = lsml(study.folder, "evaluate", "--run-id", run_id, "--data", str(dataset), "--split", "valid")
    assert refused.returncode == 2
    assert "was cross-validated on its own training patches and has no validation split" in refused.stderr


def test_more_folds_than_patches_are_refused(study: Study) -> None:
    """Exit code 3 and the highest number that fits."""
    (study.folder / "seven.yaml").write_text(EXPERIMENT.replace("folds: 2", "folds: 7"))
    done = lsml(study.folder, "tune", "seven.yaml", "--data", str(study.bare), "--study", "seven")
    assert done.returncode == 3
    assert "6 patches cannot fill 7 folds; set data.folds to at most 6" in done.stderr


def test_confirmation_needs_folds(study: Study) -> None:
    """A validation split is scored once, so there is nothing to confirm in: exit code 2."""
    (study.folder / "none.yaml").write_text(EXPERIMENT.replace(", folds: 2, repeats: 1", ""))
    done = lsml(study.folder, "tune", "none.yaml", "--data", str(study.bare), "--study", "none")
    assert done.returncode == 2
    assert "study.confirm: confirms in folds, and there are none; give data.folds too" in done.stderr
