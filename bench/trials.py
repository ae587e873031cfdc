"""What a trial costs the coordinator besides its training, with few and with many trials in the study's database.

    python bench/trials.py [--epochs 8] [--storage URL] [--rounds 5] [--smoke]

Asking for the next trial, reporting each of its epochs and ending it, by the space, sampler and pruner of
`experiments/demo.yaml`. `--storage` names a database server, whose study `bench` must not exist yet; else it is a file.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timing import Took, arguments, median, once, show

if TYPE_CHECKING:
    from lsml.study.trial_queue import SearchQueue
    from lsml.training.outcome import Attempt

SIZES = (100, 1000, 5000)
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "demo.yaml"


def main() -> None:
    """Runs the benchmark."""
    given = arguments(__doc__, epochs=8, storage="sqlite:///optuna.db")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        queue = open_queue(given.storage)
        for size in (4,) if given.smoke else SIZES:
            fill(queue, size, given.epochs)
            trials = [dict(one_trial(queue, given.epochs)) for _ in range(given.rounds)]
            for step in trials[0]:
                rows.append([f"{size:,}", step, *(1000 * seconds for seconds in median([t[step] for t in trials]))])
        os.chdir("/")
    show(f"Trials of {given.epochs} epochs", ["trials before", "", "CPU ms", "wall ms"], rows)


def open_queue(storage: str) -> "SearchQueue":
    """The queue of a new study, which is never at its end."""
    from lsml.config.experiment import load_experiment
    from lsml.study.trial_queue import SearchQueue

    experiment = load_experiment(EXPERIMENT).with_settings(trials=10 * max(SIZES))
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


if __name__ == "__main__":
    main()
