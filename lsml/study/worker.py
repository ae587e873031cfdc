"""What runs on a worker of a study: one trial at a time, its reports, and what it prints."""

import errno
import functools
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from distributed import Queue, Scheduler, Worker, get_client, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from lsml.errors import StorageError, StudyError
from lsml.names import OBJECTIVE
from lsml.training.device import Device, load_keras
from lsml.training.outcome import StepEvent, TrialFunction, TrialOutcome, TrialTask

_MEGABYTE = 1e6


def gpu_ids() -> list[str]:
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
    """Runs on the worker, once; its next process, where it has died, comes to it with its first trial."""
    load_keras()


def device() -> tuple[str, str]:
    """Runs on the worker."""
    load()
    device = Device.current()
    return device.kind, device.name


class _WithoutPages:
    """Without a dashboard either, dask serves a page that tells every user of the machine of itself."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Starts none."""


class TlsScheduler(_WithoutPages, Scheduler):
    """A scheduler that has its TLS port alone."""


class TlsWorker(_WithoutPages, Worker):
    """A worker that has its TLS port alone."""


class LogFile(WorkerPlugin):
    """Sends all that a worker and the libraries in it print to a file; the terminal is the coordinator's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def setup(self, worker: Any) -> None:
        with self._path.open("a") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)


def work(function: TrialFunction, task: bytes, topic: str, name: str) -> TrialOutcome:
    """Trains, sends an event a step under the topic, and waits for each answer on the queue of that name.

    Args:
        task: a pickled `TrialTask`: dask, which unpickles what it passes on, would open its packs and keep them.

    Raises:
        StorageError: a disk is full or cannot be written to.
        StudyError: F1 is no number, or something else is infinite.
    """
    load()
    worker = get_worker()
    answers = Queue(name, client=get_client())
    probe = _SystemProbe()

    def report(event: StepEvent) -> bool:
        values = {name: float(value) for name, value in event.metrics.items()}
        _check_finite(values)
        worker.log_event(topic, {"name": name, "step": int(event.step), "metrics": values | probe.sample()})
        return bool(answers.get())

    given: TrialTask = pickle.loads(task)
    try:
        outcome = function(given, report)
    except OSError as error:
        raise _of_disk(error) or error from error
    _check_finite({OBJECTIVE: outcome.value, **outcome.metrics})
    return outcome


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
