"""Studies of a database: all of them in short, one in full, its pages in MLflow's UI."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsml.config.schema import COST_UNITS
from lsml.errors import ConfigError, ModelError, StorageError
from lsml.names import State, Tag
from lsml.report.facts import TrialFacts, TuneResult
from lsml.scoring.regions import RegionScore
from lsml.study.database import AttemptRecord, CountedStudy, load_studies, load_study
from lsml.study.results import importances, trial_facts, trial_records
from lsml.study.storage import serve_dashboard
from lsml.workspace import STATE_FOLDER, missing_database, storage_url

if TYPE_CHECKING:
    from lsml.tracking.store import Client
    from lsml.tracking.ui import StudyPages


def stored_study(storage: str | None, name: str) -> CountedStudy:
    """The study that a person names: by its name in the database, or in MLflow by its run, or a run or model of it.

    Raises:
        ConfigError: no such study.
        StorageError: the database cannot be used.
    """
    url = storage_url(storage)
    try:
        return load_study(url, name)
    except ConfigError:
        # The error names the studies that there are, which MLflow could not.
        if (other := _study_of(name)) in (None, name):
            raise
    return load_study(url, str(other))


def _study_of(name: str) -> str | None:
    """The study that MLflow knows by another name, or by a run or model of it; None where it knows none."""
    from lsml.tracking import check_known

    try:
        check_known(name)
        from lsml.tracking.store import open_store
        from lsml.tracking.study import named_study

        return named_study(open_store(), name).data.tags.get(Tag.STUDY)
    except (ModelError, StorageError):
        return None


def list_studies(storage: str | None) -> list[dict[str, object]]:
    """One row a study: how its slots stand, its best value and run.

    Raises:
        StorageError: the database cannot be used.
    """
    return [_summary(study) for study in load_studies(storage_url(storage))]


def open_dashboard(storage: str | None, *, port: int, ready: Callable[[], None]) -> None:
    """Serves optuna-dashboard over the study database until it is interrupted; calls `ready` before.

    Raises:
        StorageError: there is no such database, it cannot be used, optuna-dashboard is not installed, or the port is
            taken.
    """
    url = storage_url(storage)
    if file := missing_database(url):
        raise StorageError(f"study database {file}", "there is no such file", "work in your studies' folder")
    serve_dashboard(url, port, ready)


def _summary(study: CountedStudy) -> dict[str, object]:
    states = [AttemptRecord(trial).state for trial in study.get_trials(deepcopy=False)]
    best = study.best_so_far()
    return {
        "study": study.study_name,
        **{state: states.count(state) for state in (State.COMPLETE, State.PRUNED, State.FAILED, State.RUNNING)},
        "best val_f1": best.f1 if best else None,
        "best run": _best_run(study),
        "study run": study.parent_run_id,
    }


@dataclass(frozen=True)
class _StudyOverview:
    """One study in full.

    Attributes:
        run_id: the study's run in MLflow; None before its first trial.
        best_run_id: the run whose model is registered; before that, the run of the best trial so far.
        searched: the searched fields.
        trials: every attempt.
        cost: the metric that is the second objective; None where there is one objective.
        result: what the study came to; None before its end.
        regions: where folds are of whole regions, the scores of each by what is best; `folds` says what these are.
        openings: of the test split; None where MLflow cannot tell, and `openings_unknown` says why.
    """

    study: str
    run_id: str | None
    best_run_id: str | None
    searched: Sequence[str]
    trials: Sequence[TrialFacts]
    records: Sequence[Mapping[str, object]]
    cost: str | None
    result: TuneResult | None
    importance: Mapping[str, float]
    regions: Sequence[RegionScore]
    folds: str
    openings: Sequence[Mapping[str, str | None]] | None
    openings_unknown: str

    @property
    def cost_unit(self) -> str | None:
        """The unit of the second objective."""
        return COST_UNITS[self.cost] if self.cost else None

    @property
    def complete(self) -> int:
        """How many trials are complete."""
        return sum(trial.state == State.COMPLETE for trial in self.trials)

    def record(self) -> dict[str, object]:
        """All of it as JSON."""
        result = self.result
        return {
            "study": self.study,
            "study_run_id": self.run_id,
            "best_run_id": self.best_run_id,
            "searched": self.searched,
            "attempts": self.records,
            "standings": result.standings if result else [],
            "baselines": result.baselines if result else [],
            "label": result and result.label,
            "best_f1": result and result.best_value,
            "corrected": result and result.corrected and result.corrected._asdict(),
            "against_base": result and result.against_base,
            "network": result and result.network,
            "best_per_architecture": result.best_per_architecture if result else [],
            "cost": self.cost,
            "front": result.front if result else [],
            "importance": self.importance,
            "regions": [region.record() for region in self.regions],
            "test_openings": self.openings,
            "test_openings_unknown": self.openings_unknown,
        }


def show_study(name: str, storage: str | None) -> _StudyOverview:
    """Every attempt of a study with its parameters and run, the importances, the best run, every opening of test.

    Raises:
        ConfigError: no such study.
        StorageError: the database cannot be used.
    """
    study = stored_study(storage, name)
    trials, run_id = trial_facts(study), study.parent_run_id
    openings, unknown = _test_openings(run_id)
    regions, folds = _regions(study)
    return _StudyOverview(
        study=study.study_name,
        run_id=run_id,
        best_run_id=_best_run(study),
        searched=sorted({field for trial in trials for field in trial.values}),
        trials=trials,
        records=trial_records(study),
        cost=study.cost_metric,
        result=_result(study),
        importance=importances(study),
        regions=regions,
        folds=folds,
        openings=openings,
        openings_unknown=unknown,
    )


def _result(study: CountedStudy) -> TuneResult | None:
    record = study.result
    return TuneResult.from_record(record) if record else None


def _test_openings(study_run_id: str | None) -> tuple[list[dict[str, str | None]] | None, str]:
    """Every opening of the test split for a study; None and why, where MLflow cannot tell."""
    if study_run_id is None:
        return [], ""
    from lsml.tracking.ledger import Ledger
    from lsml.tracking.store import find_run, open_store

    try:
        client = open_store()
        openings = Ledger.of_run(client, find_run(client, study_run_id)).openings()
    except StorageError as error:
        # The attempts are in the study's database, and can be shown without MLflow.
        return None, str(error)
    return [opening._asdict() for opening in openings], ""


def _regions(study: CountedStudy) -> tuple[Sequence[RegionScore], str]:
    """The scores by region of what is best, where folds are of whole regions, and what these are."""
    result, best = _result(study), study.best_so_far()
    run_id = result.scored_run_id if result else best.run_id if best else None
    if run_id is None:
        return (), ""
    from lsml.tracking.reading import RunReader
    from lsml.tracking.store import find_run, open_store

    try:
        client = open_store()
        return RunReader(client, find_run(client, run_id)).folds_by_region()
    except StorageError:
        # That MLflow cannot tell is said of the openings.
        return (), ""


def _best_run(study: CountedStudy) -> str | None:
    """The run whose model was registered; before that, the run of the best trial so far."""
    if result := study.result:
        return str(result["best_run_id"])
    best = study.best_so_far()
    return best.run_id if best else None


@dataclass(frozen=True)
class Ui:
    """A UI that answers.

    Attributes:
        address: of the server, such as `http://127.0.0.1:5000`.
        pages: of the study; None while the store has no study.
        wait: returns, or raises, when the server has ended; None where it was running before and keeps running.
    """

    address: str
    pages: "StudyPages | None"
    wait: Callable[[], None] | None


@contextlib.contextmanager
def open_ui(study: str | None, *, port: int | None) -> Iterator[Ui]:
    """The tracking server that `MLFLOW_TRACKING_URI` names, else one of our own that ends on the way out.

    Args:
        study: whose pages to give, instead of the study that started last.
        port: of a server of our own, instead of the first free one from 5000 on.

    Raises:
        ConfigError: no such study.
        StorageError: the store cannot be used, the port is taken, or the server does not start.
    """
    from lsml.tracking import tracking_uri
    from lsml.tracking.store import open_client
    from lsml.tracking.ui import free_port, serve, server_address

    client = open_client()
    pages = _pages(client, study)
    if address := server_address(tracking_uri()):
        yield Ui(address, pages, wait=None)
        return
    with serve(free_port(port), log=STATE_FOLDER / "ui.log") as server:
        yield Ui(server.address, pages, wait=server.wait)


def _pages(client: "Client", study: str | None) -> "StudyPages | None":
    from lsml.tracking.study import named_study
    from lsml.tracking.ui import study_pages, study_runs

    runs = study_runs(client)
    chosen = [run for run in runs if study is None or run.data.tags[Tag.STUDY] == study]
    if not chosen and study:
        with contextlib.suppress(ModelError, StorageError):
            chosen = [named_study(client, study)]
    if chosen:
        return study_pages(client, chosen[0])
    if study is None:
        return None
    names = ", ".join(sorted({run.data.tags[Tag.STUDY] for run in runs})) or "none yet"
    raise ConfigError(f"study '{study}'", "no such study in MLflow", f"there is: {names}")
