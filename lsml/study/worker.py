"""What runs on a worker of a study: one trial at a time, its reports, and what it prints."""

import ctypes
import errno
import functools
import math
import os
import pickle
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from dask.typing import Key
from distributed import Queue, Scheduler, Worker, get_client, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from lsml.data.pack import PackedSplit
from lsml.errors import DataError, StorageError, StudyError, without_passwords
from lsml.names import OBJECTIVE, VERSION
from lsml.training.device import Device, load_keras
from lsml.training.outcome import StepEvent, TrialFunction, TrialOutcome, TrialTask

_MEGABYTE = 1e6

_SHOWN_DIGITS = 16

_ANSWER_SECONDS, _ANSWER_POLL_SECONDS = 900.0, 2.0
"""How long a worker waits for an answer, which may take as long as a database's outage, and how often it looks whether
its trial is still wanted."""
_REPEAT_SECONDS = 10.0
"""How long it waits before it reports a step again: with a connection that breaks, report or answer may be lost."""


def gpu_ids() -> list[str]:
    """The GPUs that this process may use, as values for `CUDA_VISIBLE_DEVICES`; empty without NVIDIA's driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]


class _SystemProbe:
    """Samples this process and the GPUs that it may use."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._gpus = gpu_ids()

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


@functools.cache
def load() -> None:
    """Runs on the worker, once."""
    load_keras()


def device() -> tuple[str, str]:
    """Runs on the worker."""
    load()
    device = Device.current()
    return device.kind, device.name


class Inspection(NamedTuple):
    """What has to be the same on each worker as in the coordinator, each as text.

    Attributes:
        lsml: its version.
        backend: Keras's.
        threads: how many tasks a worker may run at once: its process may have one trial.
        data: the first digits of the packs' fingerprints, or why they cannot be opened.
    """

    lsml: str
    backend: str
    threads: str
    data: str

    @classmethod
    def expected(cls, packs: Sequence[PackedSplit]) -> Self:
        """Of a worker that the coordinator, this process, can use; `prepare` has run in it."""
        return cls(VERSION, os.environ["KERAS_BACKEND"], "1", _fingerprints(packs))


def inspect(packs: bytes) -> tuple[str, Inspection]:
    """Runs on the worker: its host's name, and what it has. The packs are pickled."""
    load()
    try:
        data = _fingerprints(pickle.loads(packs))
    except DataError as error:
        data = str(error)
    threads = str(get_worker().state.nthreads)
    return platform.node(), Inspection(VERSION, os.environ["KERAS_BACKEND"], threads, data)


def _fingerprints(packs: Sequence[PackedSplit]) -> str:
    return ", ".join(f"{pack.name} {pack.fingerprint[:_SHOWN_DIGITS]}" for pack in packs)


class _WithoutPages:
    """Without a dashboard either, dask serves a page that tells every user of the machine of itself."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Starts none."""


class TlsScheduler(_WithoutPages, Scheduler):
    """A scheduler that has its TLS port alone."""


class TlsWorker(_WithoutPages, Worker):
    """A worker of this machine: it has its TLS port alone, and no password that the coordinator was given.

    Its process starts with them: dask has Python start it, which hands it the whole environment. To take them out of
    the coordinator's for that moment would take them from its other threads, which talk to its stores.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        _forget_passwords()
        super().__init__(*args, **options)


def _forget_passwords() -> None:
    """Takes passwords out of this process's environment.

    What a process was started with can be read where it lies, as by `/proc/PID/environ`, whatever becomes of its
    variables: there it is written over.
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    for name in os.environ.keys() - without_passwords(os.environ).keys():
        if place := getenv(os.fsencode(name)):
            ctypes.memset(place, ord("*"), len(ctypes.string_at(place)))
        del os.environ[name]


class Preparation(WorkerPlugin):
    """Has a worker, and the libraries in it, print to a file, as the terminal is the coordinator's, and load Keras.

    A trial that comes meanwhile waits for that on its worker.
    """

    def __init__(self, log: Path) -> None:
        self._path = log

    def setup(self, worker: Any) -> None:
        with self._path.open("a") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        # By the thread that runs trials: an error comes again with the first of them.
        worker.executors["default"].submit(load)


def work(function: TrialFunction, task: bytes, topic: str, name: str, attempt: int) -> TrialOutcome:
    """Trains, sends an event a step under the topic, and waits for each answer on the queue of that name.

    Args:
        task: a pickled `TrialTask`: dask, which unpickles what it passes on, would open its packs and keep them.
        attempt: its number, which stands in each event.

    Raises:
        StorageError: a disk is full or cannot be written to.
        StudyError: F1 is no number, or something else is infinite; or the coordinator has given up the trial.
    """
    load()
    worker = get_worker()
    key = worker.get_current_task()
    answers = Queue(name, client=get_client())
    probe = _SystemProbe()

    def report(event: StepEvent) -> bool:
        values = {name: float(value) for name, value in event.metrics.items()}
        _check_finite(values)
        step = int(event.step)
        told = {"name": name, "attempt": attempt, "step": step, "metrics": values | probe.sample()}
        return _answer(worker, key, answers, step, lambda: worker.log_event(topic, told))

    try:
        outcome = function(_reachable(pickle.loads(task)), report)
    except OSError as error:
        raise _of_disk(error) or error from error
    finally:
        # Else the scheduler keeps it, whatever the coordinator does.
        answers.close()
    _check_finite({OBJECTIVE: outcome.value, **outcome.metrics})
    return outcome


def _reachable(task: TrialTask) -> TrialTask:
    """The task, without its checkpoint on a machine that does not have the study's folder."""
    here = task.checkpoint is None or task.checkpoint.parent.is_dir()
    return task if here else replace(task, checkpoint=None)


def _answer(worker: Worker, key: Key, answers: Queue, step: int, report: Callable[[], None]) -> bool:
    """What the coordinator says to a step of the task of that key, once it is reported.

    Raises:
        StudyError: it never will, as it is gone or has given up the trial: the worker is free for the next.
    """
    end, reported = time.monotonic() + _ANSWER_SECONDS, -math.inf
    while (now := time.monotonic()) < end:
        if now - reported > _REPEAT_SECONDS:
            report()
            reported = now
        try:
            answered, go_on = answers.get(timeout=_ANSWER_POLL_SECONDS)
            # Another step's is the second one to a step that was reported again.
            if answered == step:
                return bool(go_on)
        except OSError as error:
            if not isinstance(error, TimeoutError):
                # A connection was lost, and dask makes another with the next question.
                time.sleep(_ANSWER_POLL_SECONDS)
            # dask cancels what nobody waits for: its client is gone, or has said so.
            task = worker.state.tasks.get(key)
            if task is None or task.state != "executing":
                break
    raise StudyError("trial", "its coordinator does not answer", "run lsml tune again, which resumes the study")


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _of_disk(error: OSError) -> StorageError | None:
    """What to say of an error that a disk is to blame for; None of any other."""
    if error.errno not in _DISK_ERRORS:
        return None
    what = f"file {error.filename}" if error.filename else "disk of a worker"
    fix = "free space there, or make it writable; the same command resumes"
    return StorageError(what, f"cannot be written ({error.strerror})", fix)


def _check_finite(values: Mapping[str, float]) -> None:
    """Refuses what would pass for the best of all; a metric that is not defined here may be nan, F1 may not."""
    for name, value in values.items():
        if math.isinf(value) or (name == OBJECTIVE and math.isnan(value)):
            raise StudyError(f"metric {name}", f"{value} is no score", "lower training.learning_rate")
