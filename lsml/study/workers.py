"""The workers of a study: processes of a local dask cluster, bound to loopback, one trial each, and what they use."""

import contextlib
import errno
import functools
import itertools
import logging
import os
import queue
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dask
import psutil
from distributed import Client, Future, KilledWorker, Nanny, Queue, Scheduler, SpecCluster, get_client, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.security import Security

from lsml.errors import StorageError, StudyError, in_one_line
from lsml.training.device import Device, load_keras, prepare
from lsml.training.outcome import StepEvent, TrialFunction, TrialOutcome, TrialTask

_MEGABYTE = 1e6


def _gpu_ids() -> list[str]:
    """The GPUs that this process may use, as values for `CUDA_VISIBLE_DEVICES`; empty without NVIDIA's driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]


class _SystemProbe:
    """Samples this process and the GPUs that it may use."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._gpus = _gpu_ids()

    def sample(self) -> dict[str, float]:
        """CPU in percent of one core since the last sample, resident memory and GPU memory in megabytes."""
        values = {
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        for position, gpu in enumerate(self._gpus):
            values |= _gpu_figures(position, gpu)
        return values


def _gpu_figures(position: int, gpu: str) -> dict[str, float]:
    import pynvml

    pynvml.nvmlInit()
    by_index = gpu.isdecimal()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(gpu)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return {
        f"system/gpu_{position}_utilization_percentage": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        f"system/gpu_{position}_memory_usage_megabytes": memory.used / _MEGABYTE,
    }


# A trial that takes its worker down must not be given to the next one: the coordinator decides.
# A daemonic worker may not start processes of its own. Trials are placed by the coordinator alone.
# A busy machine takes longer than dask's 15 seconds to bring up the successor of a worker that died.
# dask has glibc give memory back so eagerly that a tenth of a training step is spent on getting it again; and it looks
# a hundred times a second at what a worker is doing, which nobody asks for.
_DASK_SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "60s",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.daemon": False,
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.tick.interval": "1s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,
}


_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
"""How many threads TensorFlow and PyTorch give one operation; JAX has no such setting."""

_NO_WINDOWS = {"MPLBACKEND": "agg"}
"""For Matplotlib: the backend of a notebook that calls lsml may be missing in a worker."""

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120
_NO_PAGES = {"dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"}
"""Without a dashboard dask still serves a page about itself: on any port, so that studies do not quarrel over one."""

_HANDOVER_SECONDS = 300
"""For a model of a gigabyte over a slow network; a worker that died meanwhile would never answer."""


_GONE_SECONDS = 5.0
"""A worker that dask does not list for so long is gone, and does not come back under its address."""


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
    """The trial raised.

    Attributes:
        error: what it raised; of a disk that is full or cannot be written to a `StorageError`, of which the trial is
            innocent. Another one would be raised again.
    """

    attempt: int
    error: BaseException

    @property
    def reason(self) -> str:
        """In one line."""
        return in_one_line(self.error)


@dataclass(frozen=True)
class Lost:
    """The worker is gone, the trial is not to blame."""

    attempt: int
    reason: str


Message = Reported | Finished | Failed | Lost


class Workers:
    """A local cluster of `count` worker processes; each dies with this process.

    Use as a context manager. `count` 0 means one worker a GPU, or one where there is no GPU.
    """

    def __init__(self, count: int, *, scratch: Path) -> None:
        self._scratch = scratch
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._topic = f"lsml-{uuid.uuid4().hex}"
        self._running: dict[int, tuple[str, Future[TrialOutcome]]] = {}
        self._answers: dict[int, Queue] = {}
        self._missing: dict[str, float] = {}
        self._submitted = itertools.count()
        prepare()
        gpus = _gpu_ids()
        self.count = count or len(gpus) or 1
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._settings = dask.config.set(_DASK_SETTINGS)
        security = Security.temporary()
        self._cluster = SpecCluster(
            workers={index: self._nanny(index, gpus, security) for index in range(self.count)},
            scheduler={
                "cls": Scheduler,
                "options": {"host": _LOOPBACK, "port": 0, "security": security} | _NO_PAGES,
            },
            security=security,
            silence_logs=logging.CRITICAL,
        )
        self._client = Client(self._cluster, security=security, set_as_default=False)
        self._client.register_plugin(_LogFile(scratch / "workers.log"))
        self._client.subscribe_topic(self._topic, self._receive)
        # While this process has other things to do; a trial that comes meanwhile waits for it on its worker.
        self._loading = [self._client.submit(_load, workers=[address], pure=False) for address in self.free()]

    def _nanny(self, index: int, gpus: list[str], security: Security) -> dict[str, Any]:
        # Two networks that each spread over all cores are slower than two that share them out.
        threads = str(max(1, (os.cpu_count() or 1) // self.count))
        environment = {name: os.environ.get(name, threads) for name in _THREADS} if self.count > 1 else {}
        environment |= _NO_WINDOWS
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        return {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": _LOOPBACK,
                "env": environment,
                "memory_limit": f"{0.9 / self.count:.3f}",
                **_NO_PAGES,
                "local_directory": str(self._scratch),
                "security": security,
                "silence_logs": logging.CRITICAL,
            },
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A worker in the middle of a training step does not listen; it holds nothing that is not on disk.
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._client.close(timeout=2)
        self._cluster.close(timeout=5)
        self._settings.__exit__(kind, error, trace)

    def devices(self) -> list[tuple[str, str]]:
        """Kind and name of what each worker's Keras computes on, once all have loaded it.

        Raises:
            StudyError: a worker does not come up.
        """
        try:
            self._client.wait_for_workers(self.count, timeout=_START_SECONDS)
        except TimeoutError:
            log = self._scratch / "workers.log"
            raise StudyError("study", "its workers do not start", f"see {log}") from None
        return list(self._client.run(_device).values())

    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        nannies = self._cluster.workers.values()
        return [nanny.pid for nanny in nannies if getattr(nanny, "pid", None)]

    def free(self) -> list[str]:
        """The addresses of live workers without a trial."""
        busy = {address for address, _ in self._running.values()}
        live = self._client.scheduler_info(n_workers=-1)["workers"]
        return [address for address in live if address not in busy]

    def submit(self, attempt: int, function: TrialFunction, task: TrialTask, address: str) -> None:
        """Starts `function` with `task` on the worker at `address`; attempts under way have different numbers."""
        # Attempts of two stages may share a number, and dask would take one key for one and the same work.
        name = f"{self._topic}-{next(self._submitted)}"
        self._answers[attempt] = Queue(name, client=self._client)
        future = self._client.submit(
            _work,
            function,
            task,
            attempt,
            self._topic,
            name,
            key=f"{name}-trial",
            workers=[address],
            allow_other_workers=False,
            pure=False,
        )
        self._running[attempt] = (address, future)
        future.add_done_callback(lambda done: self._inbox.put(self._conclude(attempt, done)))

    def answer(self, attempt: int, *, go_on: bool) -> None:
        """Answers the step that the attempt's worker reported."""
        self._answers[attempt].put(go_on)

    def next(self, timeout: float) -> Message | None:
        """The next message, or None when `timeout` seconds brought none."""
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            self._cancel_orphans()
            self._replace_missing()
            return None
        if not isinstance(message, Reported):
            _, future = self._running.pop(message.attempt)
            future.release()
            self._answers.pop(message.attempt).close()
        return message

    def _cancel_orphans(self) -> None:
        """Ends the attempts on workers that are gone, of which dask tells nothing if they went before they began."""
        live, now = self._client.scheduler_info(n_workers=-1)["workers"], time.monotonic()
        for address, future in self._running.values():
            if address in live:
                self._missing.pop(address, None)
            elif now - self._missing.setdefault(address, now) > _GONE_SECONDS:
                future.cancel()

    def _replace_missing(self) -> None:
        """Starts workers anew that dask has given up, because their successors took too long."""
        if len(self._cluster.workers) < self.count:
            self._cluster.scale(self.count)

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        self._inbox.put(Reported(message["attempt"], message["step"], message["metrics"]))

    def _conclude(self, attempt: int, future: Future[TrialOutcome]) -> Message:
        if future.status == "finished":
            try:
                return Finished(attempt, future.result(timeout=_HANDOVER_SECONDS))
            except Exception as error:  # noqa: BLE001 (the worker died while handing over its outcome)
                return Lost(attempt, f"outcome lost: {type(error).__name__}")
        if future.status == "cancelled":
            return Lost(attempt, "connection to the worker lost")
        raised = future.exception()
        if isinstance(raised, KilledWorker):
            return Lost(attempt, "worker process died")
        return Failed(attempt, _of_disk(raised) or raised)


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _of_disk(error: BaseException) -> StorageError | None:
    """What to say of an error that a disk is to blame for; None of any other."""
    if not isinstance(error, OSError) or error.errno not in _DISK_ERRORS:
        return None
    what = f"file {error.filename}" if error.filename else "disk of a worker"
    fix = "free space there, or make it writable; the same command resumes"
    return StorageError(what, f"cannot be written ({error.strerror})", fix)


@functools.cache
def _load() -> None:
    """Runs on the worker, once; its next process, where it has died, comes to it with its first trial."""
    load_keras()


def _device() -> tuple[str, str]:
    """Runs on the worker."""
    _load()
    device = Device.current()
    return device.kind, device.name


class _LogFile(WorkerPlugin):
    """Sends all that a worker and the libraries in it print to a file; the terminal is the coordinator's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def setup(self, worker: Any) -> None:
        with self._path.open("a") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)


def _work(function: TrialFunction, task: TrialTask, attempt: int, topic: str, name: str) -> TrialOutcome:
    """Runs on the worker: trains, sends an event a step, and waits for each answer on the queue of that name."""
    _load()
    worker = get_worker()
    answers = Queue(name, client=get_client())
    probe = _SystemProbe()

    def report(event: StepEvent) -> bool:
        values = {name: float(value) for name, value in event.metrics.items()} | probe.sample()
        worker.log_event(topic, {"attempt": attempt, "step": int(event.step), "metrics": values})
        return bool(answers.get())

    return function(task, report)
