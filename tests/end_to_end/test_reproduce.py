"""`lsml reproduce`: a run's training again, from what its run says alone."""

import json
from pathlib import Path

from tests.end_to_end.conftest import Study, client, copy_study, runs
from tests.patches import make_patches
from tests.processes import lsml


def test_a_finished_trial_gives_the_same_again(study: Study) -> None:
    """Every score of the best run to the last digit, and exit code 0."""
    done = lsml(study.folder, "reproduce", study.best_run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["again"] == found["recorded"]
    recorded = client(study.folder).get_run(study.best_run).data.metrics
    assert {"best_val_f1", "best_val_average_precision", "best_epoch", "epochs"} <= set(found["recorded"])
    assert all(recorded[name] == value for name, value in found["recorded"].items())
    assert found["changed"] == {}


def test_a_score_that_does_not_come_again_is_said(study: Study, tmp_path: Path) -> None:
    """A run whose recorded F1 was changed by .25 afterwards: exit code 6, and by how much."""
    folder = tmp_path / "changed"
    copy_study(study.folder, folder)
    store = client(folder)
    true = store.get_run(study.best_run).data.metrics["best_val_f1"]
    store.log_metric(study.best_run, "best_val_f1", true + 0.25, step=0)
    done = lsml(folder, "reproduce", study.best_run)
    assert done.returncode == 6, done.stderr
    assert "1 of " in done.stdout
    assert "-0.25" in done.stdout


def test_what_cannot_be_reproduced_says_why(study: Study) -> None:
    """A study's run is no training; other patches are refused by their fingerprint, a missing folder by name."""
    (parent,) = runs(study.folder, "tags.`lsml.role` = 'study'")
    no_training = lsml(study.folder, "reproduce", parent.info.run_id)
    assert no_training.returncode == 2
    assert "not a complete or pruned training: its role is study" in no_training.stderr
    other = study.folder / "other"
    if not other.exists():
        make_patches(other, train=2, validation=1, test=1, seed=9)
    strange = lsml(study.folder, "reproduce", study.best_run, "--data", str(other))
    assert strange.returncode == 3
    assert "its train and validation patches are not those of the run" in strange.stderr
    absent = lsml(study.folder, "reproduce", study.best_run, "--data", "nowhere")
    assert absent.returncode == 3
    assert "no such folder" in absent.stderr
    assert "Traceback" not in no_training.stderr + strange.stderr + absent.stderr
