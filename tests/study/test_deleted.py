"""What somebody has deleted in MLflow's UI: it is said, with the way back, and nothing is lost meanwhile."""

from pathlib import Path

import pytest

from lsml.errors import StorageError
from lsml.names import Tag
from lsml.tracking.ledger import Ledger
from lsml.tracking.store import find_run, open_client
from tests.processes import lsml

from .conftest import client, environment
from .sleeping import sleeping
from .test_tune import Listener, run


def test_a_study_in_a_deleted_experiment_says_how_to_bring_it_back(folder: Path, patches: Path) -> None:
    """Resumed it is refused before a trial starts, and an evaluation before it opens the test split; then it goes on.

    MLflow deletes the runs of an experiment with it, and restores them with it.
    """
    first = run(patches, sleeping, Listener(), trials=1)
    number = client().get_run(first.study_run_id).info.experiment_id
    client().delete_experiment(number)
    listener = Listener()
    with pytest.raises(StorageError) as refused:
        run(patches, sleeping, listener, trials=2)
    assert (refused.value.what, refused.value.why) == ("MLflow experiment 'lsml'", "it was deleted in MLflow")
    assert f"mlflow experiments restore --experiment-id {number}" in refused.value.fix
    assert "MLFLOW_EXPERIMENT_NAME" in refused.value.fix
    assert listener.ended == []

    evaluated = lsml(folder, "evaluate", "--run-id", first.best_run_id, env=environment())
    assert evaluated.returncode == 4
    assert evaluated.stderr == f"lsml: error: {refused.value}\n"
    shown = lsml(folder, "study", "show", "s", env=environment())
    assert shown.returncode == 0, shown.stderr
    assert f"best run: {first.best_run_id}" in shown.stdout

    client().restore_experiment(number)
    assert Ledger(open_client(), first.study_run_id, ()).openings() == []
    second = run(patches, sleeping, listener, trials=2)
    assert second.study_run_id == first.study_run_id
    assert sum(second.counts.values()) == 2


def test_a_deleted_run_is_not_evaluated(folder: Path, patches: Path) -> None:
    """It says how to bring it back, and the test split stays closed."""
    store = client()
    study = store.create_run("0", tags={Tag.ROLE: "study"}).info.run_id
    trial = store.create_run("0", tags={Tag.ROLE: "trial", Tag.PARENT: study}).info.run_id
    store.delete_run(trial)
    done = lsml(folder, "evaluate", "--run-id", trial, "--data", str(patches), env=environment())
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: run {trial}: it was deleted in MLflow; ")
    assert f"mlflow runs restore --run-id {trial}" in line
    assert Ledger.of_run(store, find_run(store, trial)).openings() == []
