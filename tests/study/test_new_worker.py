"""A worker as users have it, an interpreter of its own: what it takes over from the process that starts it."""

import os
import resource
from collections.abc import Iterator

import psutil
import pytest

from lsml.errors import StudyError
from lsml.study.local_workers import LocalWorkers
from lsml.study.workers import Failed
from lsml.training.outcome import Report, TrialOutcome, TrialTask
from tests.processes import PATIENCE

from .test_workers import _begin, _message


def _variables() -> dict[str, str]:
    return dict(os.environ)


_SECRET = "canary-5e1f07"
_NAMED = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"),
    *("AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING"),
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorkers]:
    """It, started in an environment of which some settings are not for it."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "keras.json").write_text('{"floatx": "float64"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in _NAMED:
            patch.setenv(name, _SECRET)
        for name in ("LSML_STORAGE", "MLFLOW_TRACKING_URI", "https_proxy"):
            patch.setenv(name, f"http://me:{_SECRET}@127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
        patch.setenv("TOKENIZERS_PARALLELISM", "0")
        patch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
        patch.setenv("KERAS_HOME", str(folder))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        with LocalWorkers(1, scratch=folder) as workers:
            yield workers


def test_a_worker_has_no_passwords(worker: LocalWorkers) -> None:
    """Neither among its variables nor in what the system shows of how it was started; all others it has."""
    (pid,) = worker.pids()
    has = {"at start": psutil.Process(pid).environ(), "now": worker._client.submit(_variables).result(PATIENCE)}
    for variables in has.values():
        assert [name for name, value in variables.items() if _SECRET in value] == []
        assert (variables["MLFLOW_HTTP_REQUEST_TIMEOUT"], variables["TOKENIZERS_PARALLELISM"]) == ("7", "0")
    assert os.environ["PGPASSWORD"] == _SECRET


def _describe_process(task: TrialTask, report: Report) -> TrialOutcome:
    """How many pages of memory 100 arrays of a megabyte cost that are made and dropped in turn; Keras's settings."""
    import keras
    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(2**20, np.uint8)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    raise StudyError("pages", "kept" if pages < 100 * 256 / 4 else f"{pages}", keras.config.floatx())


def test_a_worker_keeps_memory_and_the_settings_of_keras(worker: LocalWorkers) -> None:
    """dask would have 256 pages of 4 kB fetched anew for each array; Keras's own file, other sums.

    The worker has loaded Keras before its trial comes, or does so then.
    """
    _begin(worker, _describe_process)
    message = _message(worker)
    assert isinstance(message, Failed)
    assert message.reason == "pages: kept; float32"


def _draw(task: TrialTask, report: Report) -> TrialOutcome:
    import lsml.plots

    raise StudyError("drawn", lsml.plots.__name__, "nothing")


def test_a_worker_draws_whatever_backend_matplotlib_is_to_have(worker: LocalWorkers) -> None:
    """A notebook that calls lsml has a backend of its own, which the environment of the workers may lack."""
    _begin(worker, _draw, 1)
    assert _message(worker) == Failed(1, "drawn: lsml.plots; nothing")
