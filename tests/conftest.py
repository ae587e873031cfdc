"""What tests of several rooms share: their order, an empty MLflow store, and statistics of made-up bands."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from lsml.data.statistics import PERCENTS, BandStatistics
from tests import garbage
from tests.bands import LANDSLIDE4SENSE, N_BANDS, SENSOR, SENSOR_NAME
from tests.eager import eagerly

_LONGEST = (
    "end_to_end/test_backends.py",
    "end_to_end/test_few_patches.py",
    "end_to_end/test_evaluate.py",
    "end_to_end/",
    "study/",
    "contracts/",
    "training/",
    "models/",
    "workflows/",
    "test_api.py",
    "tracking/",
    "test_architecture.py",
    "audit/",
)
"""What is run first, so that no process ends up alone with a long file."""

_MEMORY, _ROOM = Path("/dev/shm"), 4e9


def pytest_configure() -> None:
    """Has tests write into memory, if there is room, for databases wait for a disk longer than these tests compute.

    Has signals act by default: what `nohup` has this process ignore, those that tests start would ignore too.
    """
    garbage.collect_seldom()
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what holds of Landslide4Sense alone, if patches are others; puts the longest files first."""
    if SENSOR_NAME != LANDSLIDE4SENSE:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(LANDSLIDE4SENSE)])
        items[:] = [item for item in items if not item.get_closest_marker(LANDSLIDE4SENSE)]

    def rank(item: pytest.Item) -> int:
        places = (place for place, start in enumerate(_LONGEST) if f"/tests/{start}" in item.path.as_posix())
        return next(places, len(_LONGEST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Has the garbage collector leave alone what the imports made, and migrations read once where there are such.

    Optuna loads alembic, which reads them, when it opens its first database.
    """
    if {"mlflow", "optuna"} & sys.modules.keys():
        from tests import migrations

        migrations.read_once()
    garbage.keep()


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_stays() -> None:
    """What the files before this one have loaded is not looked through again: Keras looks before each network."""
    garbage.keep()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all pytest processes of this session see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def new_store(shared: Path) -> Callable[[Path], str]:
    """Puts an MLflow database without runs, as lsml makes it, into a folder, and gives its URI.

    It is a copy of one: MLflow takes longer to make the tables than most tests take.
    """
    original = shared / "store" / "mlflow.db"
    with FileLock(shared / "store.lock"):
        if not original.exists():
            _make_store(original)

    def put(folder: Path) -> str:
        copy = shutil.copy(original, folder)
        with closing(sqlite3.connect(copy)) as database, database:
            change = "update experiments set artifact_location = replace(artifact_location, ?, ?)"
            database.execute(change, (str(original.parent), str(folder)))
        return f"sqlite:///{folder / 'mlflow.db'}"

    return put


def _make_store(path: Path) -> None:
    from lsml.tracking.store import open_client

    path.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        open_client()


@pytest.fixture(scope="module")
def without_tracing() -> Iterator[None]:
    """For files whose trainings are short, and whose subject is what comes of them.

    `training/test_trainer.py` and all commands in processes of their own train as users do.
    """
    with eagerly():
        yield


@pytest.fixture(scope="session")
def statistics() -> BandStatistics:
    """Bands with means 1, 1.1, 1.2..., standard deviation .5, from 0 to 4, but a last one that is always 3."""
    others = N_BANDS - 1
    tenths = np.arange(others) / 10
    return BandStatistics(
        SENSOR,
        mean=(*(1 + tenths).tolist(), 3.0),
        std=(*[0.5] * others, 0.0),
        minimum=(*[0.0] * others, 3.0),
        maximum=(*[4.0] * others, 3.0),
        median=(*(0.9 + tenths).tolist(), 3.0),
        quantiles=tuple((*[percent / 25] * others, 3.0) for percent in PERCENTS),
    )
