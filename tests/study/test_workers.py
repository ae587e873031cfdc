"""The workers themselves: what becomes of a trial whose worker is gone before it began."""

import contextlib
import gc
import itertools
import os
import platform
import re
import signal
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import psutil
import pytest
from distributed import Queue
from distributed.comm import CommClosedError
from distributed.nanny import WorkerProcess
from distributed.system import MEMORY_LIMIT

from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps
from lsml.errors import OutOfMemory
from lsml.study import local_workers as local
from lsml.study import worker as running
from lsml.study import workers as module
from lsml.study.local_workers import LocalWorkers
from lsml.study.workers import Failed, Finished, Lost, Message, Reported, Workers
from lsml.training.outcome import Report, StepEvent, TrialFunction, TrialOutcome, TrialTask
from tests import warm
from tests.processes import PATIENCE, children, wait_until

_Found = TypeVar("_Found")


def _never(task: TrialTask, report: Report) -> TrialOutcome:
    raise AssertionError("there is no worker to run this")


def test_a_trial_for_a_worker_that_is_gone_is_lost(warmed_up: Path) -> None:
    """Handed to an address at which no worker lives, an attempt comes back as lost, and does not wait for ever."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        workers.submit(7, _never, TrialTask(TrainConfig(), None, None), "tls://127.0.0.1:1")  # type: ignore[arg-type]
        message = _message(workers)
    assert isinstance(message, Lost)
    assert message.attempt == 7


def test_workers_that_nobody_has_waited_for_are_left_without_a_process(
    warmed_up: Path,
) -> None:
    """Begun twice, there is one of them; who leaves while it loads Keras leaves none behind, and may leave again."""
    workers = LocalWorkers(1, scratch=warmed_up)
    with contextlib.ExitStack() as stack:
        stack.push(workers)
        workers.begin()
        workers.begin()
        wait_until(lambda: len(workers.pids()) == 1)
        (pid,) = workers.pids()
    assert not psutil.pid_exists(pid)
    workers.__exit__()


def test_a_process_that_dask_is_forgetting_has_no_id(tmp_path: Path) -> None:
    """dask's thread forgets one that has died while another asks for it."""

    class Forgetting:
        @property
        def pid(self) -> int:
            raise AttributeError("'NoneType' object has no attribute 'pid'")

    workers = LocalWorkers(1, scratch=tmp_path)
    workers._nannies = [Forgetting(), SimpleNamespace(pid=None), SimpleNamespace(pid=7)]  # type: ignore[list-item]
    assert workers.pids() == [7]


def _answers_plainly(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
        try:
            return connection.recv(16)
        except OSError:
            return b""


def test_no_port_tells_other_users_of_a_study(warmed_up: Path) -> None:
    """What listens, in this process and in the worker, is dask's TLS alone: nobody is answered in plain HTTP."""
    before = {found.laddr for found in psutil.Process().net_connections() if found.status == psutil.CONN_LISTEN}
    with LocalWorkers(1, scratch=warmed_up) as workers:
        workers.devices()
        processes = [psutil.Process(), *map(psutil.Process, workers.pids())]
        found = [entry for process in processes for entry in process.net_connections()]
        listening = {entry.laddr for entry in found if entry.status == psutil.CONN_LISTEN} - before
        # The scheduler, the worker, and what started it.
        assert len(listening) == 3
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert not any(_answers_plainly(address.port).startswith(b"HTTP") for address in listening)


def test_a_worker_whose_successor_takes_too_long_is_started_anew(
    warmed_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask gives up a place for a worker where nobody came back in time; the study has to get a worker all the same.

    No process starts within the millisecond that dask is given here.
    """
    monkeypatch.setitem(local._DASK_SETTINGS, "distributed.deploy.lost-worker-timeout", "1ms")
    with LocalWorkers(1, scratch=warmed_up) as workers:
        workers.devices()
        (before,) = workers.pids()
        os.kill(before, signal.SIGKILL)
        assert _successor(workers, before)
        _wait_for_one(workers)


@pytest.fixture
def warmed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which workers start warmed up."""
    monkeypatch.chdir(tmp_path)
    with warm.warm_workers():
        yield tmp_path


def _tended(workers: Workers, find: Callable[[], _Found]) -> _Found:
    """What is found in the end, while the workers are looked after as by a coordinator."""
    end = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < end
        assert workers.next(0.1) is None
    return found


def _wait_for_one(workers: Workers) -> str:
    """The address of a worker that may have a trial."""
    return _tended(workers, workers.free)[0]


def _successor(workers: LocalWorkers, before: int) -> int:
    """The process that comes in the place of another one."""
    return _tended(workers, lambda: [pid for pid in workers.pids() if pid != before])[0]


def _begin(workers: Workers, function: TrialFunction, attempt: int = 0, data: object = None) -> None:
    address = _wait_for_one(workers)
    workers.submit(attempt, function, TrialTask(TrainConfig(), data, None), address)  # type: ignore[arg-type]


def _message(workers: Workers) -> Message:
    end = time.monotonic() + PATIENCE
    while (message := workers.next(0.1)) is None:
        assert time.monotonic() < end
    return message


def _outcome(value: float = 0.5, **metrics: float) -> TrialOutcome:
    return TrialOutcome(value, "finished", Steps("epoch", 1), 1, 0.5, metrics, {})


def _at_once(task: TrialTask, report: Report) -> TrialOutcome:
    return _outcome()


def _stuck(task: TrialTask, report: Report) -> TrialOutcome:
    time.sleep(10 * PATIENCE)
    raise AssertionError


def _infinite(task: TrialTask, report: Report) -> TrialOutcome:
    return _outcome(float("inf"))


def _infinite_step(task: TrialTask, report: Report) -> TrialOutcome:
    report(StepEvent(1, {"val_f1": 0.5, "loss": float("inf")}))
    return _outcome()


def _without_a_number(task: TrialTask, report: Report) -> TrialOutcome:
    return _outcome(float("nan"))


def _undefined_metric(task: TrialTask, report: Report) -> TrialOutcome:
    return _outcome(val_object_precision=float("nan"))


def test_infinite_scores_fail_their_trial(warmed_up: Path) -> None:
    """An infinite F1 would be the best of all; other metrics may be undefined, F1 may not."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        said = []
        for function in (_infinite, _infinite_step, _without_a_number, _undefined_metric):
            _begin(workers, function)
            said.append(_message(workers))
    fix = "is no score; lower training.learning_rate"
    assert said[:3] == [
        Failed(0, f"metric val_f1: inf {fix}"),
        Failed(0, f"metric loss: inf {fix}"),
        Failed(0, f"metric val_f1: nan {fix}"),
    ]
    assert isinstance(said[3], Finished)


def test_a_step_reported_before_the_attempt_is_noted_counts(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a worker may report its first step before `submit` has returned; it waited for ever then."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        submit, log = workers._client.submit, workers._client.get_events

        def slow(*given: object, **options: object) -> object:
            future = submit(*given, **options)
            wait_until(lambda: bool(log(workers._topic)))
            # The scheduler has it; it is in this process too, and needs a moment to be told.
            time.sleep(0.2)
            return future

        monkeypatch.setattr(workers._client, "submit", slow)
        _begin(workers, _reporting)
        steps = []
        while isinstance(said := _message(workers), Reported):
            steps.append((said.attempt, said.step))
            workers.answer(said.attempt, go_on=True)
        assert steps == [(0, 1), (0, 2), (0, 3), (0, 4)]
        assert isinstance(said, Finished)


class _Pack:
    """Opens its file where it is unpickled, as a packed split does."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("rb")

    def __reduce__(self) -> tuple[type["_Pack"], tuple[Path]]:
        return _Pack, (self.path,)


def test_trials_leave_no_open_files_behind(warmed_up: Path) -> None:
    """What a worker opens for a trial is opened by nobody else: of 40 trials none leaves a file."""
    (warmed_up / "pack").touch()
    pack, counts = _Pack(warmed_up / "pack"), []
    with LocalWorkers(1, scratch=warmed_up) as workers:
        for attempt in range(40):
            _begin(workers, _at_once, attempt, pack)
            assert isinstance(_message(workers), Finished)
            counts.append(psutil.Process().num_fds())
    pack.file.close()
    # Connections that come and go make a few; a file a trial would make 30. What other tests had open may be closed.
    assert counts[39] - counts[9] <= 5


def _reporting(task: TrialTask, report: Report) -> TrialOutcome:
    for step in range(1, 5):
        report(StepEvent(step, {"val_f1": 0.5}))
    return _outcome()


def _visible_gpus() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_worker_sees_its_own_gpu(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a GPU, or as many as are asked for; before Keras is loaded there. A trial does without the GPUs' driver."""
    monkeypatch.setattr(local, "gpu_ids", lambda: ["0", "GPU-7"])
    assert LocalWorkers(0, scratch=warmed_up).count == 2
    assert LocalWorkers(1, scratch=warmed_up, a_gpu=2).count == 1
    with LocalWorkers(0, scratch=warmed_up, a_gpu=2) as workers:
        seen = workers._client.run(_visible_gpus)
        _begin(workers, _reporting)
        assert isinstance(_message(workers), Reported)
    assert sorted(seen.values()) == ["0", "0", "GPU-7", "GPU-7"]


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment names; with one, those that it names, or all."""
    import pynvml

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert running.gpu_ids() == []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    assert running.gpu_ids() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert running.gpu_ids() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert running.gpu_ids() == ["0", "1", "2"]


def _losing_answers(task: TrialTask, report: Report) -> TrialOutcome:
    """Reports until it is to stop; the connection breaks as the first answer is on its way."""
    get, lost = Queue.get, []

    def losing(self: Queue, timeout: float) -> object:
        answer = get(self, timeout=timeout)
        if not lost:
            lost.append(answer)
            raise CommClosedError("in <TLS>: Stream is closed")
        return answer

    running._ANSWER_POLL_SECONDS = running._REPEAT_SECONDS = 0.05
    Queue.get = losing
    steps = itertools.takewhile(lambda step: report(StepEvent(step, {"val_f1": 0.5})), itertools.count(1))
    return _outcome(len(list(steps)) / 10)


def test_an_answer_that_is_lost_is_given_again(warmed_up: Path) -> None:
    """The worker reports its step anew until it knows; each step comes once, and no answer counts for another step."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        _begin(workers, _losing_answers)
        steps = []
        while isinstance(message := _message(workers), Reported):
            steps.append(message.step)
            # Meanwhile it reports the step several times more.
            time.sleep(0.5)
            workers.answer(0, go_on=message.step < 4)
    assert steps == [1, 2, 3, 4]
    assert isinstance(message, Finished)
    assert message.outcome.value == 0.3


def test_trials_that_have_ended_take_no_memory(warmed_up: Path) -> None:
    """Less than 15 kB each of 16, after 4; dask would keep a queue of each, and their last thousand messages.

    Among those are tasks, here of 6 kB as those of a study, each of them twice: 39 kB a trial.
    """
    before = 0
    with LocalWorkers(1, scratch=warmed_up) as workers:
        tracemalloc.start()
        for attempt in range(20):
            _begin(workers, _reporting, attempt, bytes(6000))
            while isinstance(_message(workers), Reported):
                workers.answer(attempt, go_on=True)
            if attempt == 3:
                before = _traced_bytes()
        # What dask's threads are about to drop goes too.
        wait_until(lambda: (_traced_bytes() - before) / 16 < 15_000)
        tracemalloc.stop()


def _traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_a_trial_over_its_time_fails_and_its_worker_is_replaced(warmed_up: Path) -> None:
    """One that hangs would keep its worker for ever."""
    with LocalWorkers(1, scratch=warmed_up, trial_timeout=1.0) as workers:
        before = workers.pids()
        _begin(workers, _stuck)
        assert _message(workers) == Failed(0, "longer than 1 s (study.trial_timeout)")
        workers._trial_timeout = PATIENCE
        _begin(workers, _at_once, 1)
        assert workers.pids() != before
        assert isinstance(_message(workers), Finished)


def test_a_worker_that_outlived_its_end_is_ended_again(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is given up and still there, under an address of which its nanny does not know, would never be free."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        (before,) = workers.pids()
        (address,) = workers.free()
        (nanny,) = workers._nannies
        monkeypatch.setattr(nanny.process, "worker_address", None)
        workers._given_up.add(address)
        assert workers.free() == []
        _begin(workers, _at_once)
        assert before not in workers.pids()
        assert isinstance(_message(workers), Finished)


def test_a_worker_that_hangs_is_replaced(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by a signal, it sends no heartbeat; its attempt is lost, and nothing more comes of it."""
    with LocalWorkers(1, scratch=warmed_up) as workers:
        (before,) = workers.pids()
        _begin(workers, _reporting)
        assert isinstance(_message(workers), Reported)
        os.kill(before, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_SILENT_SECONDS", 2.0)
            assert _message(workers) == Lost(0, "no sign of life from the worker for 2 s")
        _begin(workers, _at_once, 1)
        assert before not in workers.pids()
        assert isinstance(message := _message(workers), Finished)
        assert message.attempt == 1


def _growing(task: TrialTask, report: Report) -> TrialOutcome:
    """Grows to 1.6 GB, above the 95 % at which it is ended, and no further however long that takes."""
    kept = []
    while psutil.Process().memory_info().rss < 1.55e9:
        kept.append(np.ones(5_000_000))
    time.sleep(10 * PATIENCE)
    raise AssertionError


def test_a_worker_that_outgrows_its_memory_fails_its_trial(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same configuration would take as much again; the next trial has a new worker."""
    monkeypatch.setattr(local, "_MEMORY_SHARE", 1.6e9 / MEMORY_LIMIT)
    with LocalWorkers(1, scratch=warmed_up) as workers:
        _begin(workers, _growing)
        message = _message(workers)
        assert isinstance(message, Failed)
        assert isinstance(message.error, OutOfMemory)
        assert re.fullmatch(
            r"out of memory: the worker had grown to 1\.[56] GB; lower training.batch_size or study.workers",
            message.reason,
        )
        _begin(workers, _at_once, 1)
        assert isinstance(_message(workers), Finished)


def test_a_worker_that_dies_as_the_study_begins_has_a_successor(
    warmed_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine so busy that what looks after the worker learns seconds later that it is up."""
    monkeypatch.setattr(WorkerProcess, "_init_msg_interval", 3.0)
    with LocalWorkers(1, scratch=warmed_up) as workers:
        (first,) = workers.pids()
        os.kill(first, signal.SIGKILL)
        assert _successor(workers, first)
        # Nor has it a trial before that: if it died of it, nobody might come after it.
        address = _wait_for_one(workers)
        assert workers.place(address) == f"0 on {platform.node()}"


def test_leaving_hides_no_error_and_leaves_no_process(warmed_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a worker's successor is on its way and does not come up, on a machine that takes its time."""
    slow = warmed_up / "slow.py"
    slow.write_text(
        "import pathlib, time\nif pathlib.Path('slow').exists(): time.sleep(120); pathlib.Path('up').touch()\n"
    )
    monkeypatch.setitem(local._DASK_SETTINGS, "distributed.worker.preload", [str(slow)])
    close = local.Client.close
    monkeypatch.setattr(local.Client, "close", lambda self, timeout=None: (time.sleep(1), close(self, timeout)))

    def study() -> None:
        with LocalWorkers(1, scratch=warmed_up) as workers:
            (first,) = workers.pids()
            Path("slow").touch()
            os.kill(first, signal.SIGKILL)
            _successor(workers, first)
            raise ValueError("of the study")

    before = children()
    with pytest.raises(ValueError, match="of the study"):
        study()
    wait_until(lambda: children() <= before)
    # Had it waited for the successor, that would have come up.
    assert not Path("up").exists()
