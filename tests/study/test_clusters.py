"""Studies on a dask cluster that exists: its workers are inspected, borrowed, and free afterwards."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.comm import CommClosedError

from lsml.config.experiment import load_experiment
from lsml.data.pack import digest_of
from lsml.errors import LsmlError
from lsml.report.facts import TuneResult
from lsml.study import cluster_workers as module
from lsml.study import worker as running
from lsml.study.trial import FUNCTIONS as DEFAULTS
from lsml.training.outcome import TrialFunction
from lsml.workflows.studies import show_study
from lsml.workflows.tune import tune
from lsml.workspace import pack_cache
from tests import warm
from tests.clusters import Cluster, cluster
from tests.processes import wait_until

from .conftest import counted, runs, same_curves
from .sleeping import endless, late_at_first, meeting, sleeping
from .test_tune import STORAGE, Listener, limited_at_first


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, of which `second` has no nanny."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        started.worker("first")
        started.worker("second", "--no-nanny")
        wait_until(lambda: len(started.working()) == 2)
        yield started


class Told(Listener):
    """Keeps lines too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage_started(self, title: str) -> None:
        self.lines.append(title)


def run(
    data: Path,
    scheduler: str | Path | None,
    *,
    study: str = "s",
    function: TrialFunction = sleeping,
    listener: Listener | None = None,
    dashboard: bool = False,
    **settings: Any,
) -> TuneResult:
    """One study of the test experiment in the current folder."""
    experiment = load_experiment(Path("experiment.yaml")).with_settings(**settings)
    return tune(
        experiment,
        study=study,
        data=data,
        storage=STORAGE,
        scheduler=scheduler,
        listener=listener or Listener(),
        dashboard=dashboard,
        functions=replace(DEFAULTS, search=function, baselines={}),
    )


def test_workers_are_borrowed(folder: Path, patches: Path, two: Cluster) -> None:
    """Six trials, two at a time, each slot once; the workers' processes stay, and are idle in the end."""
    before, listener = two.pids(), Listener()
    result = run(patches, two.address, function=meeting, listener=listener, trials=6)
    assert listener.together == 2
    assert sum(result.counts.values()) == len(counted("s")) == 6
    assert runs("RUNNING") == []
    wait_until(lambda: two.working() == {"first": 0, "second": 0})
    assert two.pids() == before
    # Both stores, and whoever shows a study, say which worker each trial ran on.
    host = os.uname().nodename
    workers = {trial.worker for trial in show_study("s", STORAGE).trials}
    assert workers == {f"first on {host}", f"second on {host}"}
    tagged = {run.data.tags["lsml.worker"] for run in runs() if run.data.tags["lsml.role"] == "trial"}
    assert tagged == workers


@pytest.mark.full
def test_a_study_there_is_one_here(folder: Path, patches: Path, two: Cluster) -> None:
    """One trial at a time gives the numbers of a study with a worker of its own."""
    listener = Listener()
    run(patches, two.file, study="there", listener=listener, trials=4, workers=1)
    assert listener.together == 1
    run(patches, None, study="here", trials=4)
    same_curves(counted("there"), counted("here"))


def _study(data: Path, scheduler: str) -> None:
    run(data, scheduler, study="killed", function=endless, trials=2)


def test_a_dead_coordinator_leaves_its_workers_free(folder: Path, patches: Path, two: Cluster) -> None:
    """Killed in the middle of two trials, which would wait for ever: the workers take other tasks, of a study too."""
    before = two.pids()
    process = warm.start_function(_study, patches, two.address)
    wait_until(lambda: (folder / "endless").exists() and len((folder / "endless").read_text()) > 4)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert two.pids() == before
    run(patches, two.address, study="next", trials=2)
    assert len(counted("next")) == 2


@pytest.mark.full
@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ("first", "longer than 2 s (study.trial_timeout)"),
        ("second", "longer than 2 s (study.trial_timeout); its worker has no nanny, and is busy until it ends"),
    ],
)
def test_a_trial_over_its_time_fails(
    folder: Path, patches: Path, two: Cluster, monkeypatch: pytest.MonkeyPatch, worker: str, reason: str
) -> None:
    """Its nanny gives the place a new process; without one the late result is refused, and the worker free then."""
    before = two.pids()
    # No other worker has the first trial.
    usable = module.ClusterWorkers._usable
    monkeypatch.setattr(
        module.ClusterWorkers,
        "_usable",
        lambda self: [address for address in usable(self) if self.place(address).startswith(worker)],
    )
    limited_at_first(monkeypatch)
    run(patches, two.address, function=late_at_first, trials=2, trial_timeout=2)
    assert [entry["state"] for entry in counted("s")] == ["failed", "complete"]
    (failed,) = runs("FAILED")
    assert failed.data.tags["lsml.reason"] == reason
    assert (two.pids()[worker] == before[worker]) == (worker == "second")


def other_packs(folder: Path) -> Path:
    """Copies of all packs of the current folder, of patches that have another fingerprint."""
    other = folder / "elsewhere"
    shutil.copytree(pack_cache(), other)
    for file in other.glob("*/manifest.json"):
        manifest = json.loads(file.read_text())
        manifest["pack"]["fingerprint"] = "0" * 64
        file.write_text(json.dumps(manifest | {"sha256": digest_of(manifest["pack"])}))
    return other


@pytest.mark.full
def test_workers_that_differ_are_refused_by_name(folder: Path, patches: Path) -> None:
    """Other data, another lsml, two threads: a line each, and the study goes on with the one that is left."""
    run(patches, None, study="local", trials=1)
    here = {file.parent.name.partition("-")[0]: json.loads(file.read_text()) for file in pack_cache().glob("*/*.json")}
    shown = ", ".join(f"{name} {here[name]['pack']['fingerprint'][:16]}" for name in ("train", "validation"))
    with cluster(folder / "cluster") as started:
        started.worker("data", "--no-nanny", LSML_PACKS=str(other_packs(folder)))
        started.worker("old", "--no-nanny", preload="import lsml.study.worker as w; w.VERSION = '0.0.9'")
        started.worker("wide", "--no-nanny", threads=2)
        wait_until(lambda: len(started.working()) == 3)
        with pytest.raises(LsmlError) as refused:
            run(patches, started.address)
        assert refused.value.exit_code == 4
        assert "none of its workers can be used: worker " in str(refused.value)

        # The same packs, found in the folder that its environment names.
        started.worker("good", "--no-nanny", LSML_PACKS=str(shutil.copytree(pack_cache(), folder / "same")))
        listener = Told()
        wait_until(lambda: len(started.working()) == 4)
        run(patches, started.address, study="local", listener=listener, trials=6)
    host = os.uname().nodename
    zeros = "0" * 16
    assert len(counted("local")) == 6
    assert {line for line in listener.lines if "refused" in line} == {
        f"worker data on {host} is refused: its data is train {zeros}, validation {zeros}, not {shown}; "
        "let it see the folder of the packs, at the same path or as LSML_PACKS of its environment",
        f"worker old on {host} is refused: its version of lsml is 0.0.9, not 0.1.0; install lsml 0.1.0 there",
        f"worker wide on {host} is refused: its number of threads is 2, not 1; start it with --nthreads 1",
    }


def refusal(data: Path, scheduler: str | Path) -> tuple[int, str]:
    """Exit code and line of a study that does not start."""
    with pytest.raises(LsmlError) as caught:
        run(data, scheduler)
    assert "\n" not in str(caught.value)
    return caught.value.exit_code, str(caught.value)


def test_a_cluster_that_cannot_be_used_is_one_line(
    folder: Path, patches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scheduler, no such file, another dask, a setting that is not lsml's, no workers: said within the time."""
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_CONNECT_SECONDS", 1.0)
        code, line = refusal(patches, "tcp://127.0.0.1:1")
    assert (code, line[:45]) == (4, "scheduler tcp://127.0.0.1:1: does not answer:")
    code, line = refusal(patches, folder / "none.json")
    assert (code, line.split(": ")[0]) == (4, f"scheduler file {folder / 'none.json'}")
    with cluster(folder / "strict") as started:
        start = f"start some: dask worker {started.address} --nthreads 1 --memory-limit 0.9"
        assert refusal(patches, started.address) == (
            4,
            f"scheduler {started.address}: has had no worker for 1 s; {start}",
        )
    with cluster(folder / "older", preload="import importlib.metadata as m; m.version = '2020.1'.format") as started:
        code, line = refusal(patches, started.address)
        assert (code, line.split(": ")[1]) == (
            4,
            f"has dask 2020.1, and this environment {version('distributed')}; install the same version of dask in both",
        )
    with cluster(folder / "lenient", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="3") as started:
        assert refusal(patches, started.address) == (
            2,
            f"scheduler {started.address}: it runs a task again that took 3 workers down; "
            "start it with DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 in its environment",
        )


class _Interrupted:
    """A queue whose connection breaks once, before an answer is there."""

    def __init__(self) -> None:
        self._met: list[Exception] = [CommClosedError("in <TLS>: Stream is closed"), TimeoutError()]

    def get(self, timeout: float) -> tuple[int, bool]:
        if self._met:
            raise self._met.pop(0)
        return 7, False


def test_a_worker_waits_on_where_a_connection_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is not to blame for the network; dask connects anew."""
    monkeypatch.setattr(running, "_ANSWER_POLL_SECONDS", 0.01)
    busy = SimpleNamespace(state=SimpleNamespace(tasks={"trial": SimpleNamespace(state="executing")}))
    reports: list[int] = []
    assert running._answer(busy, "trial", _Interrupted(), 7, lambda: reports.append(7)) is False  # type: ignore[arg-type]
    assert reports == [7]


def test_a_scheduler_that_goes_ends_the_study(folder: Path, patches: Path) -> None:
    """In one line with exit code 4, and the same command resumes, here with workers of its own."""

    class Killer(Listener):
        def trial_started(self, *_: Any) -> None:
            started.scheduler.kill()

    with cluster(folder / "cluster") as started:
        started.worker("only", "--no-nanny")
        with pytest.raises(LsmlError) as caught:
            run(patches, started.address, listener=Killer(), trials=2)
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith("the same command resumes once it is back")
    assert sum(run(patches, None, trials=2).counts.values()) == 2
    assert runs("RUNNING") == []
