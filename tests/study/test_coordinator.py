"""The coordinator where no worker comes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lsml.errors import StudyError
from lsml.study.coordinator import Coordinator


class NoWorkers:
    """A cluster whose processes all died, as when Keras cannot be loaded."""

    def free(self) -> list[str]:
        return []

    def next(self, timeout: float) -> None:
        return None


def test_a_study_without_a_living_worker_stops_and_names_the_log(tmp_path: Path) -> None:
    """Nothing runs and nobody is free for longer than the patience: exit code 6, both stores settled, the log named."""
    settled = []
    slots = SimpleNamespace(close_open=settled.append, states=dict, ended=lambda: 0, wanted=lambda: [0])
    stage = SimpleNamespace(queue=slots)
    recorder = SimpleNamespace(settle=lambda states, reason: settled.append(reason))
    coordinator = Coordinator(
        stage,  # type: ignore[arg-type]
        workers=NoWorkers(),  # type: ignore[arg-type]
        recorder=recorder,  # type: ignore[arg-type]
        listener=SimpleNamespace(),  # type: ignore[arg-type]
        data=None,  # type: ignore[arg-type]
        max_failures=5,
        folder=tmp_path,
        patience=0.05,
    )
    with pytest.raises(StudyError, match=r"no worker has been alive for 0 s; see .*workers\.log"):
        coordinator.run()
    assert settled == ["coordinator lost"] * 2 + ["study stopped"] * 2
