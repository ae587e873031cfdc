"""The coordinator by itself: where no worker comes, and where tracking is slow."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps
from lsml.errors import StudyError
from lsml.names import Role
from lsml.study.coordinator import Coordinator
from lsml.study.local_workers import LocalWorkers
from lsml.study.workers import Finished, Message, Reported
from lsml.training.outcome import Attempt, TrialOutcome
from tests.processes import PATIENCE

LOCATED = SimpleNamespace(unlocated=list, gate=SimpleNamespace(hurry=lambda: None))
"""A study whose every attempt has the id of its run."""


class NoWorkers(LocalWorkers):
    """A cluster whose processes all died, as when Keras cannot be loaded."""

    def free(self) -> list[str]:
        return []

    def next(self, timeout: float) -> None:
        return None


def test_a_study_without_a_living_worker_stops_and_names_the_log(tmp_path: Path) -> None:
    """Nothing runs and nobody is free for longer than the patience: exit code 6, both stores settled, the log named."""
    settled = []
    slots = SimpleNamespace(close_open=settled.append, states=dict, ended=lambda: 0, wanted=lambda: [0], study=LOCATED)
    stage = SimpleNamespace(queue=slots)
    recorder = SimpleNamespace(settle=lambda states, reason: settled.append(reason))
    coordinator = Coordinator(
        stage,  # type: ignore[arg-type]
        workers=NoWorkers(1, scratch=tmp_path),
        recorder=recorder,  # type: ignore[arg-type]
        listener=SimpleNamespace(),  # type: ignore[arg-type]
        max_failures=5,
        folder=tmp_path,
        patience=0.05,
    )
    with pytest.raises(StudyError, match=r"no worker has been alive for 0 s; see .*workers\.log"):
        coordinator.run()
    # Of what is open at the start both stores are asked; at the end it is known.
    assert settled == ["coordinator lost"] * 2 + ["study stopped"]


class TwoWorkers:
    """One ends its trial at once, the other reports a step after that, and ends when it has its answer."""

    count = 2

    def __init__(self) -> None:
        self.busy, self.answered = threading.Event(), threading.Event()
        self._addresses = ["first", "second"]
        self._messages: list[Message] = []

    def free(self) -> list[str]:
        return self._addresses[:1]

    def place(self, address: str) -> str:
        return f"{address} on here"

    def submit(self, attempt: int, function: object, task: object, address: str) -> None:
        self._addresses.remove(address)
        if not self._addresses:
            self.busy.set()
            self._messages = [Finished(0, OUTCOME), Reported(1, 1, {"val_f1": 0.5})]

    def next(self, timeout: float) -> Message | None:
        return self._messages.pop(0) if self._messages else None

    def answer(self, attempt: int, *, go_on: bool) -> None:
        self.answered.set()
        self._messages.append(Finished(attempt, OUTCOME))


OUTCOME = TrialOutcome(0.5, "finished", Steps("epoch", 1), 1, 0.5, {}, {})


def test_no_worker_waits_for_tracking(tmp_path: Path) -> None:
    """Both have trials before the first has a run, and an answer while an outcome is written; in the old order."""
    workers, events = TwoWorkers(), []

    def started(attempt: Attempt, worker: str) -> str:
        assert workers.busy.wait(PATIENCE), "a trial waits for its run, or for another's"
        return f"run {attempt.number}"

    def record(name: str) -> Callable[..., object]:
        return lambda *args: events.append((name, *args[:1]))

    def outcome(run_id: str, result: TrialOutcome) -> None:
        if run_id == "run 0":
            assert workers.answered.wait(PATIENCE), "the answer waits for tracking"
        events.append(("outcome", run_id))

    def complete(attempt: Attempt, result: TrialOutcome) -> None:
        done.append(attempt.number)
        events.append(("complete", f"run {attempt.number}"))

    config, done = TrainConfig(), []
    waiting = [Attempt(n, n, 1, Role.TRIAL, "", config, {}, {}) for n in (0, 1)]
    queue = SimpleNamespace(
        ask=lambda: waiting.pop(0) if waiting else None,
        remember_run=lambda attempt, run_id, worker: events.append(("remembered", run_id)),
        report=lambda attempt, step, metrics: True,
        complete=complete,
        ended=lambda: len(done),
        wanted=lambda: [0, 1],
        states=dict,
        close_open=lambda reason: None,
        study=LOCATED,
    )
    recorder = SimpleNamespace(
        started=started,
        step=record("step"),
        outcome=outcome,
        closed=record("closed"),
        settle=lambda states, reason: None,
    )
    ignore = lambda *_: None  # noqa: E731
    coordinator = Coordinator(
        SimpleNamespace(queue=queue, function=ignore, steps=ignore, data=None, keep_probabilities=False),  # type: ignore[arg-type]
        workers=workers,  # type: ignore[arg-type]
        recorder=recorder,  # type: ignore[arg-type]
        listener=SimpleNamespace(trial_started=ignore, trial_step=ignore, trial_ended=ignore),  # type: ignore[arg-type]
        max_failures=5,
        folder=tmp_path,
    )
    coordinator.run()
    # Of each trial the run is known and its outcome tracked before it is complete, and its run is closed last.
    for run in ("run 0", "run 1"):
        written = [name for name, of in events if of == run and name != "step"]
        assert written == ["remembered", "outcome", "complete", "closed"]
