"""The record of test openings in a real MLflow store: what counts, what is written at once, what is left out."""

import os
from pathlib import Path
from typing import Any

from lsml.names import Tag
from lsml.tracking.ledger import Ledger
from lsml.tracking.store import find_run
from tests import warm
from tests.processes import PATIENCE, environment

AT_ONCE = 6


def trial_of_a_study(client: Any) -> Any:
    """A trial's run below a study's run whose model is registered as `known`."""
    client.create_registered_model("known")
    study = client.create_run("0", tags={Tag.ROLE: "study", Tag.REGISTERED: "known/1"}).info.run_id
    return find_run(client, client.create_run("0", tags={Tag.ROLE: "trial", Tag.PARENT: study}).info.run_id)


def test_openings_at_once_are_all_kept(store: Any) -> None:
    """Six processes that open at the same time leave six openings, in the study's run and in the registered model."""
    run = trial_of_a_study(store)
    uri = os.environ["MLFLOW_TRACKING_URI"]
    done = warm.run_module(
        "tests.tracking.open_at_once",
        *(run.info.run_id, str(AT_ONCE)),
        folder=Path.cwd(),
        env=environment(MLFLOW_TRACKING_URI=uri),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    ledger = Ledger.of_run(store, run)
    assert ledger.models == ("known",)
    assert len(ledger.openings()) == ledger.count_openings("f" * 64) == AT_ONCE
    for holder in (Ledger(store, run.data.tags[Tag.PARENT], ()), Ledger(store, run.info.run_id, ("known",))):
        assert len(holder.openings()) == AT_ONCE


def test_an_opening_that_does_not_say_which_patches_counts(store: Any) -> None:
    """Of one opening of each of two splits and one that was cut off, each split was seen twice at most."""
    run = trial_of_a_study(store)
    ledger = Ledger.of_run(store, run)
    for fingerprint in ("a" * 64, None, "b" * 64):
        opening = ledger.record(run, model_sha256="0" * 64, data="patches")
        if fingerprint:
            ledger.complete(opening, fingerprint)
    assert (ledger.count_openings("a" * 64), ledger.count_openings("b" * 64), ledger.count_openings("c" * 64)) == (
        2,
        2,
        1,
    )
    assert {opening.model for opening in ledger.openings()} == {f"run {run.info.run_id}"}


def test_the_record_outlives_the_registered_model(store: Any) -> None:
    """A model removed from the registry takes no opening along and keeps none from being written."""
    run = trial_of_a_study(store)
    Ledger.of_run(store, run).record(run, model_sha256="0" * 64, data="patches")
    store.delete_registered_model("known")
    ledger = Ledger.of_run(store, run)
    ledger.record(run, model_sha256="0" * 64, data="patches")
    assert ledger.models == ()
    assert len(ledger.openings()) == 2


def test_a_model_of_any_name_keeps_the_record(store: Any) -> None:
    """MLflow takes names with quotation marks, which have a meaning in its filters."""
    run = trial_of_a_study(store)
    for name in ("it's", "' or name = 'known"):
        store.create_registered_model(name)
        store.create_model_version(name, "nowhere", run.info.run_id)
    ledger = Ledger.of_run(store, run)
    assert ledger.models == ("' or name = 'known", "it's", "known")
    ledger.record(run, model_sha256="0" * 64, data="patches")
    assert len(ledger.openings()) == 1


def test_a_training_outside_a_study_keeps_its_own_record(store: Any) -> None:
    """Also below the run that `mlflow run` made for it, which others may share; its refit shares the record."""
    project = store.create_run("0").info.run_id
    runs = [
        find_run(store, store.create_run("0", tags={Tag.ROLE: "train", Tag.PARENT: project}).info.run_id) for _ in "ab"
    ]
    Ledger.of_run(store, runs[0]).record(runs[0], model_sha256="0" * 64, data="patches")
    assert [len(Ledger.of_run(store, run).openings()) for run in runs] == [1, 0]
    refit = find_run(
        store, store.create_run("0", tags={Tag.ROLE: "refit", Tag.OF_RUN: runs[0].info.run_id}).info.run_id
    )
    assert len(Ledger.of_run(store, refit).openings()) == 1
