"""Looking at studies: what a database holds, one study in full, its pages in MLflow's UI."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsml.errors import ConfigError, DataError, StorageError, StudyError
from lsml.study.database import (
    CountedStudy,
    best_so_far,
    cost_metric,
    f1_of,
    load_studies,
    load_study,
    parent_run_of,
    result_of,
    run_id_of,
    state_of,
)
from lsml.study.results import importances, table
from lsml.tracking.runs import STUDY
from lsml.tracking.store import open_client, tracking_uri
from lsml.tracking.ui import StudyPages, free_port, serve, server_address, study_pages, study_runs
from lsml.workflows.report import report_page
from lsml.workspace import DEFAULT_STORAGE, STATE_FOLDER


def list_studies(storage: str | None) -> list[dict[str, Any]]:
    """One row a study: how its slots stand, its best value and run.

    Raises:
        StorageError: the database cannot be used.
    """
    return [_summary(study) for study in load_studies(storage or DEFAULT_STORAGE)]


def _summary(study: CountedStudy) -> dict[str, Any]:
    states = [state_of(trial) for trial in study.get_trials(deepcopy=False)]
    best = best_so_far(study)
    return {
        "study": study.study_name,
        **{state: states.count(state) for state in ("complete", "pruned", "failed", "running")},
        "best val_f1": f1_of(best) if best else None,
        "best run": _best_run(study),
        "study run": parent_run_of(study),
    }


def show_study(name: str, storage: str | None) -> dict[str, Any]:
    """Every attempt of a study with its parameters and run, the importances, the best run and every look at test.

    Raises:
        ConfigError: no such study.
        StorageError: the database cannot be used.
    """
    study = load_study(storage or DEFAULT_STORAGE, name)
    rows, result = table(study), result_of(study) or {}
    openings, unknown = _test_openings(parent_run_of(study))
    return {
        "study": name,
        "study_run_id": parent_run_of(study),
        "best_run_id": _best_run(study),
        "searched": sorted({field for trial in study.all_trials(deepcopy=False) for field in trial.params}),
        "attempts": rows,
        "standings": result.get("standings", []),
        "baselines": result.get("baselines", []),
        "label": result.get("label"),
        "best_f1": result.get("best_value"),
        "champions": result.get("champions", []),
        "cost": cost_metric(study),
        "front": result.get("front", []),
        "importance": importances(study),
        "test_openings": openings,
        "test_openings_unknown": unknown,
    }


def _test_openings(study_run_id: str | None) -> tuple[list[dict[str, Any]] | None, str]:
    """Every opening of the test split for a study; None and why, where MLflow cannot tell."""
    if study_run_id is None:
        return [], ""
    from lsml.tracking.ledger import ledger_of
    from lsml.tracking.runs import find_run
    from lsml.tracking.store import open_client

    try:
        client = open_client()
        openings = ledger_of(client, find_run(client, study_run_id)).openings()
    except StorageError as error:
        # The attempts are in the study's database, and can be shown without MLflow.
        return None, str(error)
    return [opening._asdict() for opening in openings], ""


def report_study(name: str, storage: str | None, *, output: Path | None) -> Path:
    """Writes the report of a study, made anew, into `output` or `NAME-report.html`, and gives its path.

    Raises:
        ConfigError: no such study.
        StorageError: a store cannot be used, or the study's run is not in it.
        StudyError: no trial has begun.
        DataError: the file cannot be written.
    """
    study = load_study(storage or DEFAULT_STORAGE, name)
    run_id = parent_run_of(study)
    if run_id is None:
        raise StudyError(f"study '{name}'", "no trial has begun, so MLflow has nothing of it", "start it: lsml tune")
    from lsml.tracking.reading import state_in_words
    from lsml.tracking.runs import find_run
    from lsml.tracking.store import open_client

    client = open_client()
    parent = find_run(client, run_id)
    page = report_page(client, parent, study, result_of(study), state=state_in_words(parent))
    target = output or Path(f"{name}-report.html")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"report {target}", f"cannot be written ({error.strerror})", "name another file with --output"
        ) from None
    return target.resolve()


def _best_run(study: CountedStudy) -> str | None:
    """The run whose model was registered; before that, the run of the best trial so far."""
    if result := result_of(study):
        return str(result["best_run_id"])
    best = best_so_far(study)
    return run_id_of(best) if best else None


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
