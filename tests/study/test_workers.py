"""The workers themselves: what becomes of a trial whose worker is gone before it began."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from lsml.config.schema import TrainConfig
from lsml.errors import StudyError
from lsml.study import workers as module
from lsml.study.workers import Failed, Lost, Workers
from lsml.training.outcome import Report, TrialOutcome, TrialTask


def _never(task: TrialTask, report: Report) -> TrialOutcome:
    raise AssertionError("there is no worker to run this")


def test_a_trial_for_a_worker_that_is_gone_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed to an address at which no worker lives, an attempt comes back as lost, and does not wait for ever."""
    monkeypatch.chdir(tmp_path)
    with Workers(1, scratch=tmp_path) as workers:
        workers.submit(7, _never, TrialTask(TrainConfig(), None, None), "tls://127.0.0.1:1")  # type: ignore[arg-type]
        message, end = None, time.monotonic() + 60
        while message is None and time.monotonic() < end:
            message = workers.next(0.2)
    assert isinstance(message, Lost)
    assert message.attempt == 7


def test_a_worker_whose_successor_takes_too_long_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask gives up a place for a worker where nobody came back in time; the study has to get a worker all the same.

    No process starts within the tenth of a second that dask is given here.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(module._DASK_SETTINGS, "distributed.deploy.lost-worker-timeout", "100ms")
    with Workers(1, scratch=tmp_path) as workers:
        workers.devices()
        (before,) = workers.pids()
        os.kill(before, signal.SIGKILL)
        found, end = [before], time.monotonic() + 100
        while (found in ([], [before]) or not workers.free()) and time.monotonic() < end:
            workers.next(0.2)
            found = workers.pids()
        assert workers.free()
        assert found not in ([], [before])


def _describe_process(task: TrialTask, report: Report) -> TrialOutcome:
    """How many pages of memory 100 arrays of a megabyte cost that are made and dropped in turn; Keras's settings."""
    import keras
    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(2**20, np.uint8)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    raise StudyError("pages", "kept" if pages < 100 * 256 / 4 else f"{pages}", keras.config.floatx())


def test_a_worker_keeps_memory_and_the_settings_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask would have 256 pages of 4 kB fetched anew for each array; Keras's own file, other sums.

    The worker has loaded Keras before its trial comes, or does so then.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text('{"floatx": "float64"}')
    with Workers(1, scratch=tmp_path) as workers:
        workers.submit(0, _describe_process, TrialTask(TrainConfig(), None, None), workers.free()[0])  # type: ignore[arg-type]
        message, end = None, time.monotonic() + 60
        while message is None and time.monotonic() < end:
            message = workers.next(0.2)
    assert isinstance(message, Failed)
    assert message.reason == "pages: kept; float32"


def _draw(task: TrialTask, report: Report) -> TrialOutcome:
    import lsml.plots

    raise StudyError("drawn", lsml.plots.__name__, "nothing")


def test_a_worker_draws_whatever_backend_matplotlib_is_to_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that calls lsml has a backend of its own, which the environment of the workers may lack."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    with Workers(1, scratch=tmp_path) as workers:
        workers.devices()
        workers.submit(0, _draw, TrialTask(TrainConfig(), None, None), workers.free()[0])  # type: ignore[arg-type]
        message, end = None, time.monotonic() + 60
        while message is None and time.monotonic() < end:
            message = workers.next(0.2)
    assert isinstance(message, Failed)
    assert message.reason == "drawn: lsml.plots; nothing"
