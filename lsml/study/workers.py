"""The workers of a study: what is handed out to them, one trial each, and what comes back; they are looked after."""

import contextlib
import itertools
import pickle
import queue
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from distributed import Client, Future, KilledWorker, Queue

from lsml.errors import LsmlError, in_one_line
from lsml.errors.signals import deferred
from lsml.study.worker import device, work
from lsml.training.device import prepare
from lsml.training.outcome import TrialFunction, TrialOutcome, TrialTask
from lsml.workspace import Progress

START_SECONDS, POLL_SECONDS = 120, 0.1
"""How long workers may take to come up, and how often they are looked for meanwhile."""
CLOSE_SECONDS = 5.0

_HANDOVER_SECONDS = 300
"""For a model of a gigabyte over a slow network; a worker that died meanwhile would never answer."""

_LOOK_SECONDS = 1.0
_GONE_SECONDS = 5.0
"""A worker that dask does not list for so long is gone, and does not come back under its address."""
_SILENT_SECONDS = 60.0
"""A worker without a heartbeat for so long hangs; it sends two a second, whatever it computes meanwhile."""


@dataclass(frozen=True)
class Reported:
    """A worker ended an epoch or fold and waits for an answer."""

    attempt: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """A worker handed back its outcome."""

    attempt: int
    outcome: TrialOutcome


@dataclass(frozen=True)
class Failed:
    """The trial raised; `error` where that says what is to blame: memory, or a disk, of which the trial is innocent."""

    attempt: int
    reason: str
    error: LsmlError | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Lost:
    """The worker is gone, the trial is not to blame."""

    attempt: int
    reason: str


Message = Reported | Finished | Failed | Lost


@dataclass
class _HandedOut:
    """An attempt that a worker has.

    Attributes:
        name: of this handing out alone: attempts of two stages may share a number, and what comes of one that was
            given up must not pass for another's.
        since: when it was handed out, by `time.monotonic`.
        beat: the worker's last heartbeat, by dask's clock; None while dask does not list it.
        quiet: how many looks in a row found no other.
        step: the last one that its worker reported.
        answer: that step, and whether to go on after it, once that is decided.
    """

    name: str
    address: str
    future: "Future[TrialOutcome]"
    answers: Queue
    since: float
    beat: float | None = None
    quiet: int = 0
    step: int = 0
    answer: tuple[int, bool] | None = None


class Workers(ABC):
    """Processes that run a study's trials, one each at a time; see `LocalWorkers` and `ClusterWorkers`.

    Use as a context manager.

    Args:
        trial_timeout: seconds after which an attempt has failed; 0 for none.
    """

    _client: Client

    def __init__(self, *, trial_timeout: float) -> None:
        self._trial_timeout = trial_timeout
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._topic = f"lsml-{uuid.uuid4().hex}"
        self._running: dict[int, _HandedOut] = {}
        self._given_up: set[str] = set()
        self._submitted = itertools.count()
        self._looked = time.monotonic()
        self._closing = contextlib.ExitStack()
        self._begun = False

    def begin(self) -> None:
        """Starts them without waiting for them, where that has not been done; whoever calls it leaves the context."""
        if not self._begun:
            prepare()
            self._begun = True
            with deferred():
                self._open()
                self._client.subscribe_topic(self._topic, self._receive)

    def beginning(self, progress: Progress) -> Progress:
        """What tells `progress`, and before that begins them: of work that is to end before they are needed."""

        def told(what: str, done: int, total: int) -> None:
            self.begin()
            progress(what, done, total)

        return told

    def __enter__(self) -> Self:
        """Raises LsmlError where no worker comes up."""
        try:
            self.begin()
            self._wait_for_start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            self._begun = False
            self._close()

    @property
    @abstractmethod
    def count(self) -> int:
        """How many attempts may be under way at once."""

    @abstractmethod
    def place(self, address: str) -> str:
        """The worker at an address and its host, for people."""

    @abstractmethod
    def absence(self, seconds: float) -> LsmlError:
        """What to say where there has been no worker for so long."""

    @abstractmethod
    def _open(self) -> None:
        """Makes `_client`."""

    @abstractmethod
    def _wait_for_start(self) -> None: ...

    @abstractmethod
    def _close(self) -> None:
        """Raises nothing, as that would hide how the study ended."""

    @abstractmethod
    def _usable(self) -> Collection[str]:
        """The addresses of the live workers that may have a trial."""

    @abstractmethod
    def _tend(self, live: Mapping[str, Any]) -> None:
        """Replaces workers that are gone, or takes in those that are new."""

    @abstractmethod
    def _fate(self, address: str) -> str:
        """What is to be said of a worker whose attempt is given up; empty where it gets a successor."""

    @abstractmethod
    def _end(self, address: str) -> None:
        """Ends a worker whose attempt is given up, where it can be."""

    def devices(self) -> list[tuple[str, str]]:
        """Kind and name of what each worker's Keras computes on, once all have loaded it."""
        return list(self._client.run(device, workers=list(self._usable())).values())

    def _live(self) -> dict[str, Any]:
        """What dask knows of each worker that it takes for alive, by address."""
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def free(self) -> list[str]:
        """The addresses of workers that may have a trial, and have none."""
        busy = {handed.address for handed in self._running.values()} | self._given_up
        return [address for address in self._usable() if address not in busy]

    def submit(self, attempt: int, function: TrialFunction, task: TrialTask, address: str) -> None:
        """Starts `function` with `task` on the worker at `address`; attempts under way have different numbers."""
        name = f"{self._topic}-{next(self._submitted)}"
        answers = Queue(name, client=self._client)
        future = self._client.submit(
            work,
            function,
            pickle.dumps(task),
            self._topic,
            name,
            attempt,
            # dask would take one key for one and the same work.
            key=f"{name}-trial",
            workers=[address],
            allow_other_workers=False,
            pure=False,
        )
        handed = _HandedOut(name, address, future, answers, time.monotonic())
        self._running[attempt] = handed
        future.add_done_callback(lambda done: self._inbox.put((name, self._conclude(attempt, handed))))

    def answer(self, attempt: int, *, go_on: bool) -> None:
        """Answers the step that the attempt's worker reported."""
        handed = self._running[attempt]
        handed.answer = (handed.step, go_on)
        handed.answers.put(handed.answer)

    def next(self, timeout: float) -> Message | None:
        """The next message, or None when `timeout` seconds brought none."""
        self._look()
        try:
            name, message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        handed = self._running.get(message.attempt)
        if handed is None or handed.name != name:
            # Late: the attempt was given up before.
            return None
        if isinstance(message, Reported):
            return message if self._is_new(handed, message) else None
        del self._running[message.attempt]
        handed.future.release()
        handed.answers.close()
        return message

    @staticmethod
    def _is_new(handed: _HandedOut, message: Reported) -> bool:
        """Whether the step was not reported before; else its answer, if there was one, is given again."""
        if message.step > handed.step:
            handed.step = message.step
            return True
        if handed.answer and handed.answer[0] == message.step:
            handed.answers.put(handed.answer)
        return False

    def _look(self) -> None:
        """Looks after the workers, once a second: gives up attempts of which nothing can come, and replaces the lost.

        Silence is counted in looks, so that a machine that slept does not take its workers for dead.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        live = self._live()
        self._given_up &= live.keys()
        for address in tuple(self._given_up):
            # It outlived that, or another one has come up at its address meanwhile.
            self._end(address)
        for attempt, handed in list(self._running.items()):
            beat = live[handed.address]["last_seen"] if handed.address in live else None
            handed.quiet = handed.quiet + 1 if beat == handed.beat else 0
            handed.beat = beat
            if message := self._hopeless(attempt, handed):
                self._give_up(handed, message)
        self._tend(live)

    def _hopeless(self, attempt: int, handed: _HandedOut) -> Failed | Lost | None:
        """What to make of an attempt that has taken too long, or whose worker is gone or hangs; None of any other."""
        if self._trial_timeout and time.monotonic() - handed.since > self._trial_timeout:
            return Failed(attempt, f"longer than {self._trial_timeout:g} s (study.trial_timeout)")
        silent = handed.quiet * _LOOK_SECONDS
        if handed.beat is None and silent > _GONE_SECONDS:
            # dask tells nothing of those that went before the attempt began.
            return self._died(attempt, handed.address, "connection to the worker lost")
        if silent > _SILENT_SECONDS:
            return Lost(attempt, f"no sign of life from the worker for {_SILENT_SECONDS:.0f} s")
        return None

    def _give_up(self, handed: _HandedOut, message: Failed | Lost) -> None:
        """Ends an attempt and its worker; what comes of it later is refused."""
        # First in the inbox: what the others make of the future that is cancelled comes after it.
        self._inbox.put((handed.name, replace(message, reason=message.reason + self._fate(handed.address))))
        self._given_up.add(handed.address)
        self._end(handed.address)
        handed.future.cancel()

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        # Whether the attempt is still wanted, `next` looks: it may report before `submit` has returned.
        _, told = event
        self._inbox.put((told["name"], Reported(told["attempt"], told["step"], told["metrics"])))

    def _conclude(self, attempt: int, handed: _HandedOut) -> Message:
        future = handed.future
        if future.status == "finished":
            try:
                return Finished(attempt, future.result(timeout=_HANDOVER_SECONDS))
            except Exception as error:  # noqa: BLE001 (the worker died while handing over its outcome)
                return self._died(attempt, handed.address, f"outcome lost: {type(error).__name__}")
        if future.status == "cancelled":
            return self._died(attempt, handed.address, "connection to the worker lost")
        raised = future.exception()
        if isinstance(raised, KilledWorker):
            return self._died(attempt, handed.address, "worker process died")
        return Failed(attempt, in_one_line(raised), raised if isinstance(raised, LsmlError) else None)

    def _died(self, attempt: int, address: str, reason: str) -> Failed | Lost:
        """What to make of an attempt whose worker, of that address, is gone for that reason."""
        return Lost(attempt, reason)

    @staticmethod
    def _quietly(close: Callable[..., object]) -> None:
        """Closes what belonged to processes that are dead, whatever it then misses."""
        with contextlib.suppress(Exception):
            close(timeout=CLOSE_SECONDS)
