"""MLflow's UI over the stores of this folder, opened at a study."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lsml.errors import ConfigError
from lsml.jobs.sources import STATE_FOLDER
from lsml.tracking.pages import StudyPages, server_address, study_pages, study_runs
from lsml.tracking.runs import STUDY
from lsml.tracking.store import open_client, tracking_uri
from lsml.tracking.ui import free_port, serve


@dataclass(frozen=True)
class Ui:
    """A UI that answers.

    Attributes:
        address: of the server, such as `http://127.0.0.1:5000`.
        pages: of the study; None while the store has no study.
        wait: returns, or raises, when the server has ended; None where it was running before and goes on.
    """

    address: str
    pages: StudyPages | None
    wait: Callable[[], None] | None


@contextlib.contextmanager
def open_ui(study: str | None, *, port: int | None) -> Iterator[Ui]:
    """The tracking server that `MLFLOW_TRACKING_URI` names, else one of our own that ends on the way out.

    Args:
        study: whose pages to give, instead of the study that was under way last.
        port: of a server of our own, instead of the first free one from 5000 on.

    Raises:
        ConfigError: no such study.
        StorageError: the store cannot be used, the port is taken, or the server does not start.
    """
    client = open_client()
    pages = _pages(client, study)
    if address := server_address(tracking_uri()):
        yield Ui(address, pages, wait=None)
        return
    with serve(free_port(port), log=STATE_FOLDER / "ui.log") as server:
        yield Ui(server.address, pages, wait=server.wait)


def _pages(client: object, study: str | None) -> StudyPages | None:
    runs = study_runs(client)
    chosen = [run for run in runs if study is None or run.data.tags[STUDY] == study]
    if chosen:
        return study_pages(client, chosen[0])
    if study is None:
        return None
    names = ", ".join(sorted({run.data.tags[STUDY] for run in runs})) or "none yet"
    raise ConfigError(f"study '{study}'", "no such study in MLflow", f"there is: {names}")
