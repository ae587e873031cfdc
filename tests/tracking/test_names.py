"""How people name runs, in a real MLflow store."""

import hashlib
from typing import Any

import pytest

from lsml.errors import StorageError
from lsml.models.export import ModelFile
from lsml.names import State, Tag
from lsml.tracking.models import RunModel
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.study import named_run
from tests.bands import SENSOR


def test_a_run_goes_by_its_id_its_first_digits_its_name_and_what_is_registered(store: Any) -> None:
    """A trial by all of these; a study by its name, of two the later one, although a trial is called the same."""
    trial = store.create_run("0", run_name="demo-000").info.run_id
    store.create_run("0", start_time=1, run_name="demo", tags={Tag.ROLE: "study"})
    study = store.create_run("0", start_time=2, run_name="demo", tags={Tag.ROLE: "study"}).info.run_id
    store.create_run("0", start_time=3, run_name="demo", tags={Tag.ROLE: "trial"})
    model = ModelFile(b"network", hashlib.sha256(b"network").hexdigest(), SENSOR)
    RunModel(store, trial).log(model, threshold=0.5, backend="tensorflow")
    model = RegisteredModel(store, "demo")
    model.give_alias("candidate", model.register(trial, tags={}), tags={})
    for name in (trial, trial[:12], "demo-000", "demo@candidate", "demo/1", "models:/demo@candidate", "models:/demo/1"):
        assert named_run(store, name).info.run_id == trial, name
    assert named_run(store, "demo").info.run_id == study


def test_a_lost_attempt_stands_for_the_one_that_went_on(store: Any) -> None:
    """Two were lost, the third is complete; of a slot whose only attempt was lost it is that one."""
    for name in ("demo-000", "demo-000.2", "demo-001"):
        store.create_run("0", run_name=name, tags={Tag.STATE: State.SUPERSEDED})
    last = store.create_run("0", run_name="demo-000.3", tags={Tag.STATE: State.COMPLETE}).info.run_id
    assert named_run(store, "demo-000").info.run_id == last
    assert named_run(store, "demo-001").info.run_name == "demo-001"


def test_what_names_no_run_or_two_is_refused(store: Any) -> None:
    """Two runs of one name, each of which is told; an unknown name; one that would end a filter's text."""
    ids = sorted(store.create_run("0", run_name="twice").info.run_id for _ in range(2))
    with pytest.raises(StorageError, match=f"2 runs go by that: {ids[0]}, {ids[1]}; give the id of one"):
        named_run(store, "twice")
    for name in ("never", "0' or '1", "f" * 32, "x@y", "x/1"):
        with pytest.raises(StorageError):
            named_run(store, name)
    store.delete_run(ids[0])
    assert named_run(store, "twice").info.run_id == ids[1]
