"""Two thousand trials: what each leaves in the process of the coordinator."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from lsml.training.outcome import Attempt
from tests.study.conftest import counted, runs
from tests.study.sleeping import sleeping
from tests.study.test_tune import Listener, run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

TRIALS, SETTLED = 2000, 400
"""How many there are, and after how many the libraries have loaded and cached what they load and cache once."""


class Sample(NamedTuple):
    """The process after so many trials; `resident` is in kilobytes."""

    trials: int
    descriptors: int
    threads: int
    resident: float


class Sampler(Listener):
    """Looks at this process after each fiftieth trial."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[Sample] = []

    def trial_ended(self, attempt: Attempt, *told: Any) -> None:
        super().trial_ended(attempt, *told)
        if len(self.ended) % 50 == 0:
            own = psutil.Process()
            counts = (len(self.ended), own.num_fds(), own.num_threads())
            self.samples.append(Sample(*counts, own.memory_info().rss / 1000))
            if len(self.ended) % 200 == 0:
                print(self.samples[-1], flush=True)  # noqa: T201


def test_two_thousand_trials_leave_nothing_open(folder: Path, patches: Path) -> None:
    """Descriptors and threads are as many after 2,000 as after 400; of memory each trial takes less than 10 kB."""
    listener = Sampler()
    result = run(patches, sleeping, listener, trials=TRIALS, workers=2, sampler={"name": "random"})
    assert sum(result.counts.values()) == len(counted("s")) == TRIALS
    assert runs("RUNNING") == []
    settled = [sample for sample in listener.samples if sample.trials >= SETTLED]
    slope, _ = np.polyfit([s.trials for s in settled], [s.resident for s in settled], 1)
    print(f"\nmemory: {slope:.1f} kB a trial; {settled[0]}, {settled[-1]}")  # noqa: T201
    for count in ("descriptors", "threads"):
        values = [getattr(sample, count) for sample in settled]
        # Connections come and go; one left by each trial would be 1,600.
        assert max(values) - values[0] <= 10, count
    assert slope < 10
