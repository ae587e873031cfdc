"""Tuning: one study from its experiment to the registered model."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from lsml.config import flatten
from lsml.data.training import TrainingData, prepare
from lsml.errors import Interrupted, StorageError, StudyError
from lsml.experiment import Experiment, check_name
from lsml.jobs.sources import STATE_FOLDER, data_root, pack_cache
from lsml.study.coordinator import Coordinator, Watcher
from lsml.study.optuna_slots import OptunaSlots, run_id_of
from lsml.trial import TrialFunction, train_trial

DEFAULT_STORAGE = "sqlite:///optuna.db"
_RESULT = "lsml.result"


class TuneWatcher(Watcher, Protocol):
    """Who looks on while a study is prepared and runs."""

    def step(self, what: str, done: int, total: int) -> None: ...

    def study_started(self, *, study: str, trials: int, ended: int, workers: int, source: str) -> None: ...


@dataclass(frozen=True)
class TuneResult:
    """What a finished study leaves behind.

    Attributes:
        best_value: pooled validation F1 of the best trial, in 0..1.
        counts: how many of the study's trials ended complete, pruned or failed.
        fresh: False when the study had all its trials before.
        trials_page: address of MLflow's page that compares the trials.
        best_page: address of the page with the best few side by side; empty while fewer than two have a score.
    """

    study: str
    study_run_id: str
    best_run_id: str
    best_value: float
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
    trial_function: TrialFunction = train_trial,
) -> TuneResult:
    """Runs, or goes on with, the study until each of its trials has ended; registers the best one.

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
        patches = prepare(root, pack_cache().resolve(), progress=watcher.step)
        slots = OptunaSlots(
            storage,
            study,
            space=experiment.space,
            base=experiment.base,
            settings=experiment.study,
            spec=_spec(experiment, patches),
        )
        known = slots.study.user_attrs.get(_RESULT)
        if known and slots.ended() >= experiment.study.trials:
            return TuneResult(**known | {"fresh": False})
        return _Study(experiment, study, slots, patches, root, folder, watcher).run(trial_function)


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


def _spec(experiment: Experiment, data: TrainingData) -> dict[str, Any]:
    """What must not change when a study is resumed."""
    base = {name: value for name, value in flatten(experiment.base).items() if name != "seed"}
    settings = experiment.study
    return {
        "data": {"train": data.train.fingerprint, "validation": data.validation.fingerprint},
        "base": base,
        "space": experiment.space.describe(),
        "search": {"seed": settings.seed, "tpe": flatten(settings.tpe), "pruner": flatten(settings.pruner)},
    }


@dataclass(frozen=True)
class _Study:
    """One run of one study by this process."""

    experiment: Experiment
    name: str
    slots: OptunaSlots
    data: TrainingData
    root: Path
    folder: Path
    watcher: TuneWatcher

    def run(self, trial_function: TrialFunction) -> TuneResult:
        from lsml.study.workers import Workers

        settings = self.experiment.study
        with Workers(settings.workers, trial_function, scratch=self.folder) as workers:
            # After the workers: they load Keras while this process loads MLflow.
            from lsml.tracking.runs import TrialRecorder
            from lsml.tracking.store import open_client
            from lsml.tracking.study import end_study_run

            client = open_client()
            parent = self._open_parent(client, workers.count)
            run_id = parent.info.run_id
            recorder = TrialRecorder(client, parent, study=self.name, data=self.data, root=str(self.root))
            try:
                self._coordinate(workers, recorder, trials=settings.trials)
                result = self._finish(client, parent)
            except Interrupted:
                end_study_run(client, run_id, "KILLED")
                raise
            except StudyError:
                end_study_run(client, run_id, "FAILED")
                raise
            end_study_run(client, run_id, "FINISHED")
        # Last: whoever finds the result finds everything that it speaks of.
        self.slots.study.set_user_attr(_RESULT, asdict(result))
        return result

    def _coordinate(self, workers: Any, recorder: Any, *, trials: int) -> None:
        self.watcher.study_started(
            study=self.name,
            trials=trials,
            ended=self.slots.ended(),
            workers=workers.count,
            source=self.data.source,
        )
        Coordinator(
            slots=self.slots,
            workers=workers,
            recorder=recorder,
            watcher=self.watcher,
            data=self.data,
            settings=self.experiment.study,
            folder=self.folder,
        ).run()

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

    def _finish(self, client: Any, parent: Any) -> TuneResult:
        from lsml.study.report import table
        from lsml.tracking.models import register

        best = self.slots.best()
        best_run = run_id_of(best) if best else None
        rows = table(self.slots.study)
        counts = {state: sum(row["state"] == state for row in rows) for state in ("complete", "pruned", "failed")}
        if best is None or best.value is None or best_run is None:
            raise StudyError(
                f"study '{self.name}'",
                f"no trial completed ({counts['failed']} failed, {counts['pruned']} pruned)",
                f"lsml study show {self.name} gives the reasons; raise --trials to go on",
            )
        version = register(
            client,
            best_run,
            self.experiment.name,
            tags={
                "lsml.study": self.name,
                "lsml.study_run_id": parent.info.run_id,
                "best_val_f1": f"{best.value:.6f}",
            },
        )
        trials_page, best_page = self._describe(client, parent, best, rows, counts, version)
        return TuneResult(
            study=self.name,
            study_run_id=parent.info.run_id,
            best_run_id=best_run,
            best_value=best.value,
            model=self.experiment.name,
            version=version,
            counts=counts,
            fresh=True,
            trials_page=trials_page,
            best_page=best_page,
        )

    def _describe(
        self, client: Any, parent: Any, best: Any, rows: list[dict[str, object]], counts: dict[str, int], version: str
    ) -> tuple[str, str]:
        """Fills the study's run, and gives the addresses of its two pages."""
        from lsml.study.report import figures, importances, note, to_csv
        from lsml.tracking.pages import run_page, study_pages, ui_address
        from lsml.tracking.runs import BEST_METRIC, BEST_RUN
        from lsml.tracking.study import log_study
        from lsml.tracking.views import save_study_view

        space, importance, best_run = self.experiment.space, importances(self.slots.study), str(run_id_of(best))
        registered = f"{self.experiment.name}/{version}"
        save_study_view(client, parent, study=self.name, best_run=best_run, searched=list(space.dimensions))
        pages = study_pages(client, parent)
        links = {"all trials compared": pages.trials, "the best side by side": pages.best}
        links["the best trial's run"] = run_page(parent.info.experiment_id, best_run)
        log_study(
            client,
            parent.info.run_id,
            metrics={BEST_METRIC: best.value, **{f"trials_{state}": n for state, n in counts.items()}},
            tags={BEST_RUN: best_run, "lsml.registered": registered},
            note=note(
                study=self.name,
                description=self.experiment.description,
                space=space,
                best=best,
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
            },
        )
        address = ui_address()
        return f"{address}/{pages.trials}", f"{address}/{pages.best}" if pages.best else ""
