"""One process runs a study, wherever it is: the study's database says which, and whether it lives."""

import json
import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import psutil
import pytest

from lsml.config.experiment import load_experiment
from lsml.errors import StorageError
from lsml.names import Attribute
from lsml.study import ownership as module
from lsml.study.database import CountedStudy, make_study
from lsml.study.ownership import owned
from lsml.study.trial import FUNCTIONS as DEFAULTS
from lsml.workflows.repair import repair_study
from lsml.workflows.tune import tune
from tests import warm
from tests.forking import exit_code
from tests.processes import PATIENCE, wait_until

from .conftest import counted, runs
from .sleeping import endless, sleeping
from .test_tune import STORAGE, Listener

FIX = "wait"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountedStudy:
    """A study without trials, whose owners are looked for and renewed in tenths of a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    return make_study(STORAGE, "s", pruner=optuna.pruners.NopPruner())


@contextmanager
def elsewhere(study: CountedStudy, *, alive: bool) -> Iterator[None]:
    """An owner on another machine, which is alive or gone."""
    record = module._Record(study)
    owner = replace(module._Owner.this(), host="far", machine="far", process=7)
    assert record.exchange(None, owner.text())
    ended = threading.Event()
    thread = threading.Thread(target=module._renew, args=(record, owner, "study", ended))
    if alive:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if alive:
            thread.join()


def refusal(study: CountedStudy) -> tuple[int, str]:
    """Exit code and line for a process that may not run the study."""
    with pytest.raises(StorageError) as caught, owned(study, fix=FIX):
        raise AssertionError
    return caught.value.exit_code, str(caught.value)


def test_a_living_owner_elsewhere_keeps_its_study(study: CountedStudy) -> None:
    """It gives signs of life, whatever its clock says; whoever else asks is told its host and process."""
    with (
        elsewhere(study, alive=True),
        pytest.raises(StorageError, match="process 7 on far runs it, alive at 20") as said,
        owned(study, fix=FIX),
    ):
        raise AssertionError
    assert said.value.exit_code == 4


def test_a_silent_owner_elsewhere_is_replaced(study: CountedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; the record names this process then, and nobody once it has ended."""
    monkeypatch.setattr(module, "_SILENT_SECONDS", 0.5)
    with elsewhere(study, alive=False), owned(study, fix=FIX):
        owner = study.user_attrs[Attribute.OWNER]
        assert (owner["process"], owner["host"]) == (os.getpid(), platform.node())
    assert Attribute.OWNER not in study.user_attrs


def test_an_owner_that_ended_here_is_replaced_at_once(study: CountedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process has its id, or another one does, which began at another time."""
    monkeypatch.setattr(module, "_SILENT_SECONDS", 1000.0)
    for gone in ({"process": 2**22 + 1}, {"started": module._Owner.this().started - 3}):
        assert module._Record(study).exchange(None, replace(module._Owner.this(), **gone).text())
        with owned(study, fix=FIX):
            pass
    with owned(study, fix=FIX):
        assert f"process {os.getpid()} on {platform.node()} runs it" in refusal(study)[1]


@pytest.mark.skipif(not psutil.LINUX, reason="psutil has the start of a process by the clock alone")
def test_an_owner_here_lives_on_when_the_clock_is_set(study: CountedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour, as on a machine that has slept: Linux then says that it was started an hour later."""
    with owned(study, fix=FIX):
        boot = psutil.boot_time()
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
        assert psutil.boot_time() == boot + 3600
        assert f"process {os.getpid()} on {platform.node()} runs it" in refusal(study)[1]


def test_one_that_was_replaced_ends_as_if_killed(study: CountedStudy) -> None:
    """It finds another's record in the place of its own, and writes nothing more."""

    def replaced() -> None:
        with owned(study, fix=FIX):
            study.set_user_attr(Attribute.OWNER, json.loads(replace(module._Owner.this(), host="far").text()))
            threading.Event().wait(PATIENCE)

    assert exit_code(replaced) == 4
    assert study.user_attrs[Attribute.OWNER]["host"] == "far"


def _tune(data: Path, storage: str, function: str) -> None:
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=2)
    search = {"endless": endless, "sleeping": sleeping}[function]
    functions = replace(DEFAULTS, search=search, baselines={})
    tune(experiment, study="s", data=data, storage=storage, listener=Listener(), functions=functions)


@pytest.mark.full
def test_two_folders_do_not_run_one_study(
    folder: Path, patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused, as is a repair, while the first lives; after it was killed it resumes the study."""
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    first = warm.start_function(_tune, patches, storage, "endless")
    wait_until(lambda: (folder / "endless").exists())
    other = tmp_path / "other"
    other.mkdir()
    (other / "experiment.yaml").write_text((folder / "experiment.yaml").read_text())
    monkeypatch.chdir(other)
    with pytest.raises(StorageError, match=f"study 's': process {first.pid} on {platform.node()} runs it"):
        _tune(patches, storage, "sleeping")
    with pytest.raises(StorageError, match=f"process {first.pid} on .*; it is alive: there is nothing to repair"):
        repair_study("s", storage)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    _tune(patches, storage, "sleeping")
    monkeypatch.chdir(folder)
    assert len(counted("s")) == 2
    assert runs("RUNNING") == []
