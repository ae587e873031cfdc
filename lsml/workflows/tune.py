"""Tuning: one study from its experiment to the registered model."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lsml.config.experiment import Experiment, check_name
from lsml.config.fields import flatten
from lsml.config.study import HyperbandTunerSettings, PrunerSettings, SamplerSettings, StudySettings, TunerSettings
from lsml.data.folds import FoldedData
from lsml.data.splits import StudyData
from lsml.errors import Interrupted, StudyError
from lsml.study.coordinator import Coordinator, Stage, Watcher
from lsml.study.database import note_result, result_of
from lsml.study.stages import Choice, choose_best, choose_in_folds, judge_baselines
from lsml.study.trial import TrialFunctions
from lsml.study.trial_queue import SearchSlots
from lsml.training import backend
from lsml.workflows.finalize import TuneResult, conclude
from lsml.workflows.sources import check_weights, data_root, prepare_data
from lsml.workspace import STATE_FOLDER, alone, pack_cache


class TuneWatcher(Watcher, Protocol):
    """Who looks on while a study is prepared and runs."""

    def step(self, what: str, done: int, total: int) -> None: ...

    def study_started(self, *, study: str, trials: int, ended: int, workers: int, source: str, engine: str) -> None: ...

    def stage_started(self, title: str) -> None: ...


def tune(
    experiment: Experiment,
    *,
    study: str,
    data: Path | None,
    storage: str,
    watcher: TuneWatcher,
    require_gpu: bool = False,
    functions: TrialFunctions = TrialFunctions(),  # noqa: B008 (frozen)
) -> TuneResult:
    """Runs, or goes on with, the study until each of its trials has ended; registers the best one.

    Args:
        require_gpu: refuse workers that would train on a CPU.
        functions: what workers run.

    Raises:
        ConfigError: the study exists and was started with something else, its engine cannot search the space,
            pretrained weights do not suit the rest, or there is no GPU where one is required.
        ModelError: pretrained weights cannot be had, or do not fit.
        DataError: the patches cannot be used.
        StorageError: a store cannot be used, or another process runs this study.
        StudyError: no trial completed, or too many failed in a row.
    """
    check_name("study", study)
    experiment = experiment.for_engine()
    weights = check_weights(experiment.space, experiment.base)
    root = data_root(experiment.data, data, watcher.step)
    folder = STATE_FOLDER / "studies" / f"{study}-{hashlib.sha256(storage.encode()).hexdigest()[:8]}"
    folder = folder.resolve()
    with alone(
        folder / "lock",
        f"study '{study}'",
        why="another process is running it",
        fix="wait for it, or choose another --study NAME",
    ):
        patches = prepare_data(experiment.data, root, pack_cache().resolve(), watcher.step)
        slots = SearchSlots(
            storage,
            study,
            space=experiment.space,
            base=experiment.base,
            settings=experiment.study,
            spec=_spec(experiment, patches, weights),
        )
        known = result_of(slots.study)
        # Another limit asks for another choice among the same trials; studies from before they had baselines get them.
        chosen = known and known.get("limit") == experiment.study.limit and "baselines" in known
        if known and chosen and slots.ended() >= len(slots.wanted()):
            return TuneResult(**known | {"fresh": False})
        return _Study(experiment, study, storage, slots, patches, root, folder, watcher, functions).run(require_gpu)


def _spec(experiment: Experiment, data: StudyData, weights: Mapping[str, str]) -> dict[str, Any]:
    """What must not change when a study is resumed; of files of weights their SHA-256."""
    base = {name: value for name, value in flatten(experiment.base).items() if name != "seed"}
    settings = experiment.study
    return {
        "data": data.identity,
        "base": base,
        "space": experiment.space.describe(),
        "search": {
            "seed": settings.seed,
            "engine": settings.engine,
            **{part: flatten(chosen) for part, chosen in _parts(settings).items()},
            **({} if settings.cost is None else {"against": settings.against}),
        },
        "confirm": settings.confirm,
        # Left out where there is none: studies from before there were such files go on.
        **({"weights file": dict(weights)} if weights else {}),
    }


def _parts(settings: StudySettings) -> dict[str, SamplerSettings | PrunerSettings | TunerSettings]:
    """What the study's engine uses, by its name below `study`."""
    if settings.engine == "optuna":
        return {"sampler": settings.sampler, "pruner": settings.pruner}
    return {"tuner": settings.tuner}


def _in_words(settings: StudySettings) -> str:
    """Which engine searches and what it leaves aside; empty for Optuna, which does what the settings say."""
    if settings.engine == "optuna":
        return ""
    cap = "; --trials is a cap" if isinstance(settings.tuner, HyperbandTunerSettings) else ""
    return f"KerasTuner's {settings.tuner.name} tuner, without study.sampler and study.pruner{cap}"


def _named(key: str, settings: SamplerSettings | PrunerSettings | TunerSettings) -> dict[str, Any]:
    """`{"study.sampler": "tpe", "study.sampler.startup_trials": 10}`; options that are not given are left out."""
    options = {f"{key}.{name}": value for name, value in flatten(settings).items() if name != "name"}
    return {key: settings.name} | {name: value for name, value in options.items() if value is not None}


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

    def run(self, require_gpu: bool) -> TuneResult:
        from lsml.study.workers import Workers

        with Workers(self.experiment.study.workers, scratch=self.folder) as workers:
            if require_gpu:
                for kind, name in workers.devices():
                    backend.check_gpu(kind, name)
            # After the workers: they load Keras while this process loads MLflow.
            from lsml.tracking.store import open_client
            from lsml.tracking.study import end_study_run

            client = open_client()
            parent = self._open_parent(client, workers.count)
            run_id = parent.info.run_id
            try:
                choice = self._choose(_StageRunner(self, workers, client, parent))
                result = conclude(
                    client, parent, study=self.name, experiment=self.experiment, search=self.slots.study, choice=choice
                )
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
            engine=_in_words(self.experiment.study),
        )
        runner.run(
            Stage(
                role="trial",
                title=f"searching: {trials} trials",
                slots=self.slots,
                function=lambda attempt: self.functions.search,
                steps=lambda attempt: self.data.steps(attempt.config),
                keep_probabilities=self.experiment.study.keep_probabilities,
            )
        )
        given: Any = {
            "study": self.name,
            "storage": self.storage,
            "functions": self.functions,
            "run_stage": runner.announce_and_run,
        }
        if isinstance(self.data, FoldedData):
            return choose_in_folds(self.slots, self.data, self.experiment, **given)
        best = choose_best(self.slots, self.experiment.study, self.name)
        return replace(best, baselines=judge_baselines(self.data, self.experiment, **given))

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
                "study.confirm": settings.confirm,
                "study.engine": settings.engine,
                **{
                    name: value
                    for part, chosen in _parts(settings).items()
                    for name, value in _named(f"study.{part}", chosen).items()
                },
                **({} if settings.cost is None else {"study.against": settings.against}),
                "study.searched": ", ".join(self.experiment.space.dimensions),
            },
            data=self.data,
            root=str(self.root),
            note=f"**{self.name}**: {self.experiment.description}".strip(),
        )
        self.slots.parent_run_id = run.info.run_id
        return run


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

        study, settings = self.study, self.study.experiment.study
        recorder = TrialRecorder(
            self.client, self.parent, role=stage.role, study=study.name, data=study.data, root=str(study.root)
        )
        Coordinator(
            stage,
            workers=self.workers,
            recorder=recorder,
            watcher=study.watcher,
            data=study.data,
            # A baseline that fails is shown as failed: it is not worth a study.
            max_failures=len(stage.slots.wanted()) + 1 if stage.role == "baseline" else settings.max_failures,
            folder=study.folder,
        ).run()
