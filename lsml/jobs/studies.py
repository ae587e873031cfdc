"""Looking at studies: what a database holds, and one study in full."""

from pathlib import Path
from typing import Any

from lsml.errors import DataError, StorageError, StudyError
from lsml.jobs.report import report_page
from lsml.jobs.tune import DEFAULT_STORAGE
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
from lsml.study.report import importances, table


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
