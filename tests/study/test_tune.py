"""Studies in this process, with trials that only sleep: several workers, failures, several processes at once."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from joblib import cpu_count

from lsml.config.experiment import load_experiment
from lsml.config.fields import RENAMED
from lsml.data.splits import Steps
from lsml.errors import ConfigError, StorageError, StudyError
from lsml.names import Attribute, EndState
from lsml.report.facts import TuneResult
from lsml.study.database import load_study
from lsml.study.trial import FUNCTIONS as DEFAULTS
from lsml.study.workers import Workers
from lsml.training.outcome import Attempt, TrialFunction
from lsml.workflows.report import report_study
from lsml.workflows.studies import list_studies, show_study
from lsml.workflows.tune import tune
from tests.processes import PATIENCE, children, lsml, wait_until

from .conftest import attempts, client, counted, environment, run_killed, runs
from .sleeping import FUNCTIONS, counting_threads, failing, narrow, sleeping, starved, starving, stuck_at_first

STORAGE = "sqlite:///optuna.db"


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, EndState]] = []
        self.together = 0
        self._running: set[int] = set()

    def step(self, what: str, done: int, total: int) -> None:
        pass

    def study_started(self, **_: object) -> None:
        pass

    def stage_started(self, title: str) -> None:
        pass

    def trial_started(self, attempt: Attempt, steps: Steps) -> None:
        self._running.add(attempt.number)
        self.together = max(self.together, len(self._running))

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def trial_ended(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None:
        self._running.discard(attempt.number)
        self.ended.append((attempt.slot, state))


def run(
    data: Path, function: TrialFunction, listener: Listener, *, storage: str = STORAGE, **settings: Any
) -> TuneResult:
    """One study of the test experiment in the current folder."""
    experiment = load_experiment(Path("experiment.yaml")).with_settings(**settings)
    functions = replace(DEFAULTS, search=function, baselines={})
    return tune(experiment, study="s", data=data, storage=storage, listener=listener, functions=functions)


def limited_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `study.trial_timeout` hold of a study's first attempt alone: the others take what this machine takes."""
    submit = Workers.submit

    def limited(workers: Workers, attempt: int, *more: Any) -> None:
        if attempt:
            workers._trial_timeout = 0.0
        submit(workers, attempt, *more)

    monkeypatch.setattr(Workers, "submit", limited)


def test_two_workers_share_the_slots(folder: Path, patches: Path) -> None:
    """Six trials on two workers: two at a time, each slot once, every attempt's run closed."""
    listener = Listener()
    result = run(patches, sleeping, listener, trials=6, workers=2)
    assert listener.together == 2
    assert sorted(slot for slot, _ in listener.ended) == list(range(6))
    assert sum(result.counts.values()) == 6
    assert len(attempts("s")) == 6
    assert runs("RUNNING") == []
    best = max((entry for entry in counted("s") if entry["state"] == "complete"), key=lambda entry: entry["value"])
    assert (result.best_run_id, result.best_value) == (best["run_id"], best["value"])


def test_workers_start_while_patches_are_packed(folder: Path, patches: Path) -> None:
    """A worker has begun its log before the last patch is packed; a study that has ended starts none."""

    def logs() -> list[Path]:
        return list(folder.rglob("workers.log"))

    class Packing(Listener):
        """Goes on once a worker is there."""

        def step(self, what: str, done: int, total: int) -> None:
            if done == total:
                wait_until(logs)

    run(patches, sleeping, Packing(), trials=1)
    (log,) = logs()
    log.unlink()
    assert run(patches, sleeping, Listener(), trials=1).fresh is False
    assert logs() == []


def test_two_workers_end_a_search_that_has_no_more_to_try(folder: Path, patches: Path) -> None:
    """KerasTuner's Hyperband on two workers, one of which waits at times: it ends before the cap, for good."""
    # Two trials of one epoch and the better one again with two; then two of two epochs; and the base.
    tuner = {"name": "hyperband", "factor": 2, "max_epochs": 2}
    settings = {"trials": 30, "workers": 2, "engine": "keras-tuner", "tuner": tuner}
    listener = Listener()
    result = run(patches, sleeping, listener, **settings)
    assert listener.together == 2
    assert sorted(listener.ended) == [(slot, "complete") for slot in range(6)]
    assert result.counts == {"complete": 6, "pruned": 0, "failed": 0}
    assert runs("RUNNING") == []
    again = run(patches, sleeping, listener, **settings)
    assert (again.fresh, again.best_run_id) == (False, result.best_run_id)
    assert len(listener.ended) == 6


def test_a_search_ends_once_a_trial_is_good_enough(folder: Path, patches: Path) -> None:
    """The base scores .3 + .3 * .5 - .2 * .1 + .02 * 4 = .51; nothing else is tried, also by a second call."""
    listener = Listener()
    result = run(patches, sleeping, listener, trials=4, until_f1=0.5)
    assert (result.counts, result.label) == ({"complete": 1, "pruned": 0, "failed": 0}, "trial 0")
    assert result.stopped == "a trial has reached F1 0.5 (study.until_f1)"
    again = run(patches, sleeping, listener, trials=4, until_f1=0.5)
    assert (again.fresh, again.stopped, len(listener.ended)) == (False, result.stopped, 1)
    # Asked for more, it goes on.
    assert sum(run(patches, sleeping, listener, trials=2).counts.values()) == 2


def test_a_trial_over_its_time_fails_and_the_study_goes_on(
    folder: Path, patches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one hangs; its run says why it was ended, and the next one has a new worker."""
    limited_at_first(monkeypatch)
    run(patches, stuck_at_first, Listener(), trials=2, trial_timeout=2)
    assert [entry["state"] for entry in counted("s")] == ["failed", "complete"]
    (failed,) = runs("FAILED")
    assert failed.data.tags["lsml.reason"] == "longer than 2 s (study.trial_timeout)"


class Impatient(Listener):
    """Gives workers up after 3 s of silence once the first attempt stops its own, and no others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._patches = monkeypatch

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        if (attempt.number, step) == (0, 1):
            self._patches.setattr("lsml.study.workers._SILENT_SECONDS", 3.0)

    def trial_ended(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None:
        super().trial_ended(attempt, state, value, reason)
        self._patches.setattr("lsml.study.workers._SILENT_SECONDS", PATIENCE)


def test_another_worker_takes_the_slot_of_one_that_hangs(
    folder: Path, patches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in epoch 2, it sends no heartbeat; its attempt is superseded, and the next one ends the slot."""
    (folder / "deaths").write_text("stop")
    monkeypatch.setenv("LSML_TEST_DEATHS", str(folder / "deaths"))
    run(patches, sleeping, Impatient(monkeypatch), trials=2, pruner={"name": "none"})
    found = [(entry["slot"], entry["attempt"], entry["state"]) for entry in attempts("s")]
    assert found == [(0, 1, "superseded"), (0, 2, "complete"), (1, 1, "complete")]
    (lost,) = runs("KILLED")
    assert lost.data.tags["lsml.reason"] == "no sign of life from the worker for 3 s"


class Eavesdropper(Listener):
    """Notes where the study's processes listen while a trial is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[tuple[int, str]] = set()
        self._others = children()

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None:
        for pid in {os.getpid(), *children()} - self._others:
            with suppress(psutil.NoSuchProcess):
                found = psutil.Process(pid).net_connections(kind="inet")
                self.heard |= {(pid, place.laddr.ip) for place in found if place.status == psutil.CONN_LISTEN}


def test_a_study_listens_on_loopback_only(folder: Path, patches: Path) -> None:
    """Scheduler, nanny and worker: nothing that another machine could reach."""
    listener = Eavesdropper()
    run(patches, sleeping, listener, trials=1)
    assert {address for _, address in listener.heard} == {"127.0.0.1"}
    # This process, with the scheduler and the nanny, and the worker.
    assert len({pid for pid, _ in listener.heard}) == 2


def test_workers_share_out_the_cores(folder: Path, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers get half of the cores each; what the user has set goes before that; one worker is left alone."""
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    half = max(1, cpu_count() // 2)
    assert run(patches, counting_threads, Listener(), trials=1, workers=2).best_value == half / 100
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    assert run(patches, counting_threads, Listener(), trials=2, workers=2).best_value == 0.07
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    run(patches, counting_threads, Listener(), trials=3, workers=1)
    assert counted("s")[-1]["value"] == 0.0


def test_more_trials_of_a_finished_study_are_the_missing_ones(folder: Path, patches: Path) -> None:
    """Two trials, then four of the same study: the first two stay, two are added, the study's run stays."""
    first = run(patches, sleeping, Listener(), trials=2)
    listener = Listener()
    second = run(patches, sleeping, listener, trials=4)
    assert [slot for slot, _ in listener.ended] == [2, 3]
    assert second.study_run_id == first.study_run_id
    assert sum(second.counts.values()) == 4


def test_trials_that_fail_in_a_row_stop_the_study(folder: Path, patches: Path) -> None:
    """At the default limit of five the study stops with exit code 6 and says why, once; nothing stays open."""
    listener = Listener()
    with pytest.raises(
        StudyError, match="5 trials in a row failed, the last one with: ValueError: loss is nan"
    ) as stop:
        run(patches, failing, listener, trials=8)
    assert stop.value.exit_code == 6
    assert listener.ended == [(slot, "failed") for slot in range(5)]
    assert runs("RUNNING") == []
    failed = [run for run in runs("FAILED") if run.data.tags["lsml.role"] == "trial"]
    assert len(failed) == 5
    assert failed[0].data.tags["lsml.reason"] == "ValueError: loss is nan in epoch 2"


TOO_LARGE = (
    "out of memory: batch size 2 with {} filters and depth {} does not fit; "
    "lower training.batch_size, model.filters or model.depth"
)


def test_trials_that_do_not_fit_do_not_end_a_study(folder: Path, patches: Path) -> None:
    """After one that fits, six in a row that do not are failed with the reason, one more than end a study."""
    listener = Listener()
    result = run(patches, starved, listener, trials=7)
    assert listener.ended == [(0, "complete"), *((slot, "failed") for slot in range(1, 7))]
    assert result.best_run_id == counted("s")[0]["run_id"]
    failed = [run for run in runs("FAILED") if run.data.tags["lsml.role"] == "trial"]
    assert {run.data.tags["lsml.reason"] for run in failed} == {TOO_LARGE.format(4, 1)}
    assert len(failed) == 6
    # Gone on with, the study still knows that one fits.
    assert run(patches, starved, Listener(), trials=12).counts["failed"] == 11


def test_a_study_in_which_nothing_fits_ends(folder: Path, patches: Path) -> None:
    """Five in a row, as with any other failure, and the reason is said once."""
    listener = Listener()
    with pytest.raises(StudyError, match="5 trials in a row failed, the last one with: out of memory: batch size 2"):
        run(patches, starving, listener, trials=8)
    assert listener.ended == [(slot, "failed") for slot in range(5)]


@pytest.mark.full
def test_a_worker_that_ran_out_of_memory_goes_on_training(folder: Path, patches: Path) -> None:
    """Real trainings of 4, 128 and 4 filters on one worker; the second has 100 MB to spare, and weights of 123 MB.

    Nothing is lost: a worker that had died would leave a superseded attempt.
    """
    path = Path("experiment.yaml")
    text = path.read_text().replace(
        "  model.dropout: {low: 0.0, high: 0.3}\n", "  model.filters: {choices: [4, 128]}\n"
    )
    path.write_text(text.replace("depth: 1", "depth: 3").replace("epochs: 4,", "epochs: 1,"))
    listener = Listener()
    run(patches, narrow, listener, trials=3, seed=4, sampler="random")
    found = [(entry["params"]["model.filters"], entry["state"]) for entry in attempts("s")]
    assert found == [(4, "complete"), (128, "failed"), (4, "complete")]
    (failed,) = [run for run in runs("FAILED") if run.data.tags["lsml.role"] == "trial"]
    assert failed.data.tags["lsml.reason"] == TOO_LARGE.format(128, 3)


def test_a_study_without_a_complete_trial_has_failed(folder: Path, patches: Path) -> None:
    """Three failed trials are below the limit in a row, but there is nothing to register."""
    with pytest.raises(StudyError, match=r"no trial completed \(3 failed, 0 pruned\)"):
        run(patches, failing, Listener(), trials=3)


def test_a_study_is_resumed_with_what_it_was_started_with(folder: Path, patches: Path, tmp_path: Path) -> None:
    """Other patches, and another space, goal or base, are refused, and leave the study as it is."""
    from tests.patches import make_patches

    run(patches, sleeping, Listener(), trials=1)
    before = attempts("s")
    make_patches(tmp_path / "other", train=4, validation=2, test=1, seed=9)
    with pytest.raises(ConfigError, match="was started with another data"):
        run(tmp_path / "other", sleeping, Listener(), trials=2)
    text = (folder / "experiment.yaml").read_text()
    changed = {
        "space (loss.jaccard: high: 1.0, now 0.9)": text.replace("high: 1.0", "high: 0.9"),
        "search (pruner: min_epochs: 2, now None)": text.replace(
            "  pruner: {name: successive_halving, min_epochs: 2, reduction: 2}",
            "  pruner: none\n  second_objective: parameters",
        ),
        "base (model.filters: 4, now 5)": text.replace("filters: 4", "filters: 5"),
    }
    for says, other in changed.items():
        (folder / "experiment.yaml").write_text(other)
        with pytest.raises(ConfigError) as error:
            run(patches, sleeping, Listener(), trials=2)
        assert str(error.value) == f"study 's': was started with another {says}; start a new one with --study NAME"
    done = lsml(folder, "tune", "experiment.yaml", "--study", "s", "--data", str(patches), env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"lsml: error: {error.value}"
    assert attempts("s") == before


def test_a_study_of_an_earlier_lsml_is_refused_and_still_shown(folder: Path, patches: Path) -> None:
    """Its fields had other names: it is not resumed, in one line, but its attempts and runs are there to see."""
    result = run(patches, sleeping, Listener(), trials=1)
    study = load_study(STORAGE, "s")
    then = {new: old for old, new in RENAMED.items()}
    spec = study.spec
    spec["base"] = {then.get(name, name): value for name, value in spec["base"].items()}
    study.note(Attribute.SPEC, spec)

    with pytest.raises(ConfigError) as caught:
        run(patches, sleeping, Listener(), trials=2)
    assert str(caught.value) == (
        "study 's': made by an earlier lsml, in which 'model.dropout_increment' was called 'model.dropout_rise'; "
        "start a new one with --study NAME"
    )
    assert [entry["study"] for entry in list_studies(STORAGE)] == ["s"]
    shown = show_study("s", STORAGE)
    assert (shown.best_run_id, len(shown.trials)) == (result.best_run_id, 1)
    with pytest.raises(ConfigError, match="made by an earlier lsml"):
        report_study("s", STORAGE, output=None)


def test_four_processes_that_start_at_once_do_not_harm_each_other(folder: Path, patches: Path) -> None:
    """In an empty folder: no error or warning, one MLflow experiment, four complete studies, four versions."""
    (folder / "mlflow.db").unlink()
    with ThreadPoolExecutor() as pool:
        for done in pool.map(lambda name: run_killed(name, patches, 1), "abcd"):
            assert done.stdout.split() == ["None", "0"], done.stderr
            assert "already in use" not in done.stderr
    assert [len(counted(name)) for name in "abcd"] == [1, 1, 1, 1]
    assert len({run.info.experiment_id for run in runs()}) == 1
    # One of the two baselines fails in each.
    assert [run.data.tags["lsml.role"] for run in runs("FAILED")] == ["baseline"] * 4
    assert runs("RUNNING") == []


@pytest.mark.parametrize("url", ["nonsense", "postgresql://me:hunter2@127.0.0.1:1/none", "sqlite:////none/there.db"])
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(folder: Path, patches: Path, url: str) -> None:
    """A wrong URL, a missing driver or server, and a missing folder are storage errors that keep the secret."""
    experiment = load_experiment(Path("experiment.yaml"))
    with pytest.raises(StorageError) as caught:
        tune(
            experiment,
            study="s",
            data=patches,
            storage=url,
            listener=Listener(),
            functions=replace(DEFAULTS, search=sleeping, baselines={}),
        )
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_best_of_each_architecture_is_registered(folder: Path, patches: Path) -> None:
    """Each architecture's best has a version of its own; where it is complete, its name as alias.

    With weight .5 fixed and dropout d, four sleeping epochs score .3 + .15 - .2 d + .08: the least dropout is best.
    """
    path = Path("experiment.yaml")
    text = path.read_text().replace("  loss.jaccard: {low: 0.0, high: 1.0}\n", "")
    path.write_text(
        text.replace("space:\n", "space:\n  model.architecture: {choices: [unet, resnet_unet]}\n").replace(
            "base:\n  model: {filters: 4", "base:\n  model: {architecture: unet, filters: 4"
        )
    )
    result = run(patches, sleeping, Listener(), trials=6)
    found = {best["architecture"]: best for best in result.best_per_architecture}
    assert set(found) == {"unet", "resnet_unet"}
    assert result.best_per_architecture[0]["run_id"] == result.best_run_id
    trials = {entry["run_id"]: entry for entry in counted("s")}
    for architecture, best in found.items():
        rivals = [e for e in trials.values() if e["params"]["model.architecture"] == architecture]
        complete = [e for e in rivals if e["state"] == "complete"] or rivals
        assert best["f1"] == max(e["value"] for e in complete)
        assert trials[best["run_id"]]["params"]["model.architecture"] == architecture
        assert client().get_model_version("s", best["version"]).run_id == best["run_id"]
    aliases = {best["architecture"]: best["version"] for best in found.values() if best["state"] == "complete"}
    kept = {name: str(number) for name, number in client().get_registered_model("s").aliases.items()}
    assert kept == aliases | {"candidate": result.version}
    (parent,) = [run for run in runs() if run.data.tags["lsml.role"] == "study"]
    assert "| resnet_unet |" in parent.data.tags["mlflow.note.content"]


def test_a_study_that_requires_a_gpu_does_not_begin_without(folder: Path, patches: Path, monkeypatch) -> None:
    """Where none is visible: exit code 2, the processor named, no run left behind."""
    (folder / "mlflow.db").unlink()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    experiment = load_experiment(Path("experiment.yaml"))
    with pytest.raises(ConfigError, match=r"--require-gpu: Keras computes on .*; lsml doctor shows what it finds"):
        tune(
            experiment,
            study="s",
            data=patches,
            storage=STORAGE,
            listener=Listener(),
            require_gpu=True,
            functions=FUNCTIONS,
        )
    assert not Path("mlflow.db").exists()
