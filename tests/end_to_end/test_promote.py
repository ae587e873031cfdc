"""After a study: its best trained on all patches, held against the champion, with every opened file watched."""

import json
import shutil
from typing import Any

import pytest

from tests import warm
from tests.bands import PATCH_SIZE
from tests.end_to_end.conftest import Study, client, copy_study, runs
from tests.processes import PATIENCE, environment


@pytest.fixture(scope="module")
def done(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands said, in a copy of the study's folder with none of lsml's own files."""
    folder = tmp_path_factory.mktemp("promoted") / "study"
    copy_study(study.folder, folder)
    shutil.rmtree(folder / ".lsml")
    log = folder / "opened-later.txt"
    process = warm.run_module(
        "tests.end_to_end.run_promotions",
        *(study.best_run, str(study.data)),
        folder=folder,
        env=environment(folder / "audit", LSML_TEST_AUDIT=str(log)),
        timeout=PATIENCE,
    )
    assert process.returncode == 0, process.stderr
    said = json.loads(process.stdout.splitlines()[-1])
    return {"folder": folder, "opened": log.read_text().splitlines(), **said}


def test_no_test_file_is_opened_after_a_study_either(study: Study, done: dict[str, Any]) -> None:
    """By train, refit and promote, and by the processes that they start: train and validation only."""
    below = [path for path in done["opened"] if path.startswith(str(study.data))]
    assert any("/TrainData/mask/" in path for path in below)
    assert any("/ValidData/img/" in path for path in below)
    assert not any("/TestData/" in path for path in below)


def test_the_registered_file_is_scored_in_a_fresh_process(done: dict[str, Any]) -> None:
    """The study's best becomes the first champion: on three patches the file calls each pixel as its run did."""
    assert done["first"]["code"] == 0, done["first"]["complaint"]
    found = json.loads(done["first"]["said"])
    assert (found["model"], found["version"], found["verdict"]) == ("first", "1", "promoted")
    pixels = 3 * PATCH_SIZE**2
    assert found["reload"].startswith(f"loads, and classifies 0 of {pixels} validation pixels otherwise (tensorflow, ")


def test_a_model_that_learnt_nothing_is_refused(done: dict[str, Any]) -> None:
    """One epoch at a rate of a millionth: registered, worse, exit code 6, and the champion stays."""
    assert done["train"]["code"] == 0, done["train"]["complaint"]
    assert done["worse"]["code"] == 6, done["worse"]["complaint"]
    assert "refused: first version 2: worse: " in done["worse"]["said"]
    assert "intervals are unreliable: fewer than 60 patches" in done["worse"]["said"]
    version = client(done["folder"]).get_model_version("first", "2")
    assert version.tags["lsml.promotion.verdict"] == "refused"
    assert version.tags["lsml.promotion.champion_before"] == "1"


def test_a_refit_is_registered_without_a_score_of_its_own(study: Study, done: dict[str, Any]) -> None:
    """Below the same study, as long as its best epoch, at its threshold; a second time nothing is done."""
    assert done["refit"]["code"] == 0, done["refit"]["complaint"]
    found = json.loads(done["refit"]["said"])
    assert json.loads(done["refit again"]["said"]) == found
    assert (found["of_run_id"], found["patches"], found["version"]) == (study.best_run, 9, "3")
    store = client(done["folder"])
    best, final = store.get_run(study.best_run), store.get_run(found["run_id"])
    assert final.data.tags["mlflow.parentRunId"] == best.data.tags["mlflow.parentRunId"]
    assert (final.data.tags["lsml.role"], final.data.tags["lsml.state"]) == ("refit", "complete")
    assert (final.data.tags["lsml.of_run_id"], final.data.tags["lsml.trained_on"]) == (study.best_run, "train+valid")
    assert final.data.metrics["epochs"] == found["epochs"] == best.data.metrics["best_epoch"]
    # The best epoch's threshold, where the temperature that divides the logits moves it.
    chosen, temperature = best.data.metrics["best_val_raw_threshold"], best.data.metrics["best_val_temperature"]
    rescaled = 1 / (1 + ((1 - chosen) / chosen) ** (1 / temperature))
    assert found["threshold"] == best.data.metrics["best_val_threshold"] == pytest.approx(rescaled, rel=1e-6)
    assert final.data.metrics["earned_val_f1"] == best.data.metrics["best_val_f1"]
    assert not any(name.startswith(("best_val_", "val_")) for name in final.data.metrics)
    assert len(runs(done["folder"], "tags.`lsml.role` = 'refit'")) == 1
    assert done["seen"]["code"] == 2
    assert "the model was trained on train+valid, these patches among them" in done["seen"]["complaint"]


def test_fresh_seeds_have_a_say(study: Study, done: dict[str, Any]) -> None:
    """Two trainings with other seeds below the study; what they say of the refit decides, and stands in its tags."""
    assert done["repeats"]["code"] in (0, 6), done["repeats"]["complaint"]
    found = json.loads(done["repeats"]["said"])
    assert (found["version"], found["scored_run_id"]) == ("3", study.best_run)
    assert "gives probabilities of 3 patches; it was trained on them" in found["reload"]
    # By its own table the refit is what the champion is; so the seeds decide.
    assert found["ahead"]["value"] == 0
    value, (_, high) = found["repeats"]["value"], found["repeats"]["interval"]
    assert (found["verdict"] == "refused") == (value < -0.005 or high < 0)
    again = runs(done["folder"], "tags.`lsml.role` = 'repeat'")
    parent = client(done["folder"]).get_run(study.best_run).data.tags["mlflow.parentRunId"]
    assert {run.data.tags["mlflow.parentRunId"] for run in again} == {parent}
    assert {run.data.tags["lsml.of_run_id"] for run in again} == {study.best_run}
    assert len({run.data.params["seed"] for run in again}) == len(again) == 2
    champion = client(done["folder"]).get_model_version_by_alias("first", "champion").version
    # The last command made the study's best champion again, where it no longer was.
    assert (str(champion), done["same again"]["code"]) == ("1", 0)
