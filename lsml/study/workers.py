"""The workers of a study: processes of a local dask cluster, bound to loopback, one trial each, looked after."""

import contextlib
import itertools
import logging
import os
import pickle
import queue
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Self

import dask
from distributed import Client, Future, KilledWorker, Nanny, Queue, SpecCluster
from distributed.core import Status
from distributed.security import Security

from lsml.errors import LsmlError, OutOfMemory, StudyError, in_one_line
from lsml.errors.signals import deferred, without_hangups
from lsml.study.worker import LogFile, TlsScheduler, TlsWorker, device, gpu_ids, load, work
from lsml.training.device import prepare
from lsml.training.outcome import TrialFunction, TrialOutcome, TrialTask

_GIGABYTE = 1e9
_MEMORY_SHARE = 0.9
"""Of the machine's memory, for all workers: dask ends one that takes 95 % of its part."""

# A trial that takes its worker down must not be given to the next one: the coordinator decides.
# A daemonic worker may not start processes of its own. Trials are placed by the coordinator alone.
# A busy machine takes longer than dask's 15 seconds to bring up the successor of a worker that died.
# dask has glibc give memory back so eagerly that a tenth of a training step is spent on getting it again; and it looks
# a hundred times a second at what a worker is doing, which nobody asks for. Silent workers are looked for below.
_DASK_SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "60s",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.daemon": False,
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.tick.interval": "1s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.worker-ttl": None,
}


_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
"""How many threads TensorFlow and PyTorch give one operation; JAX has no such setting."""
_NO_WINDOWS = {"MPLBACKEND": "agg"}
"""For Matplotlib: the backend of a notebook that calls lsml may be missing in a worker."""

_LOOPBACK = "127.0.0.1"
_START_SECONDS, _START_POLL_SECONDS = 120, 0.1
_CLOSE_SECONDS = 5.0

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


class _Nanny(Nanny):
    """What starts a worker's process, and starts its successor when it dies.

    Args:
        among: all of them, to which it adds itself.

    Attributes:
        outgrown: resident bytes of the workers that it ended as they took too much memory, by address.
    """

    def __init__(self, *args: Any, among: "list[_Nanny]", **options: Any) -> None:
        super().__init__(*args, **options)
        self.outgrown: dict[str, float] = {}
        among.append(self)

    def log_event(self, topic: str, msg: Any) -> None:
        """Told of a worker that it is about to end."""
        if topic == "worker-restart-memory":
            self.outgrown[msg["worker"]] = msg["rss"]
        super().log_event(topic, msg)  # type: ignore[no-untyped-call]  # dask's


@dataclass
class _HandedOut:
    """An attempt that a worker has.

    Attributes:
        name: of this handing out alone: attempts of two stages may share a number, and what comes of one that was
            given up must not pass for another's.
        since: when it was handed out, by `time.monotonic`.
        beat: the worker's last heartbeat, by dask's clock; None while dask does not list it.
        quiet: how many looks in a row found no other.
    """

    name: str
    address: str
    future: "Future[TrialOutcome]"
    answers: Queue
    since: float
    beat: float | None = None
    quiet: int = 0


class Workers:
    """A local cluster of `count` worker processes; each dies with this process.

    Use as a context manager: entering starts them, and leaving kills them, whatever has become of them.

    Args:
        count: 0 means one worker a GPU, or one where there is no GPU.
        scratch: the folder of their log and of what they write for themselves.
        trial_timeout: seconds after which an attempt has failed; 0 for none.
    """

    def __init__(self, count: int, *, scratch: Path, trial_timeout: float = 0.0) -> None:
        self._scratch, self._trial_timeout = scratch, trial_timeout
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._topic = f"lsml-{uuid.uuid4().hex}"
        self._running: dict[int, _HandedOut] = {}
        self._nannies: list[_Nanny] = []
        self._given_up: set[str] = set()
        self._submitted = itertools.count()
        self._looked = time.monotonic()
        self._closing = contextlib.ExitStack()
        prepare()
        self._gpus = gpu_ids()
        self.count = count or len(self._gpus) or 1

    def __enter__(self) -> Self:
        """Raises StudyError where a worker does not come up."""
        try:
            with deferred():
                self._open()
            self._wait_for_start()
        except BaseException:
            self._close()
            raise
        # While this process has other things to do; a trial that comes meanwhile waits for it on its worker.
        self._loading = [self._client.submit(load, workers=[address], pure=False) for address in self.free()]
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open(self) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._closing.enter_context(dask.config.set(_DASK_SETTINGS))
        with without_hangups():
            # Python's own process that tidies up after others ignores the other signals of a terminal that closes.
            resource_tracker.ensure_running()
        security = Security.temporary()
        self._cluster = SpecCluster(
            scheduler={
                "cls": TlsScheduler,
                "options": {"host": _LOOPBACK, "port": 0, "security": security, "dashboard": False},
            },
            security=security,
            silence_logs=logging.CRITICAL,
            # That is done below, where this process's end does not wait for it.
            shutdown_on_close=False,
        )
        self._closing.callback(_quietly, self._cluster.close)
        self._client = Client(self._cluster, security=security, set_as_default=False)
        self._closing.callback(_quietly, self._client.close)
        self._client.register_plugin(LogFile(self._scratch / "workers.log"))
        self._client.subscribe_topic(self._topic, self._receive)
        self._cluster.worker_spec.update({index: self._nanny(index, security) for index in range(self.count)})
        self._cluster.scale(self.count)

    def _nanny(self, index: int, security: Security) -> dict[str, Any]:
        # Two networks that each spread over all cores are slower than two that share them out.
        threads = str(max(1, (os.cpu_count() or 1) // self.count))
        environment = {name: os.environ.get(name, threads) for name in _THREADS} if self.count > 1 else {}
        environment |= _NO_WINDOWS
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[index % len(self._gpus)]
        return {
            "cls": _Nanny,
            "options": {
                "among": self._nannies,
                "nthreads": 1,
                "host": _LOOPBACK,
                "env": environment,
                "memory_limit": f"{_MEMORY_SHARE / self.count:.3f}",
                "worker_class": TlsWorker,
                "dashboard": False,
                "local_directory": str(self._scratch),
                "security": security,
                "silence_logs": logging.CRITICAL,
            },
        }

    def _wait_for_start(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while len(self._live()) < self.count:
            ended = any(nanny.status in (Status.closed, Status.failed) for nanny in self._nannies)
            if ended or time.monotonic() > end:
                raise StudyError("study", "its workers do not start", f"see {self._scratch / 'workers.log'}")
            time.sleep(_START_POLL_SECONDS)

    def _close(self) -> None:
        """Ends workers and cluster; raises nothing, as that would hide how the study ended, and leaves no process."""
        with deferred():
            for nanny in self._nannies:
                # Else it starts a successor for what is killed now.
                nanny.close_gracefully()
            # A worker in the middle of a training step does not listen; it holds nothing that is not on disk.
            _kill(self.pids())
            self._closing.close()
            end = time.monotonic() + _CLOSE_SECONDS
            while (left := self.pids()) and time.monotonic() < end:
                _kill(left)
                time.sleep(_START_POLL_SECONDS)

    def devices(self) -> list[tuple[str, str]]:
        """Kind and name of what each worker's Keras computes on, once all have loaded it."""
        return list(self._client.run(device).values())

    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        return [nanny.pid for nanny in self._nannies if nanny.pid]

    def _live(self) -> dict[str, Any]:
        """What dask knows of each worker that it takes for alive, by address."""
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def free(self) -> list[str]:
        """The addresses of live workers without a trial."""
        busy = {handed.address for handed in self._running.values()} | self._given_up
        return [address for address in self._live() if address not in busy]

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
        self._running[attempt].answers.put(go_on)

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
        if not isinstance(message, Reported):
            del self._running[message.attempt]
            handed.future.release()
            handed.answers.close()
        return message

    def _look(self) -> None:
        """Looks after the workers, once a second: gives up attempts of which nothing can come, and replaces the lost.

        Silence is counted in looks, so that a machine that slept does not take its workers for dead.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        live = self._live()
        self._given_up &= live.keys()
        for attempt, handed in list(self._running.items()):
            beat = live[handed.address]["last_seen"] if handed.address in live else None
            handed.quiet = handed.quiet + 1 if beat == handed.beat else 0
            handed.beat = beat
            if message := self._hopeless(attempt, handed):
                self._give_up(handed, message)
        if len(self._cluster.workers) < self.count:
            # dask has given up a place for a worker, because the successor took too long.
            self._cluster.scale(self.count)

    def _hopeless(self, attempt: int, handed: _HandedOut) -> Message | None:
        """What to make of an attempt that has taken too long, or whose worker is gone or hangs; None of any other."""
        if self._trial_timeout and time.monotonic() - handed.since > self._trial_timeout:
            return Failed(attempt, f"longer than {self._trial_timeout:g} s (study.trial_timeout)")
        silent = handed.quiet * _LOOK_SECONDS
        if handed.beat is None and silent > _GONE_SECONDS:
            # dask tells nothing of those that went before the attempt began.
            return self._died(attempt, handed, "connection to the worker lost")
        if silent > _SILENT_SECONDS:
            return Lost(attempt, f"no sign of life from the worker for {_SILENT_SECONDS:.0f} s")
        return None

    def _give_up(self, handed: _HandedOut, message: Message) -> None:
        """Ends an attempt and its worker, which gets a successor; what comes of it later is refused."""
        # First in the inbox: what the others make of the future that is cancelled comes after it.
        self._inbox.put((handed.name, message))
        self._given_up.add(handed.address)
        _kill(nanny.pid for nanny in self._nannies if nanny.worker_address == handed.address and nanny.pid)
        handed.future.cancel()

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        _, told = event
        attempt = next((number for number, handed in list(self._running.items()) if handed.name == told["name"]), None)
        if attempt is not None:
            self._inbox.put((told["name"], Reported(attempt, told["step"], told["metrics"])))

    def _conclude(self, attempt: int, handed: _HandedOut) -> Message:
        future = handed.future
        if future.status == "finished":
            try:
                return Finished(attempt, future.result(timeout=_HANDOVER_SECONDS))
            except Exception as error:  # noqa: BLE001 (the worker died while handing over its outcome)
                return self._died(attempt, handed, f"outcome lost: {type(error).__name__}")
        if future.status == "cancelled":
            return self._died(attempt, handed, "connection to the worker lost")
        raised = future.exception()
        if isinstance(raised, KilledWorker):
            return self._died(attempt, handed, "worker process died")
        return Failed(attempt, in_one_line(raised), raised if isinstance(raised, LsmlError) else None)

    def _died(self, attempt: int, handed: _HandedOut, reason: str) -> Message:
        """Lost for that reason; failed where the worker was ended for its memory, which it would take again."""
        for nanny in self._nannies:
            if taken := nanny.outgrown.get(handed.address):
                used = f"out of memory: the worker had grown to {taken / _GIGABYTE:.1f} GB"
                fix = "lower training.batch_size or study.workers"
                return Failed(attempt, f"{used}; {fix}", OutOfMemory("trial", used, fix))
        return Lost(attempt, reason)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _quietly(close: Callable[..., object]) -> None:
    """Closes what belonged to processes that are dead, whatever it then misses."""
    with contextlib.suppress(Exception):
        close(timeout=_CLOSE_SECONDS)
