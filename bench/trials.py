"""What a trial costs the coordinator besides its training, with few and with many trials in the study's database.

    python bench/trials.py [--epochs 8] [--storage URL] [--rounds 5] [--smoke]
    python bench/trials.py --workers 16 [--trials 800] [--seconds 10] [--sampler tpe] [--tracking on] [--epochs 4]

The first: asking for the next trial, reporting each of its epochs and ending it, by the space, sampler and pruner of
`experiments/demo.yaml`. `--storage` names a database server, whose study `bench` must not exist yet; else it is a file.

The second: a study whose trials sleep, on so many worker processes, which load no Keras: how much of the workers' time
is spent in trials. All else is as in `lsml tune`, both databases are SQLite's; `--tracking off` writes no runs.
"""

import contextlib
import hashlib
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timing import Took, arguments, median, once, show

if TYPE_CHECKING:
    from lsml.data.splits import TrainingData
    from lsml.study.trial_queue import SearchQueue
    from lsml.training.outcome import Attempt, Report, TrialOutcome, TrialTask

SIZES = (100, 1000, 5000)
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "demo.yaml"


def main() -> None:
    """Runs the benchmark."""
    options = {"workers": 0, "trials": 800, "seconds": 10, "sampler": "tpe", "tracking": "on"}
    given = arguments(__doc__, epochs=8, storage="sqlite:///optuna.db", **options)
    if given.workers or given.smoke:
        if given.smoke:
            given.workers, given.trials, given.seconds = 2, 3, 1
        run_study(given.workers, given.trials, given.seconds, given.epochs, given.sampler, given.tracking == "on")
    if given.workers and not given.smoke:
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        queue = open_queue(given.storage, trials=10 * max(SIZES))
        for size in (4,) if given.smoke else SIZES:
            fill(queue, size, given.epochs)
            trials = [dict(one_trial(queue, given.epochs)) for _ in range(given.rounds)]
            for step in trials[0]:
                rows.append([f"{size:,}", step, *(1000 * seconds for seconds in median([t[step] for t in trials]))])
        os.chdir("/")
    show(f"Trials of {given.epochs} epochs", ["trials before", "", "CPU ms", "wall ms"], rows)


def open_queue(storage: str, **settings: Any) -> "SearchQueue":
    """The queue of a new study."""
    from lsml.config.experiment import load_experiment
    from lsml.study.trial_queue import SearchQueue

    experiment = load_experiment(EXPERIMENT).with_settings(**settings)
    return SearchQueue(
        storage, "bench", space=experiment.space, base=experiment.base, settings=experiment.study, spec={}
    )


def fill(queue: "SearchQueue", size: int, epochs: int) -> None:
    """Adds complete trials, with random values of the space, until there are so many."""
    import optuna
    from optuna.trial import create_trial

    from lsml.names import Attribute

    drawing, source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), random.Random(0)
    for slot in range(len(queue.study.all_trials(deepcopy=False)), size):
        drawn = drawing.ask()
        queue._attempt(drawn, slot, 1)
        f1 = source.gauss(0.6, 0.05)
        queue.study.add_trial(
            create_trial(
                params=drawn.params,
                distributions=drawn.distributions,
                value=f1,
                user_attrs={Attribute.SLOT: slot, Attribute.ORDINAL: 1, Attribute.RUN_ID: f"{slot:032x}"},
                intermediate_values=dict.fromkeys(range(1, epochs + 1), f1),
            )
        )


def one_trial(queue: "SearchQueue", epochs: int) -> Iterator[tuple[str, Took]]:
    """One trial as the coordinator has it, step by step; an epoch is the mean of all."""
    from lsml.data.splits import Steps
    from lsml.training.outcome import TrialOutcome

    attempts: list[Attempt | None] = []
    yield "ask", once(lambda: attempts.append(queue.ask()))
    (attempt,) = attempts
    assert attempt
    queue.remember_run(attempt, f"{attempt.number:032x}", "worker on host")
    took = [once(partial(queue.report, attempt, epoch, {"val_f1": 0.9})) for epoch in range(1, epochs + 1)]
    yield "epoch", Took(*(sum(seconds) / epochs for seconds in zip(*took, strict=True)))
    outcome = TrialOutcome(0.6, "finished", Steps("epoch", epochs), 1, 0.5, metrics={}, environment={})
    yield "end", once(lambda: queue.complete(attempt, outcome))


WITHOUT_KERAS = "import lsml.study.worker\nlsml.study.worker.load = lambda: None\n"
"""What each worker runs first: a trial that sleeps needs no backend, and 64 would not fit into memory."""


def run_study(workers: int, trials: int, seconds: int, epochs: int, sampler: str, tracked: bool) -> None:
    """Runs a study of sleeping trials, and shows what it took."""
    import dask

    from lsml.data.splits import TrainingData
    from lsml.data.synthetic import synthesize

    # Forks of one process that has imported lsml: they start at once, and share that memory.
    multiprocessing.set_forkserver_preload(["lsml.study.worker", "lsml.training.outcome"])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("without.py").write_text(WITHOUT_KERAS)
        synthesize(Path("data"), train=6, validation=3, test=3, seed=0)
        data = TrainingData.prepare(Path("data"), Path("packs").resolve())
        settings = {
            "distributed.worker.multiprocessing-method": "forkserver",
            "distributed.worker.preload": [str(Path("without.py").resolve())],
        }
        with dask.config.set(settings):
            row = studied(workers, trials, partial(asleep, seconds=seconds, epochs=epochs), data, sampler, tracked)
    took, cpu, own, each = row
    share = trials * seconds / (workers * took)
    columns = ["workers", "trials", "s each", "sampler", "tracking", "share of time in trials", "s in all"]
    measured = [share, took, 1000 * cpu / trials, own, each]
    show(
        f"Study of trials of {epochs} epochs",
        [*columns, "coordinator: CPU ms a trial", "MB at most", "MB a worker"],
        [[workers, trials, seconds, sampler, "on" if tracked else "off", *measured]],
    )


def asleep(task: "TrialTask", report: "Report", *, seconds: int, epochs: int) -> "TrialOutcome":
    """A trial that sleeps, and hands back as many files as a training does."""
    import numpy as np

    from lsml.data.splits import Steps
    from lsml.models.export import ModelFile
    from lsml.names import Artifact
    from lsml.training.outcome import Panel, StepEvent, TrialOutcome

    f1 = 0.5 + 0.1 * task.config.loss.jaccard - 0.1 * task.config.model.dropout
    for epoch in range(1, epochs + 1):
        time.sleep(seconds / epochs)
        report(StepEvent(epoch, {"loss": 1 / epoch, "val_loss": 1 / epoch, "val_f1": f1, "learning_rate": 1e-3}))
    content = b"no model"
    return TrialOutcome(
        value=f1,
        stopped="finished",
        steps=Steps("epoch", epochs),
        best_epoch=epochs,
        threshold=0.5,
        metrics={"val_f1": f1, "val_threshold": 0.5},
        model=ModelFile(content, hashlib.sha256(content).hexdigest(), task.data.splits[0].sensor),
        panels=tuple(Panel(f"validation/{number}", np.zeros((128, 512, 3), np.uint8)) for number in range(4)),
        environment={"backend": "tensorflow", "device": "none"},
        costs={"parameters": 1e5, "latency_ms": 1.0},
        tables={Artifact.VALIDATION_PATCHES: "id,f1\n" * 100, Artifact.VALIDATION_PIXELS: "p,n\n" * 1000},
    )


def studied(
    workers: int, trials: int, function: Any, data: "TrainingData", sampler: str, tracked: bool
) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds of this process, megabytes that it has at most, and that each worker has of its own."""
    import psutil

    from lsml.data.splits import Steps
    from lsml.names import Role
    from lsml.study.coordinator import Coordinator, Stage
    from lsml.study.local_workers import LocalWorkers
    from lsml.workflows.sources import SILENT

    own: dict[str, Any] = {"sampler": {"name": sampler}, "pruner": {"name": "none"}}
    queue = open_queue("sqlite:///optuna.db", trials=trials, **own)
    steps = Steps("epoch", 1)
    stage = Stage(Role.TRIAL, "sleeping", queue, lambda _: function, lambda _: steps, data)
    with LocalWorkers(workers, scratch=Path.cwd()) as running, recorder(data, tracked) as writing:
        options = {"workers": running, "recorder": writing, "listener": SILENT, "max_failures": 1}
        began, cpu = time.perf_counter(), time.process_time()
        Coordinator(stage, folder=Path.cwd(), **options).run()
        took, used = time.perf_counter() - began, time.process_time() - cpu
        sizes = [psutil.Process(pid).memory_full_info().uss / 1e6 for pid in running.pids()]
    assert queue.ended() == trials
    return took, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, sum(sizes) / len(sizes)


class Unrecorded:
    """Where no run is written."""

    def started(self, attempt: "Attempt", worker: str) -> str:
        """An id of the attempt."""
        return f"{attempt.number:032x}"

    def step(self, *_: object) -> None:
        """Writes nothing."""

    outcome = closed = settle = step

    def located(self, _: object) -> Mapping[str, str]:
        """None had to be looked for."""
        return {}


@contextlib.contextmanager
def recorder(data: "TrainingData", tracked: bool) -> Iterator[Any]:
    """What writes the runs of the trials into MLflow's database in the working folder, or nothing."""
    if not tracked:
        yield Unrecorded()
        return
    from lsml.names import Role
    from lsml.tracking.runs import TrialRecorder
    from lsml.tracking.spool import Outbox
    from lsml.tracking.store import open_client

    client = open_client()
    parent = client.create_run(client.create_experiment("bench"))
    with Outbox(client, Path("bench.spool").resolve()) as outbox:
        yield TrialRecorder(outbox, parent, role=Role.TRIAL, study="bench", data=data, root=str(Path.cwd()))


if __name__ == "__main__":
    main()
