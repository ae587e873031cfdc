"""The workers themselves: what becomes of a trial whose worker is gone before it began."""

import time
from pathlib import Path

from lsml.config import TrainConfig
from lsml.study.workers import Lost, Workers
from lsml.trial import Report, TrialOutcome, TrialTask


def _never(task: TrialTask, report: Report) -> TrialOutcome:
    raise AssertionError("there is no worker to run this")


def test_a_trial_for_a_worker_that_is_gone_is_lost(tmp_path: Path, monkeypatch) -> None:
    """Handed to an address at which no worker lives, an attempt comes back as lost, and does not wait for ever."""
    monkeypatch.chdir(tmp_path)
    with Workers(1, scratch=tmp_path) as workers:
        workers.submit(7, _never, TrialTask(TrainConfig(), None, None), "tls://127.0.0.1:1")  # type: ignore[arg-type]
        message, end = None, time.monotonic() + 60
        while message is None and time.monotonic() < end:
            message = workers.next(0.2)
    assert isinstance(message, Lost)
    assert message.attempt == 7
