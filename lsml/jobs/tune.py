"""Tuning: one study from its experiment to the registered model."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from lsml.config import flatten
from lsml.data.folds import FoldedData
from lsml.data.training import StudyData
from lsml.errors import Interrupted, StorageError, StudyError
from lsml.experiment import Experiment, check_name
from lsml.jobs.sources import STATE_FOLDER, data_root, pack_cache, prepare_data
from lsml.study.choice import Choice, choose_best, choose_in_folds
from lsml.study.coordinator import Coordinator, Stage, Watcher
from lsml.study.database import best_of, note_result, result_of, run_id_of
from lsml.study.slots import SearchSlots
from lsml.trial import TrialFunctions

DEFAULT_STORAGE = "sqlite:///optuna.db"


class TuneWatcher(Watcher, Protocol):
    """Who looks on while a study is prepared and runs."""

    def step(self, what: str, done: int, total: int) -> None: ...

    def study_started(self, *, study: str, trials: int, ended: int, workers: int, source: str) -> None: ...

    def stage_started(self, title: str) -> None: ...


@dataclass(frozen=True)
class TuneResult:
    """What a finished study leaves behind.

    Attributes:
        best_run_id: the run whose model is registered.
        best_value: F1 of its configuration, pooled over the pixels of validation or of all folds, in 0..1.
        label: where that configuration comes from, such as `trial 3` or `base`.
        standings: how all competitors did in the folds, the registered one first: `what`, `f1`, `run_id`, `reason`;
            empty where there are no folds.
        counts: how many of the study's trials ended complete, pruned or failed.
        fresh: False when the study had all its trials before.
        trials_page: address of MLflow's page that compares the trials.
        best_page: address of the page with the best few side by side; empty while fewer than two have a score.
    """

    study: str
    study_run_id: str
    best_run_id: str
    best_value: float
    label: str
    standings: Sequence[Mapping[str, Any]]
    model: str
    version: str
    counts: Mapping[str, int]
    fresh: bool
    trials_page: str
    best_page: str


def tune(
    experiment: Experiment,
    *,
    study: str,
    data: Path | None,
    storage: str,
    watcher: TuneWatcher,
    functions: TrialFunctions = TrialFunctions(),  # noqa: B008 (frozen)
) -> TuneResult:
    """Runs, or goes on with, the study until each of its trials has ended; registers the best one.

    Args:
        functions: what workers run.

    Raises:
        ConfigError: the study exists and was started with something else.
        DataError: the patches cannot be used.
        StorageError: a store cannot be used, or another process runs this study.
        StudyError: no trial completed, or too many failed in a row.
    """
    check_name("study", study)
    root = data_root(experiment.data, data, watcher.step)
    folder = STATE_FOLDER / "studies" / f"{study}-{hashlib.sha256(storage.encode()).hexdigest()[:8]}"
    folder = folder.resolve()
    with _lock(folder, study):
        patches = prepare_data(experiment.data, root, pack_cache().resolve(), watcher.step)
        slots = SearchSlots(
            storage,
            study,
            space=experiment.space,
            base=experiment.base,
            settings=experiment.study,
            spec=_spec(experiment, patches),
        )
        known = result_of(slots.study)
        if known and slots.ended() >= experiment.study.trials:
            return TuneResult(**known | {"fresh": False})
        return _Study(experiment, study, storage, slots, patches, root, folder, watcher, functions).run()


@contextlib.contextmanager
def _lock(folder: Path, study: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise StorageError(
            f"study '{study}'", "another process is running it", "wait for it, or choose another --study NAME"
        ) from None


def _spec(experiment: Experiment, data: StudyData) -> dict[str, Any]:
    """What must not change when a study is resumed."""
    base = {name: value for name, value in flatten(experiment.base).items() if name != "seed"}
    settings = experiment.study
    return {
        "data": data.identity,
        "base": base,
        "space": experiment.space.describe(),
        "search": {"seed": settings.seed, "tpe": flatten(settings.tpe), "pruner": flatten(settings.pruner)},
        "confirm": settings.confirm,
    }


@dataclass(frozen=True)
class _Study:
    """One run of one study by this process."""

    experiment: Experiment
    name: str
    storage: str
    slots: SearchSlots
    data: StudyData
    root: Path
    folder: Path
    watcher: TuneWatcher
    functions: TrialFunctions

    def run(self) -> TuneResult:
        from lsml.study.workers import Workers

        with Workers(self.experiment.study.workers, scratch=self.folder) as workers:
            # After the workers: they load Keras while this process loads MLflow.
            from lsml.tracking.store import open_client
            from lsml.tracking.study import end_study_run

            client = open_client()
            parent = self._open_parent(client, workers.count)
            run_id = parent.info.run_id
            try:
                choice = self._choose(_StageRunner(self, workers, client, parent))
                result = self._finish(client, parent, choice)
            except Interrupted:
                end_study_run(client, run_id, "KILLED")
                raise
            except StudyError:
                end_study_run(client, run_id, "FAILED")
                raise
            end_study_run(client, run_id, "FINISHED")
        # Last: whoever finds the result finds everything that it speaks of.
        note_result(self.slots.study, asdict(result))
        return result

    def _choose(self, runner: "_StageRunner") -> Choice:
        """Searches, and settles what is to be registered."""
        trials = self.experiment.study.trials
        self.watcher.study_started(
            study=self.name,
            trials=trials,
            ended=self.slots.ended(),
            workers=runner.workers.count,
            source=self.data.source,
        )
        runner.run(
            Stage(
                role="trial",
                title=f"searching: {trials} trials",
                slots=self.slots,
                function=lambda attempt: self.functions.search,
                steps=lambda attempt: self.data.steps(attempt.config),
            )
        )
        if not isinstance(self.data, FoldedData):
            return choose_best(self.slots, self.name)
        return choose_in_folds(
            self.slots,
            self.data,
            self.experiment,
            study=self.name,
            storage=self.storage,
            functions=self.functions,
            run_stage=runner.announce_and_run,
        )

    def _open_parent(self, client: Any, workers: int) -> Any:
        from lsml.tracking.study import open_study_run

        settings = self.experiment.study
        run = open_study_run(
            client,
            self.slots.parent_run_id,
            identity=self.slots.identity,
            study=self.name,
            params={
                "study.name": self.name,
                "study.experiment": self.experiment.name,
                "study.trials": settings.trials,
                "study.workers": workers,
                "study.seed": settings.seed,
                "study.max_retries": settings.max_retries,
                "study.sampler": "tpe",
                "study.startup_trials": settings.tpe.startup_trials,
                "study.confirm": settings.confirm,
                "study.pruner": settings.pruner.name,
                "study.min_epochs": settings.pruner.min_epochs,
                "study.reduction": settings.pruner.reduction,
                "study.searched": ", ".join(self.experiment.space.dimensions),
            },
            data=self.data,
            root=str(self.root),
            note=f"**{self.name}**: {self.experiment.description}".strip(),
        )
        self.slots.parent_run_id = run.info.run_id
        return run

    def _finish(self, client: Any, parent: Any, choice: Choice) -> TuneResult:
        from lsml.study.report import table
        from lsml.tracking.models import register

        rows = table(self.slots.study)
        counts = {state: sum(row["state"] == state for row in rows) for state in ("complete", "pruned", "failed")}
        version = register(
            client,
            choice.run_id,
            self.experiment.name,
            tags={
                "lsml.study": self.name,
                "lsml.study_run_id": parent.info.run_id,
                "best_val_f1": f"{choice.value:.6f}",
            },
        )
        trials_page, best_page = self._describe(client, parent, choice, rows, counts, version)
        return TuneResult(
            study=self.name,
            study_run_id=parent.info.run_id,
            best_run_id=choice.run_id,
            best_value=choice.value,
            label=choice.label,
            standings=[asdict(standing) for standing in choice.standings],
            model=self.experiment.name,
            version=version,
            counts=counts,
            fresh=True,
            trials_page=trials_page,
            best_page=best_page,
        )

    def _describe(
        self,
        client: Any,
        parent: Any,
        choice: Choice,
        rows: list[dict[str, object]],
        counts: dict[str, int],
        version: str,
    ) -> tuple[str, str]:
        """Fills the study's run, and gives the addresses of its two pages."""
        from lsml.study.report import figures, importances, note, to_csv
        from lsml.tracking.pages import run_page, study_pages, ui_address
        from lsml.tracking.runs import BEST_METRIC, BEST_RUN
        from lsml.tracking.study import log_study
        from lsml.tracking.views import save_study_view

        best = best_of(self.slots.study)
        assert best is not None
        space, importance = self.experiment.space, importances(self.slots.study)
        registered = f"{self.experiment.name}/{version}"
        save_study_view(client, parent, study=self.name, best_run=str(run_id_of(best)), searched=list(space.dimensions))
        pages = study_pages(client, parent)
        links = {"all trials compared": pages.trials, "the best side by side": pages.best}
        links["the registered model's run"] = run_page(parent.info.experiment_id, choice.run_id)
        log_study(
            client,
            parent.info.run_id,
            metrics={BEST_METRIC: choice.value, **{f"trials_{state}": n for state, n in counts.items()}},
            tags={BEST_RUN: choice.run_id, "lsml.registered": registered},
            note=note(
                study=self.name,
                description=self.experiment.description,
                space=space,
                best=best,
                choice=choice,
                counts=counts,
                importance=importance,
                registered=registered,
                links={what: page for what, page in links.items() if page},
            ),
            texts={f"study/{name}": page for name, page in figures(self.slots.study).items()}
            | {"study/trials.csv": to_csv(rows)},
            records={
                "study/space.json": space.describe(),
                "study/base.json": flatten(self.experiment.base),
                "study/importance.json": importance,
                "study/standings.json": [asdict(standing) for standing in choice.standings],
            },
        )
        address = ui_address()
        return f"{address}/{pages.trials}", f"{address}/{pages.best}" if pages.best else ""


@dataclass(frozen=True)
class _StageRunner:
    """Runs the stages of a study on its workers, each attempt below the study's run."""

    study: _Study
    workers: Any
    client: Any
    parent: Any

    def announce_and_run(self, stage: Stage) -> None:
        """Says what begins, where anything is left to do, and does it."""
        if stage.slots.ended() < len(stage.slots.wanted()):
            self.study.watcher.stage_started(stage.title)
        self.run(stage)

    def run(self, stage: Stage) -> None:
        """Runs a stage to its end."""
        from lsml.tracking.runs import TrialRecorder

        study = self.study
        recorder = TrialRecorder(
            self.client, self.parent, role=stage.role, study=study.name, data=study.data, root=str(study.root)
        )
        Coordinator(
            stage,
            workers=self.workers,
            recorder=recorder,
            watcher=study.watcher,
            data=study.data,
            max_failures=study.experiment.study.max_failures,
            folder=study.folder,
        ).run()
