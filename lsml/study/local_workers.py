"""A study's own workers: processes of a local dask cluster, bound to loopback, which end with it."""

import contextlib
import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Self

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.core import Status
from distributed.security import Security
from joblib import cpu_count

from lsml.config.study import StudySettings
from lsml.errors import ConfigError, OutOfMemory, StudyError
from lsml.errors.signals import deferred, without_hangups
from lsml.study.worker import Preparation, TlsScheduler, TlsWorker, gpu_ids
from lsml.study.workers import CLOSE_SECONDS, POLL_SECONDS, START_SECONDS, Failed, Lost, Workers

_GIGABYTE = 1e9
_MEMORY_SHARE = 0.9
"""Of the machine's memory, for all workers: dask ends one that takes 95 % of its part."""

# A trial that takes its worker down must not be given to the next one: the coordinator decides.
# A daemonic worker may not start processes of its own. Trials are placed by the coordinator alone.
# A busy machine takes longer than dask's 15 seconds to bring up the successor of a worker that died.
# dask has glibc give memory back so eagerly that a tenth of a training step is spent on getting it again. Nobody asks
# what a worker does each hundredth of a second, or for a thousand old messages. Silent workers are looked for below.
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
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.system-monitor.log-length": 10,
    "distributed.diagnostics.computations.max-history": 1,
}


_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
"""How many threads TensorFlow and PyTorch give one operation; JAX has no such setting."""
_NO_WINDOWS = {"MPLBACKEND": "agg"}
"""For Matplotlib: the backend of a notebook that calls lsml may be missing in a worker."""

_LOOPBACK = "127.0.0.1"


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


class LocalWorkers(Workers):
    """A local cluster of `count` worker processes; each dies with this process.

    Leaving kills them, whatever has become of them.

    Args:
        count: 0 means `a_gpu` workers a GPU, or one worker where there is no GPU.
        scratch: the folder of their log and of what they write for themselves.
        trial_timeout: seconds after which an attempt has failed; 0 for none.
        dashboard: given a line with the address of dask's pages, which are served at loopback; None for no pages.
    """

    def __init__(
        self,
        count: int,
        *,
        scratch: Path,
        a_gpu: int = 1,
        trial_timeout: float = 0.0,
        dashboard: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(trial_timeout=trial_timeout)
        self._scratch, self._dashboard = scratch, dashboard
        self._nannies: list[_Nanny] = []
        self._gpus = gpu_ids()
        self._count = count or a_gpu * len(self._gpus) or 1

    @classmethod
    def of(cls, settings: StudySettings, *, scratch: Path, dashboard: Callable[[str], None] | None) -> Self:
        """As many as a study is to have."""
        each, timeout = settings.workers_per_gpu, settings.trial_timeout
        return cls(settings.workers, scratch=scratch, a_gpu=each, trial_timeout=timeout, dashboard=dashboard)

    @staticmethod
    def check_dashboard(*, asked: bool) -> None:
        """Raises ConfigError where it is asked for, and the package that draws dask's pages is not installed."""
        try:
            if asked:
                import distributed.dashboard.scheduler  # noqa: F401
        except ImportError:
            raise ConfigError("--dashboard", "needs the package bokeh", "pip install 'lsml[dashboard]'") from None

    @property
    def count(self) -> int:
        return self._count

    def _open(self) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._closing.enter_context(dask.config.set(_DASK_SETTINGS))
        with without_hangups():
            # Python's own process that tidies up after others ignores the other signals of a terminal that closes.
            resource_tracker.ensure_running()
        security = Security.temporary()
        pages = {"dashboard": True, "dashboard_address": f"{_LOOPBACK}:0"} if self._dashboard else {"dashboard": False}
        self._cluster = SpecCluster(
            scheduler={
                "cls": Scheduler if self._dashboard else TlsScheduler,
                "options": {"host": _LOOPBACK, "port": 0, "security": security, **pages},
            },
            security=security,
            silence_logs=logging.CRITICAL,
            # That is done below, where this process's end does not wait for it.
            shutdown_on_close=False,
        )
        self._closing.callback(self._quietly, self._cluster.close)
        self._client = Client(self._cluster, security=security, set_as_default=False)
        self._closing.callback(self._quietly, self._client.close)
        self._client.register_plugin(Preparation(self._scratch / "workers.log"))
        self._cluster.worker_spec.update({index: self._nanny(index, security) for index in range(self._count)})
        self._cluster.scale(self._count)
        if self._dashboard:
            self._dashboard(f"dask's dashboard, open to all users of this machine: {self._cluster.dashboard_link}")

    def _nanny(self, index: int, security: Security) -> dict[str, Any]:
        # Two networks that each spread over all cores are slower than two that share them out.
        threads = str(max(1, cpu_count() // self._count))
        environment = {name: os.environ.get(name, threads) for name in _THREADS} if self._count > 1 else {}
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
                "memory_limit": f"{_MEMORY_SHARE / self._count:.3f}",
                "worker_class": TlsWorker,
                "dashboard": False,
                "local_directory": str(self._scratch),
                "security": security,
                "silence_logs": logging.CRITICAL,
            },
        }

    def _wait_for_start(self) -> None:
        end = time.monotonic() + START_SECONDS
        while len(self._usable()) < self._count:
            ended = any(nanny.status in (Status.closed, Status.failed) for nanny in self._nannies)
            if ended or time.monotonic() > end:
                raise StudyError("study", "its workers do not start", f"see {self._scratch / 'workers.log'}")
            time.sleep(POLL_SECONDS)

    def _close(self) -> None:
        """Ends workers and cluster, and leaves no process."""
        with deferred():
            for nanny in self._nannies:
                # Else it starts a successor for what is killed now.
                nanny.close_gracefully()
            # A worker in the middle of a training step does not listen; it holds nothing that is not on disk.
            _kill(self.pids())
            self._closing.close()
            end = time.monotonic() + CLOSE_SECONDS
            while (left := self.pids()) and time.monotonic() < end:
                _kill(left)
                time.sleep(POLL_SECONDS)

    def pids(self) -> list[int]:
        """The process ids of the live workers."""
        return list(_pids(self._nannies))

    def place(self, address: str) -> str:
        names = [str(nanny.name) for nanny in self._nannies if nanny.worker_address == address]
        return f"{next(iter(names), address)} on {platform.node()}"

    def absence(self, seconds: float) -> StudyError:
        why = f"no worker has been alive for {seconds:.0f} s"
        return StudyError("study stopped", why, f"see {self._scratch / 'workers.log'}, then run the same command again")

    def _usable(self) -> Collection[str]:
        """Those whose nannies know that they are up, too: one that dies before has no successor, and has no name."""
        up = {nanny.worker_address for nanny in self._nannies if nanny.status == Status.running}
        return [address for address in self._live() if address in up]

    def _tend(self, live: Mapping[str, Any]) -> None:
        if len(self._cluster.workers) < self._count:
            # dask has given up a place for a worker, because the successor took too long.
            self._cluster.scale(self._count)

    def _fate(self, address: str) -> str:
        return ""

    def _end(self, address: str) -> None:
        # The scheduler may know of a worker before its nanny does, and a nanny for longer than the scheduler.
        nanny = self._live().get(address, {}).get("nanny")
        of_it = [found for found in self._nannies if found.worker_address == address or found.address_safe == nanny]
        _kill(_pids(of_it))

    def _died(self, attempt: int, address: str, reason: str) -> Failed | Lost:
        """Lost for that reason; failed where the worker was ended for its memory, which it would take again."""
        for nanny in self._nannies:
            if taken := nanny.outgrown.get(address):
                used = f"out of memory: the worker had grown to {taken / _GIGABYTE:.1f} GB"
                fix = "lower training.batch_size or study.workers"
                return Failed(attempt, f"{used}; {fix}", OutOfMemory("trial", used, fix))
        return Lost(attempt, reason)


def _pids(nannies: Iterable[_Nanny]) -> Iterator[int]:
    for nanny in nannies:
        # dask's own thread may be forgetting a process that has died.
        with contextlib.suppress(AttributeError):
            if pid := nanny.pid:
                yield pid


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
