"""dask clusters as their users start them, on loopback: `dask scheduler` and `dask worker`, as warmed-up forks."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from distributed import Client

from tests import warm
from tests.processes import PATIENCE, wait_until

ROOT = Path(__file__).parents[1]
SETTINGS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
"""What a scheduler needs in its environment."""


class Cluster:
    """A scheduler, and the workers that a test starts.

    Attributes:
        file: the scheduler's.
        address: where it listens.
        scheduler: its process.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], preload: str) -> None:
        self._folder, self._started = folder, []
        self.file = folder / "scheduler.json"
        arguments = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        self.scheduler = self._start("scheduler", *arguments, *self._preload("scheduler", preload), env=settings)
        wait_until(lambda: self.file.exists() and self.file.read_text())
        self.address = str(json.loads(self.file.read_text())["address"])

    def worker(self, name: str, *arguments: str, threads: int = 1, preload: str = "", **env: str) -> None:
        """Starts `dask worker` of that name; `preload` is Python that it runs first."""
        own = ("--name", name, "--nthreads", str(threads), "--host", "127.0.0.1", "--no-dashboard")
        self._start("worker", self.address, *own, *self._preload(name, preload), *arguments, env=env)

    def _preload(self, name: str, code: str) -> tuple[str, str]:
        file = self._folder / f"{name}.py"
        file.write_text(code)
        return "--preload", str(file)

    def _start(self, kind: str, *arguments: str, env: Mapping[str, str]) -> BaseProcess:
        log = self._folder / f"{kind}-{len(self._started)}.log"
        process = warm.start_module(
            f"distributed.cli.dask_{kind}",
            *arguments,
            folder=self._folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            streams=(log, log),
        )
        self._started.append(process)
        return process

    def working(self) -> dict[str, int]:
        """How many tasks each worker has, by name."""
        with Client(self.address, set_as_default=False) as client:
            tasks = client.processing()
            return {worker["name"]: len(tasks.get(at, ())) for at, worker in client.scheduler_info()["workers"].items()}

    def pids(self) -> dict[str, int]:
        """The process of each worker, by name, as a task on it says: it has to be free for that."""
        with Client(self.address, set_as_default=False) as client:
            workers = client.scheduler_info()["workers"].items()
            tasks = {at["name"]: client.submit(os.getpid, workers=[address], pure=False) for address, at in workers}
            return {name: task.result(PATIENCE) for name, task in tasks.items()}

    def end(self) -> None:
        """Kills all of it; workers that a nanny has started are no children of hers here."""
        pids = {process.pid for process in self._started if process.is_alive()}
        if self.scheduler.is_alive():
            with Client(self.address, set_as_default=False) as client:
                pids |= set(client.run(os.getpid, on_error="ignore").values())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def cluster(folder: Path, *, preload: str = "", **settings: str) -> Iterator[Cluster]:
    """A cluster without workers yet, whose scheduler has `SETTINGS` or these in its environment, and runs `preload`."""
    folder.mkdir(exist_ok=True)
    started = Cluster(folder, SETTINGS | settings, preload)
    try:
        yield started
    finally:
        started.end()
