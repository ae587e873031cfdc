"""Tuning: one study from its experiment to the registered model."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsml.config.experiment import Experiment, check_name
from lsml.config.study import StudySettings
from lsml.data.splits import StudyData
from lsml.errors.signals import opened
from lsml.names import Attribute, Role
from lsml.report.facts import TuneResult
from lsml.study.choice import choose_model
from lsml.study.cluster_workers import ClusterWorkers
from lsml.study.coordinator import Coordinator, Stage
from lsml.study.local_workers import LocalWorkers
from lsml.study.ownership import owned
from lsml.study.results import trial_records
from lsml.study.search import Choice, describe_engine, study_params, study_spec
from lsml.study.stages import LaterStages
from lsml.study.trial import FUNCTIONS
from lsml.study.trial_queue import SearchQueue
from lsml.study.workers import Workers
from lsml.training.device import check_gpu
from lsml.training.outcome import TrialFunctions
from lsml.workflows.sources import SILENT, ExperimentData, Listener, check_weights
from lsml.workspace import exclusively, pack_cache, storage_url, study_folder

if TYPE_CHECKING:
    from lsml.tracking.spool import Outbox
    from lsml.tracking.store import Client, Run
    from lsml.tracking.study import StudyRun


def tune(
    experiment: Experiment,
    *,
    study: str | None = None,
    model_name: str | None = None,
    data: str | Path | None = None,
    storage: str | None = None,
    scheduler: str | Path | None = None,
    listener: Listener = SILENT,
    require_gpu: bool = False,
    force: bool = False,
    dashboard: bool = False,
    functions: TrialFunctions = FUNCTIONS,
) -> TuneResult:
    """Starts or resumes the study, runs it until each of its trials has ended, and registers the best model.

    Its trials run in processes of their own: a script calls this below `if __name__ == "__main__":`.

    Args:
        experiment: of `lsml.load_experiment`: base configuration, search space, and how to search.
        study: its name; None for the experiment's.
        model_name: of the registered model; None for the study's name, or the one that the study began with.
        data: the folder of the patches, instead of what the experiment names.
        storage: SQLAlchemy URL of the study's database; None for `LSML_STORAGE`, or `optuna.db` here.
        scheduler: of a dask cluster whose workers run the trials: its address, or the path of its scheduler file;
            None for worker processes of this study alone.
        listener: told of each trial and each of its epochs or folds.
        require_gpu: refuse workers that would train on a CPU.
        force: only warn of values that look wrong.
        dashboard: serve dask's pages of this study's own workers, at loopback, in plain HTTP and without a password.
        functions: what workers run.

    Raises:
        ConfigError: the study exists and was started with something else or for another model, its engine cannot
            search the space, pretrained weights do not suit the rest, there is no GPU where one is required, or no
            dashboard where it is asked for.
        ModelError: pretrained weights cannot be had, or do not fit.
        DataError: the patches cannot be used.
        StorageError: a store or the scheduler cannot be used, or another process runs this study.
        StudyError: no trial completed, or too many failed in a row.

    Examples:
        >>> result = lsml.tune(lsml.load_experiment("experiments/demo.yaml"), study="demo")
        >>> result.to_frame().sort_values("val_f1")
    """
    study, storage = check_name("study", study or experiment.name), storage_url(storage)
    model_name = model_name and check_name("model", model_name)
    LocalWorkers.check_dashboard(asked=dashboard)
    experiment = experiment.for_engine()
    folder, tell = study_folder(study, storage), listener.stage_started
    own = LocalWorkers.of(experiment.study, scratch=folder, dashboard=tell if dashboard else None)
    # Patches take as long to be made or packed as workers to load Keras.
    progress = own.beginning(listener.step) if scheduler is None else listener.step
    source = ExperimentData(experiment.data, data, progress, force)
    weights = check_weights(experiment.space, experiment.base, source)
    # Patches that do not exist get no folder for their study.
    root = None if data is None and experiment.data.synthetic else source.root
    fix = "wait until it has ended, or choose another --study NAME"
    with exclusively(folder / "lock", f"study '{study}'", fix=fix), contextlib.ExitStack() as stack:
        stack.push(own)
        root = root or source.root
        patches, unusual = source.prepare(pack_cache().resolve())
        asked, experiment = experiment, experiment.for_data(patches.splits[0].sensor.without_effect)
        idle = tuple(sorted(asked.space.dimensions.keys() - experiment.space.dimensions.keys()))
        queue = SearchQueue(
            storage,
            study,
            space=experiment.space,
            base=experiment.base,
            settings=experiment.study,
            spec=study_spec(experiment, patches, weights),
        )
        # The folder's lock tells of this machine's processes, the database of others' too.
        stack.enter_context(owned(queue.study, fix=fix))
        result = queue.study.result
        # Another limit asks for another choice among the same trials; studies from before they had baselines get them.
        chosen = result and result.get("limit") == experiment.study.max_cost and "baselines" in result
        # Another name for its model is refused where its run is opened.
        if result and chosen and model_name in (None, result["model"]) and queue.ended() >= len(queue.wanted()):
            return _with_trials(replace(TuneResult.from_record(result), fresh=False), queue)
        workers = own if scheduler is None else _of_cluster(scheduler, experiment.study, patches, tell)
        return _Study(
            experiment, study, model_name, storage, queue, patches, unusual, root, listener, functions, idle
        ).run(require_gpu, workers)


def _of_cluster(
    scheduler: str | Path, settings: StudySettings, data: StudyData, tell: Callable[[str], None]
) -> ClusterWorkers:
    return ClusterWorkers(scheduler, most=settings.workers, data=data, tell=tell, trial_timeout=settings.trial_timeout)


def _with_trials(result: TuneResult, queue: SearchQueue) -> TuneResult:
    return replace(result, trials=trial_records(queue.study), stopped=queue.stopped)


@dataclass(frozen=True)
class _Study:
    """One run of one study by this process; `idle` are the fields that are not searched, as they change nothing."""

    experiment: Experiment
    name: str
    model_name: str | None
    storage: str
    queue: SearchQueue
    data: StudyData
    unusual: Mapping[str, str]
    root: Path
    listener: Listener
    functions: TrialFunctions
    idle: tuple[str, ...]

    def run(self, require_gpu: bool, started: Workers) -> TuneResult:
        self.listener.stage_started("starting: workers load Keras, this process opens MLflow")
        with started as workers:
            if require_gpu:
                for kind, name in workers.devices():
                    check_gpu(kind, name)
            # After the workers have started: they load Keras while this process loads MLflow.
            from lsml.tracking.spool import STUDY_FILE, Outbox
            from lsml.tracking.store import open_client
            from lsml.workflows.finalize import finalize
            from lsml.workflows.report import log_report

            client = open_client()
            with Outbox(client, study_folder(self.name, self.storage) / STUDY_FILE) as outbox:
                # First: it may hold the end of the study's run.
                outbox.flush()
                run = opened(lambda: self._open_run(client, workers.count), lambda run: run.closing(outbox))
                with run as study_run:
                    parent, search, asked = study_run.run, self.queue.study, self.experiment
                    choice = self._choose(_StageRunner(self, workers, outbox, parent))
                    result = finalize(client, parent, study=self.name, experiment=asked, search=search, choice=choice)
                    log_report(client, parent.info.run_id, search, result)
            if outbox.kept:
                self.listener.stage_started(f"MLflow did not answer for a while: {outbox.kept} writes were sent later")
            # Last, so that whoever finds the result finds everything that it speaks of; but before the workers end.
            self.queue.study.note(Attribute.RESULT, result.record())
        return _with_trials(result, self.queue)

    def _choose(self, runner: "_StageRunner") -> Choice:
        """Searches, and chooses the model to register."""
        from lsml.workflows.finalize import scored_tables

        trials = self.experiment.study.trials
        idle = f"; not searched, as the bands for it are not there: {', '.join(self.idle)}" if self.idle else ""
        self.listener.study_started(
            study=self.name,
            trials=trials,
            ended=self.queue.ended(),
            best=best.f1 if (best := self.queue.study.best_complete()) else None,
            workers=runner.workers.count,
            source=self.data.source + idle,
            engine=describe_engine(self.experiment.study),
        )
        runner.run(
            Stage(
                role=Role.TRIAL,
                title=f"searching: {trials} trials",
                queue=self.queue,
                function=lambda attempt: self.functions.search,
                steps=lambda attempt: self.data.steps(attempt.config),
                data=self.data,
                keep_probabilities=self.experiment.study.keep_probabilities,
            )
        )
        later = LaterStages(self.experiment, self.data, self.name, self.storage, self.functions, runner.run_announced)
        return choose_model(self.queue, later, scored_tables(runner.outbox.client))

    def _open_run(self, client: "Client", workers: int) -> "StudyRun":
        from lsml.tracking.study import StudyRun

        study_run = StudyRun.open(
            client,
            self.queue.parent_run_id,
            identity=self.queue.identity,
            study=self.name,
            params=study_params(self.name, self.experiment, workers),
            data=self.data,
            root=str(self.root),
            note=f"**{self.name}**: {self.experiment.description}".strip(),
            model=self.model_name,
            unusual=self.unusual,
        )
        self.queue.parent_run_id = study_run.run.info.run_id
        return study_run


@dataclass(frozen=True)
class _StageRunner:
    """Runs the stages of a study on its workers, each attempt below the study's run."""

    study: _Study
    workers: Workers
    outbox: "Outbox"
    parent: "Run"

    def run_announced(self, stage: Stage) -> None:
        """Runs a stage to its end, announced where anything is left to do."""
        if stage.queue.ended() < len(stage.queue.wanted()):
            self.study.listener.stage_started(stage.title)
        self.run(stage)

    def run(self, stage: Stage) -> None:
        """Runs a stage to its end."""
        from lsml.tracking.runs import TrialRecorder

        study, settings = self.study, self.study.experiment.study
        recorder = TrialRecorder(
            self.outbox, self.parent, role=stage.role, study=study.name, data=stage.data, root=str(study.root)
        )
        Coordinator(
            stage,
            workers=self.workers,
            recorder=recorder,
            listener=study.listener,
            # A baseline that fails is shown as failed: it is not worth a study.
            max_failures=len(stage.queue.wanted()) + 1 if stage.role == Role.BASELINE else settings.max_failures,
            folder=study_folder(study.name, study.storage),
        ).run()
