"""The coordinator: the one process that writes to the study's database and to tracking.

Its order of writing is what makes a kill at any point harmless. An attempt's run is filled before its trial is
told to the database, and the run is closed last; whoever finds a run still open knows from the database how to
close it. Tracking has a thread of its own, which writes one thing after another, so that no worker waits for it.
"""

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lsml.data.splits import Steps, StudyData
from lsml.errors import Interrupted, OutOfMemory, StorageError, StudyError
from lsml.errors.signals import deferred, stop_if_asked
from lsml.names import EndState, StageRole, State
from lsml.study.trial_queue import TrialQueue
from lsml.study.workers import Failed, Finished, Lost, Message, Reported, Workers
from lsml.training.outcome import Attempt, TrialFunction, TrialOutcome, TrialTask

_Written = TypeVar("_Written")

_POLL_SECONDS, _POLL_SECONDS_WRITING = 0.2, 0.005
_PATIENCE_SECONDS = 120.0
"""How long a study waits for a living worker: replacing a dead process takes a few seconds."""


class _Recorder(Protocol):
    """Where the attempts of a study are recorded; `lsml.tracking.runs.TrialRecorder`."""

    def started(self, attempt: Attempt, worker: str) -> str: ...

    def step(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def outcome(self, run_id: str, outcome: TrialOutcome) -> None: ...

    def closed(self, run_id: str, state: EndState, reason: str) -> None: ...

    def settle(self, states: Mapping[int, EndState], reason: str) -> None: ...

    def located(self, identities: Iterable[str]) -> Mapping[str, str]: ...


class _ProgressListener(Protocol):
    """Told of the progress of each attempt: a terminal, a log, a test."""

    def trial_started(self, attempt: Attempt, steps: Steps) -> None: ...

    def trial_step(self, attempt: Attempt, step: int, metrics: Mapping[str, float]) -> None: ...

    def trial_ended(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None: ...


@dataclass(frozen=True)
class Stage:
    """A part of a study: its search, or what comes after.

    Attributes:
        title: what happens in it, for people.
        queue: what is to be done.
        function: what a worker runs for an attempt.
        steps: what an attempt reports if nothing ends it early.
        data: on which patches, and how they are scored.
        keep_probabilities: whether its attempts hand over their probabilities of the validation patches.
    """

    role: StageRole
    title: str
    queue: TrialQueue
    function: Callable[[Attempt], TrialFunction]
    steps: Callable[[Attempt], Steps]
    data: StudyData
    keep_probabilities: bool = False


class Coordinator:
    """Keeps every worker busy until each slot of a stage has ended.

    Args:
        recorder: of this stage's runs.
        max_failures: failed attempts in a row that end the study. One that ran out of memory is not counted where
            another has got through a step: a search over sizes may try many that do not fit, but not only such.
        folder: holds the slots' checkpoints.
        patience: seconds without a living worker that end the study.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        workers: Workers,
        recorder: _Recorder,
        listener: _ProgressListener,
        max_failures: int,
        folder: Path,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._stage, self._queue = stage, stage.queue
        self._workers, self._recorder, self._listener = workers, recorder, listener
        self._max_failures, self._folder, self._patience = max_failures, folder, patience
        self._out: dict[int, Attempt] = {}
        self._runs: dict[int, Future[str]] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracking")
        self._writes: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()
        self._asked_in_vain = False
        """Whether the queue had nothing since an attempt ended last."""
        self._failures = 0
        self._fitting: set[int] = set()
        self._steps: dict[int, int] = {}
        self._last_seen = time.monotonic()

    def run(self) -> None:
        """Runs the stage to its end.

        Raises:
            StudyError: more failed trials in a row than the settings allow.
            Interrupted: by a signal, between two messages; every attempt under way is closed and its slot will be
                queued again.
        """
        with deferred():
            self._run()

    def _run(self) -> None:
        self._settle("coordinator lost")
        self._locate()
        self._fitting = {n for n, state in self._queue.states().items() if state in (State.COMPLETE, State.PRUNED)}
        try:
            while self._dispatch():
                message = self._workers.next(_POLL_SECONDS_WRITING if self._writes else _POLL_SECONDS)
                # Before the message: a signal to the whole group ends the workers too, and that is no loss of theirs.
                stop_if_asked()
                if message is not None:
                    self._handle(message)
                self._follow_up()
        except Interrupted as signal:
            self._queue.study.gate.hurry()
            self._abandon(f"interrupted by {signal.name}")
            raise
        except (StudyError, StorageError):
            self._abandon("study stopped")
            raise
        finally:
            self._writer.shutdown(cancel_futures=True)
        self._locate()

    def _locate(self) -> None:
        """Has the database say which run each attempt has, where tracking could not make it in time."""
        if unlocated := self._queue.study.unlocated():
            self._queue.study.locate(self._recorder.located(unlocated))

    def _write(
        self, write: Callable[[], _Written], then: Callable[[_Written], None] = lambda _: None
    ) -> "Future[_Written]":
        """Has something written after all that was asked for before, and then, in this thread, what follows from it."""
        written = self._writer.submit(write)
        self._writes.append((written, then))
        return written

    def _follow_up(self) -> None:
        """Does what follows from what has been written; raises what writing raised."""
        while self._writes and self._writes[0][0].done():
            written, then = self._writes.popleft()
            then(written.result())

    def _settle(self, reason: str) -> None:
        """Closes whatever is running in both stores; a run whose trial has ended is closed as that did."""
        self._queue.close_open(reason)
        self._recorder.settle(self._queue.states(), reason)

    def _abandon(self, reason: str) -> None:
        """Closes what is under way in each store that answers; the next command does so in one that does not."""
        self._writer.shutdown()
        with contextlib.suppress(StorageError):
            self._queue.close_open(reason)
        for run in self._runs.values():
            with contextlib.suppress(StorageError):
                self._recorder.closed(run.result(), State.SUPERSEDED, reason)

    def _dispatch(self) -> bool:
        """Hands attempts to free workers; False when nothing is under way and nothing is left."""
        # A trial is out until it has been told of: what a worker is given next may depend on how its last one ended.
        # While all workers have one, dask is not asked which of them are free: this is called many times a second.
        free = self._workers.free() if len(self._out) < self._workers.count else []
        self._check_alive(bool(free or self._out))
        if free and not self._asked_in_vain:
            if attempt := self._queue.ask():
                self._start(attempt, free[0])
            else:
                self._asked_in_vain = True
        return bool(self._out or self._writes) or self._queue.ended() < len(self._queue.wanted())

    def _start(self, attempt: Attempt, address: str) -> None:
        """Hands an attempt to a worker, which does not wait for its run."""
        worker = self._workers.place(address)
        self._runs[attempt.number] = self._write(
            lambda: self._recorder.started(attempt, worker),
            then=lambda run_id: self._queue.remember_run(attempt, run_id, worker),
        )
        self._out[attempt.number] = attempt
        self._listener.trial_started(attempt, self._stage.steps(attempt))
        task = TrialTask(attempt.config, self._stage.data, self._checkpoint(attempt), self._stage.keep_probabilities)
        self._workers.submit(attempt.number, self._stage.function(attempt), task, address)

    def _check_alive(self, alive: bool) -> None:
        now = time.monotonic()
        if alive:
            self._last_seen = now
        elif now - self._last_seen > self._patience:
            raise self._workers.absence(self._patience)

    def _checkpoint(self, attempt: Attempt) -> Path:
        return self._folder / f"{attempt.role}-{attempt.slot:04d}.checkpoint"

    def _handle(self, message: Message) -> None:
        attempt, run = self._out[message.attempt], self._runs[message.attempt]
        # A trial that has ended takes no more attributes, so its run comes first.
        run.result()
        self._follow_up()
        match message:
            case Reported():
                self._step(attempt, run, message)
            case Finished():
                outcome = message.outcome
                self._write(
                    lambda: self._recorder.outcome(run.result(), outcome), then=lambda _: self._finish(attempt, outcome)
                )
            case Failed(error=StorageError() as error):
                # Of this the trial is innocent, and the next one would come to the same.
                raise error
            case Failed():
                self._queue.fail(attempt, message.reason)
                self._close(attempt, State.FAILED, None, message.reason)
                if not (isinstance(message.error, OutOfMemory) and self._fitting):
                    self._count_failure(message.reason)
            case Lost():
                again = self._queue.lose(attempt, message.reason, step=self._steps.get(attempt.number, 0))
                self._close(attempt, State.SUPERSEDED if again else State.FAILED, None, message.reason)
                if not again:
                    self._count_failure(message.reason)

    def _step(self, attempt: Attempt, run: "Future[str]", message: Reported) -> None:
        self._fitting.add(attempt.number)
        self._steps[attempt.number] = message.step
        go_on = self._queue.report(attempt, message.step, message.metrics)
        self._workers.answer(attempt.number, go_on=go_on)
        self._write(lambda: self._recorder.step(run.result(), message.step, message.metrics))
        self._listener.trial_step(attempt, message.step, message.metrics)

    def _finish(self, attempt: Attempt, outcome: TrialOutcome) -> None:
        self._failures = 0
        if outcome.stopped == State.PRUNED:
            self._queue.prune(attempt, outcome.value)
            noun, count = outcome.steps
            self._close(attempt, State.PRUNED, outcome.value, f"pruned after {noun} {count}")
        else:
            self._queue.complete(attempt, outcome)
            self._close(attempt, State.COMPLETE, outcome.value, "")

    def _close(self, attempt: Attempt, state: EndState, value: float | None, reason: str) -> None:
        self._asked_in_vain = False
        run = self._runs.pop(attempt.number)
        self._write(lambda: self._recorder.closed(run.result(), state, reason))
        del self._out[attempt.number]
        self._steps.pop(attempt.number, None)
        if state != State.SUPERSEDED:
            _remove(self._checkpoint(attempt))
        if state in (State.SUPERSEDED, State.FAILED):
            self._fitting.discard(attempt.number)
        self._listener.trial_ended(attempt, state, value, reason)

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= self._max_failures:
            raise StudyError(
                "study stopped",
                f"{self._failures} trials in a row failed, the last one with: {reason}",
                "fix the error above and run the same command again",
            )


def _remove(checkpoint: Path) -> None:
    """A file, or a folder with one file a fold."""
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)
