"""Runs one study again and again, each time in a process that is killed at another step, until it is done.

Usage: python -m tests.study.run_killed STUDY DATA TRIALS STEP...

A STEP is `Class.method:N`: the process dies right after the Nth call of that method. `Class.method:N:SIGTERM` sends it
that signal there, which it listens to as a command does. Each attempt is a fork of this process, so that the imports
are paid for once; the last one is not killed. Prints the exit code of each.
"""

import functools
import importlib
import os
import signal
import sys
from pathlib import Path

from lsml.cli.output import Reporter
from lsml.config.experiment import load_experiment
from lsml.errors.signals import leaving_by_signals
from lsml.workflows.tune import tune
from tests.forking import exit_code
from tests.study.sleeping import FUNCTIONS

_OWNERS = {
    "TrialQueue": "lsml.study.trial_queue",
    "SearchQueue": "lsml.study.trial_queue",
    "Workers": "lsml.study.workers",
    "LocalWorkers": "lsml.study.local_workers",
    "TrialRecorder": "lsml.tracking.runs",
    "RegisteredModel": "lsml.tracking.registry",
    "StudyRun": "lsml.tracking.study",
    "views": "lsml.workflows.finalize",
}
# Imported here, once for all forks.
_MODULES = {name: importlib.import_module(module) for name, module in _OWNERS.items()}


def die_after(step: str) -> None:
    """Makes this process send itself a signal right after the given call."""
    place, count, *named = step.split(":")
    number = signal.Signals[named[0]] if named else signal.SIGKILL
    owner_name, method = place.split(".")
    owner = getattr(_MODULES[owner_name], owner_name, _MODULES[owner_name])
    original = getattr(owner, method)
    calls = iter(range(1, 1_000_000))

    @functools.wraps(original)
    def wrapped(*args: object, **kwargs: object) -> object:
        result = original(*args, **kwargs)
        if next(calls) == int(count):
            os.kill(os.getpid(), number)
        return result

    setattr(owner, method, wrapped)


def run(study: str, data: Path, trials: int, step: str | None) -> None:
    """One attempt at the study."""
    if step:
        die_after(step)
    experiment = load_experiment(Path("experiment.yaml")).with_settings(trials=trials)
    with leaving_by_signals(), Reporter() as reporter:
        tune(
            experiment,
            study=study,
            data=data,
            storage="sqlite:///optuna.db",
            listener=reporter,
            functions=FUNCTIONS,
        )


def forked(study: str, data: Path, trials: int, step: str | None) -> int:
    """The exit code of one attempt in a process of its own; -9 when it was killed."""
    return exit_code(lambda: run(study, data, trials, step))


if __name__ == "__main__":
    name, folder, number, *steps = sys.argv[1:]
    for step in [*steps, None]:
        print(step, forked(name, Path(folder), int(number), step), flush=True)  # noqa: T201
