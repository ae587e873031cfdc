"""The workers of a dask cluster that exists: a study borrows them, and leaves them as they were."""

import contextlib
import json
import logging
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker

from lsml.data.splits import StudyData
from lsml.errors import ConfigError, LsmlError, StorageError, in_one_line
from lsml.errors.signals import deferred
from lsml.names import VERSION
from lsml.study.worker import Inspection, inspect
from lsml.study.workers import POLL_SECONDS, START_SECONDS, Workers
from lsml.training.device import prepare
from lsml.training.outcome import TrialFunction, TrialTask

_CONNECT_SECONDS = 10.0
_RESTART_SECONDS = 30.0
"""How long dask's nanny may take to end a worker that hangs."""

# The others of a study's own cluster are for speed, or for what does not happen here: a trial is bound to its worker,
# which dask then does not steal it from, and starts no process.
_FAILURES = "distributed.scheduler.allowed-failures"
"""dask's setting of how many workers a task may take down. One that were run again would report its epochs again."""

_DIFFERENCES = {
    "lsml": ("version of lsml", f"install lsml {VERSION} there"),
    "backend": ("Keras backend", "set KERAS_BACKEND there"),
    "threads": ("number of threads", "start it with --nthreads 1"),
    "data": ("data", "let it see the folder of the packs, at the same path or as LSML_PACKS of its environment"),
}
"""By field of `Inspection`: what it is, and what to do about a worker that differs in it."""


class ClusterWorkers(Workers):
    """The workers of a cluster, as they come and go; each is inspected before its first trial.

    Leaving ends the study's tasks. What a worker is computing for one, it ends at its next epoch or fold.

    Args:
        scheduler: the address of the cluster's, such as `tcp://host:8786`, or the path of its scheduler file.
        most: how many trials may run at once; 0 for as many as there are workers.
        data: what each worker must have too.
        tell: given a line for each worker that is refused.
        trial_timeout: seconds after which an attempt has failed; 0 for none.
    """

    def __init__(
        self,
        scheduler: str | Path,
        *,
        most: int,
        data: StudyData,
        tell: Callable[[str], None],
        trial_timeout: float = 0.0,
    ) -> None:
        super().__init__(trial_timeout=trial_timeout)
        prepare()
        self._address = _address(scheduler) if isinstance(scheduler, Path) else scheduler
        self._most, self._tell = most, tell
        self._expected, self._packs = Inspection.expected(data.splits), pickle.dumps(data.splits)
        self._inspections: dict[str, Future[tuple[str, Inspection]]] = {}
        self._places: dict[str, str] = {}
        self._refusals: dict[str, str] = {}

    @property
    def count(self) -> int:
        """At most so many as are asked for, and as many as there are."""
        return min(self._most or len(self._places), len(self._places))

    def place(self, address: str) -> str:
        return self._places.get(address, address)

    def absence(self, seconds: float) -> LsmlError:
        if self._refusals:
            line = next(reversed(self._refusals.values()))
            return StorageError(self._what, f"none of its workers can be used: {line}", "the same command resumes")
        if self._inspections:
            why = f"its {len(self._inspections)} workers were busy with other work for {seconds:.0f} s"
            return StorageError(self._what, why, "wait until they are free, or start more; the same command resumes")
        start = f"dask worker {self._address} --nthreads 1 --memory-limit 0.9"
        return StorageError(self._what, f"has had no worker for {seconds:.0f} s", f"start some: {start}")

    @property
    def _what(self) -> str:
        return f"scheduler {self._address}"

    def _open(self) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        with self._answering("start it, or check the address"), warnings.catch_warnings():
            # Another version of dask is refused below.
            warnings.simplefilter("ignore")
            self._client = Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
            self._closing.callback(self._quietly, self._client.close)
            theirs = self._client.run_on_scheduler(version, "distributed")
            failures = self._client.run_on_scheduler(dask.config.get, _FAILURES)
        if theirs != (ours := version("distributed")):
            why = f"has dask {theirs}, and this environment {ours}"
            raise StorageError(self._what, why, "install the same version of dask in both")
        if failures:
            why = f"it runs a task again that took {failures} workers down"
            fix = "start it with DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 in its environment"
            raise ConfigError(self._what, why, fix)

    @contextlib.contextmanager
    def _answering(self, fix: str = "the same command resumes once it is back") -> Iterator[None]:
        """Raises StorageError where the scheduler does not answer within it, or not as dask's does."""
        try:
            yield
        except LsmlError:
            raise
        except Exception as error:
            raise StorageError(self._what, f"does not answer: {in_one_line(error)}", fix) from error

    def _wait_for_start(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self._places:
            live = self._live()
            self._tend(live)
            if time.monotonic() > end or (live and live.keys() == self._refusals.keys()):
                raise self.absence(START_SECONDS)
            time.sleep(POLL_SECONDS)

    def _close(self) -> None:
        with deferred():
            for handed in self._running.values():
                handed.future.cancel()
            self._closing.close()

    def _live(self) -> dict[str, Any]:
        if self._client.status in ("closing", "closed"):
            raise StorageError(self._what, "connection lost", "the same command resumes once it is back")
        with self._answering():
            return super()._live()

    def submit(self, attempt: int, function: TrialFunction, task: TrialTask, address: str) -> None:
        with self._answering():
            super().submit(attempt, function, task, address)

    def answer(self, attempt: int, *, go_on: bool) -> None:
        with self._answering():
            super().answer(attempt, go_on=go_on)

    def _usable(self) -> Collection[str]:
        room = not self._most or len(self._running) < self._most
        return self._live().keys() & self._places.keys() if room else ()

    def _tend(self, live: Mapping[str, Any]) -> None:
        """Inspects workers that are new, and forgets those that are gone."""
        for gone in self._inspections.keys() - live.keys():
            self._forget(gone)
        for address, worker in live.items():
            if address not in self._inspections:
                self._inspections[address] = self._client.submit(
                    inspect, self._packs, workers=[address], allow_other_workers=False, pure=False
                )
            elif address not in self._places and address not in self._refusals and self._inspections[address].done():
                self._admit(address, worker)

    def _forget(self, address: str) -> None:
        self._inspections.pop(address, None)
        self._places.pop(address, None)
        self._refusals.pop(address, None)

    def _admit(self, address: str, worker: Mapping[str, Any]) -> None:
        """Takes a worker that has been inspected, or refuses it in a line that says what differs."""
        inspection = self._inspections[address]
        raised = inspection.exception() if inspection.status == "error" else None
        if inspection.status == "cancelled" or isinstance(raised, KilledWorker):
            # It died meanwhile, and may be there again.
            self._forget(address)
            return
        if raised is None:
            host, found = inspection.result()
            refusal = self._difference(found)
        else:
            host, refusal = worker["host"], f"{in_one_line(raised)}; {_DIFFERENCES['lsml'][1]}"
        place = f"{worker['name']} on {host}"
        if not refusal:
            self._places[address] = place
            return
        self._refusals[address] = f"worker {place} is refused: {refusal}"
        self._tell(self._refusals[address])

    def _difference(self, found: Inspection) -> str:
        """What a worker differs in first, and what to do about it; empty where in nothing."""
        for name, there, here in zip(Inspection._fields, found, self._expected, strict=True):
            if there != here:
                what, fix = _DIFFERENCES[name]
                return f"its {what} is {there}, not {here}; {fix}"
        return ""

    def _fate(self, address: str) -> str:
        worker = self._live().get(address)
        return "" if worker is None or worker["nanny"] else "; its worker has no nanny, and is busy until it ends"

    def _end(self, address: str) -> None:
        """Has its nanny start it anew. In any case it is inspected again, which it answers once it is free."""
        nanny = self._live().get(address, {}).get("nanny")
        self._forget(address)
        self._given_up.discard(address)
        if nanny:
            restart = partial(self._client.restart_workers, [address], raise_for_error=False)
            threading.Thread(target=self._quietly, args=(restart,), daemon=True).start()


def _address(file: Path) -> str:
    """Of the scheduler that wrote a scheduler file.

    Raises:
        StorageError: the file cannot be read, or is none.
    """
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "start it with: dask scheduler --scheduler-file FILE"
        raise StorageError(f"scheduler file {file}", f"cannot be read: {in_one_line(error)}", fix) from None
