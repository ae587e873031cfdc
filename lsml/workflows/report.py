"""The end of a study, and its report at any time: what its database and MLflow hold, put together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsml.config.experiment import Experiment
from lsml.config.fields import Scalar, flatten
from lsml.config.schema import COST_UNITS, TrainConfig
from lsml.config.space import Dimension
from lsml.errors import DataError, StudyError
from lsml.names import Alias, Artifact, Metric, State, Tag
from lsml.report.facts import ScoredRun, StudyFacts, TopTrial
from lsml.report.sections import study_page
from lsml.report.summary import ArchitectureBest, TuneResult, study_note
from lsml.scoring.metrics import to_csv
from lsml.study.database import CountedStudy, load_study
from lsml.study.results import figures, front_trials, importances, trial_facts, trial_records
from lsml.study.search import Choice
from lsml.tracking.ledger import Ledger
from lsml.tracking.models import RegisteredModel
from lsml.tracking.reading import RunReader, StudyReader
from lsml.tracking.runs import RunWriter, find_run
from lsml.tracking.store import Client, Run, open_client
from lsml.tracking.study import StudyRun
from lsml.tracking.ui import StudyPages, run_page, save_study_view, study_pages, ui_address
from lsml.workspace import DEFAULT_STORAGE

_TOP_TRIALS = 5
_PICTURES = 4
_BASE = "the base configuration"


def report_study(name: str, storage: str | None, *, output: Path | None) -> Path:
    """Writes the report of a study, made anew, into `output` or `NAME-report.html`, and gives its path.

    Raises:
        ConfigError: no such study.
        StorageError: a store cannot be used, or the study's run is not in it.
        StudyError: no trial has begun.
        DataError: the file cannot be written.
    """
    study = load_study(storage or DEFAULT_STORAGE, name)
    run_id = study.parent_run_id
    if run_id is None:
        raise StudyError(f"study '{name}'", "no trial has begun, so MLflow has nothing of it", "start it: lsml tune")
    client, record = open_client(), study.result
    parent = find_run(client, run_id)
    result = TuneResult.from_record(record) if record else None
    page = _report_page(client, parent, study, result, state=StudyReader(client, parent).state)
    target = output or Path(f"{name}-report.html")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"report {target}", f"cannot be written ({error.strerror})", "name another file with --output"
        ) from None
    return target.resolve()


def _report_page(client: Client, parent: Run, search: CountedStudy, result: TuneResult | None, *, state: str) -> str:
    """One HTML file that needs nothing beside it.

    Args:
        parent: the study's run.
        search: the study's trials.
        result: what the study came to; None before its end.
        state: whether it runs or how it ended, as text.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    return study_page(_Reader(client, parent, search, result).facts(state))


class _Reader:
    """Puts together what MLflow and the study's database hold."""

    def __init__(self, client: Client, parent: Run, search: CountedStudy, result: TuneResult | None) -> None:
        self._client, self._parent, self._search, self._result = client, parent, search, result
        self._study = StudyReader(client, parent)

    def facts(self, state: str) -> StudyFacts:
        parent, result, spec = self._parent, self._result, self._search.spec
        space = {name: Dimension.validated(entry, f"space: {name}") for name, entry in spec.get("space", {}).items()}
        params = parent.data.params
        metric = self._search.cost_metric
        best = self._best()
        return StudyFacts(
            study=self._search.study_name,
            experiment=params.get("study.experiment", ""),
            description=self._study.description,
            state=state,
            run_id=parent.info.run_id,
            settings={name: value for name, value in params.items() if name.startswith("study.")},
            base=_configuration(spec.get("base")),
            searched={name: dimension.describe() for name, dimension in space.items()},
            logarithmic=frozenset(name for name, dimension in space.items() if dimension.log),
            choices={name: dimension.choices for name, dimension in space.items() if dimension.choices is not None},
            data=self._study.data_facts(),
            trials=trial_facts(self._search),
            spent=self._study.spent_time(),
            importance=importances(self._search),
            best=best,
            best_run_id=result.best_run_id if result else best.run_id if best else None,
            registered=parent.data.tags.get(Tag.REGISTERED),
            rivals=self._rivals(best) if best else (),
            top_trials=self._top_trials(),
            cost_unit=COST_UNITS[metric] if metric else None,
            limit=result.limit if result else None,
            front=(result and result.front) or front_trials(self._search, result.label if result else ""),
            standings=result.standings if result else (),
            best_per_architecture=result.best_per_architecture if result else (),
            tests=self._study.evaluated_runs(),
            openings=[opening._asdict() for opening in Ledger.of_run(self._client, parent).openings()],
        )

    def _best(self) -> ScoredRun | None:
        """What is registered with its scores, or the best trial so far."""
        result = self._result
        if result and result.standings:
            return self._scored(result.standings[0]["run_id"], result.standings[0]["what"])
        if result:
            return self._scored(result.best_run_id, result.label)
        trial = self._search.best_so_far()
        return self._scored(trial.run_id, f"trial {trial.slot}") if trial else None

    def _rivals(self, best: ScoredRun) -> list[ScoredRun]:
        """The base configuration, the next best and the baselines, scored as the best was, which is none of them."""
        others: dict[str | None, str]
        if self._result and self._result.standings:
            others = {entry["run_id"]: entry["what"] for entry in self._result.standings}
        else:
            ranked = [trial for trial in self._search.complete_trials() if trial.run_id != best.run_id]
            shown = [trial for trial in ranked if trial is ranked[0] or trial.slot == 0]
            others = {t.run_id: _BASE if t.slot == 0 else f"trial {t.slot}" for t in shown}
            others.update(self._study.baselines())
        scored = [self._scored(run_id, name) for run_id, name in others.items() if run_id != best.run_id]
        return [run for run in scored if run]

    def _scored(self, run_id: str | None, name: str) -> ScoredRun | None:
        run = self._study.children.get(run_id or "")
        return RunReader(self._client, run).scored(name) if run else None

    def _top_trials(self) -> list[TopTrial]:
        best = [(self._study.children.get(t.run_id or ""), t.slot) for t in self._search.complete_trials()]
        return [
            RunReader(self._client, run).top_trial(f"trial {slot}", _PICTURES)
            for run, slot in best[:_TOP_TRIALS]
            if run
        ]


def _configuration(values: Mapping[str, Any] | None) -> TrainConfig | None:
    """The configuration that a study's record spells out; fields that were added after it have their defaults."""
    return TrainConfig.from_parameters({name: str(value) for name, value in values.items()}) if values else None


_ARCHITECTURE = "model.architecture"


def finalize(
    client: Client, parent: Run, *, study: str, experiment: Experiment, search: CountedStudy, choice: Choice
) -> TuneResult:
    """Registers what was chosen, and fills the study's run.

    Args:
        parent: the study's run.
        search: the study's trials.

    Raises:
        StorageError: MLflow refuses.
    """
    settings = experiment.study
    tags = {Tag.STUDY: study, Tag.STUDY_RUN: parent.info.run_id}
    score = {Metric.BEST_F1: f"{choice.value:.6f}"}
    version = RegisteredModel(client, experiment.name).register(
        choice.run_id, aliases=[Alias.CANDIDATE], tags=tags | score
    )
    best_per_architecture = [] if choice.standings else _register_best(client, search, experiment, tags)
    best = search.best_complete(limit=settings.max_cost)
    assert best is not None
    searched = list(experiment.space.dimensions)
    save_study_view(client, parent, study=study, best_run=str(best.run_id), searched=searched)
    pages, address = study_pages(client, parent), ui_address()
    states = [trial.state for trial in trial_facts(search)]
    result = TuneResult(
        study=study,
        study_run_id=parent.info.run_id,
        best_run_id=choice.run_id,
        best_value=choice.value,
        label=choice.label,
        standings=list(choice.standings),
        best_per_architecture=best_per_architecture,
        model=experiment.name,
        version=version,
        counts={state: states.count(state) for state in (State.COMPLETE, State.PRUNED, State.FAILED)},
        fresh=True,
        trials_page=f"{address}/{pages.trials}",
        best_page=f"{address}/{pages.best}" if pages.best else "",
        cost=settings.cost,
        limit=settings.max_cost,
        front=front_trials(search, choice.label),
        baselines=list(choice.baselines),
    )
    links = _links(pages, run_page(parent.info.experiment_id, choice.run_id))
    _fill_run(client, parent, result, experiment=experiment, search=search, best=best.params, links=links)
    # Last: it shows all that the study's run holds by now.
    page = _report_page(client, find_run(client, parent.info.run_id), search, result, state="finished")
    RunWriter(client, parent.info.run_id).log_texts({Artifact.REPORT: page})
    return result


def _fill_run(
    client: Client,
    parent: Run,
    result: TuneResult,
    *,
    experiment: Experiment,
    search: CountedStudy,
    best: Mapping[str, Scalar],
    links: Mapping[str, str],
) -> None:
    """Writes scores, tags, the note, Optuna's figures and tables into the study's run."""
    importance = importances(search)
    note = study_note(
        result,
        description=experiment.description,
        searched={name: dimension.describe() for name, dimension in experiment.space.dimensions.items()},
        best=best,
        importance=importance,
        links=links,
    )
    StudyRun(client, parent).log(
        metrics={Metric.BEST_F1: result.best_value, **{f"trials_{state}": n for state, n in result.counts.items()}},
        tags={Tag.BEST_RUN: result.best_run_id, Tag.REGISTERED: f"{result.model}/{result.version}"},
        note=note,
        texts={f"study/{name}": page for name, page in figures(search).items()}
        | {Artifact.TRIALS: to_csv(trial_records(search))},
        records=_records(experiment, result, importance),
    )


def _register_best(
    client: Client, search: CountedStudy, experiment: Experiment, tags: Mapping[str, str]
) -> list[ArchitectureBest]:
    """Registers the best of each architecture within `study.max_cost` under its name; the best first."""
    registered = []
    for architecture, trial in search.best_by(_ARCHITECTURE, limit=experiment.study.max_cost).items():
        run_id, f1 = str(trial.run_id), trial.f1 or 0.0
        scored = {**tags, Metric.BEST_F1: f"{f1:.6f}"}
        version = RegisteredModel(client, experiment.name).register(run_id, aliases=[architecture], tags=scored)
        registered.append(
            ArchitectureBest(architecture=architecture, f1=f1, state=trial.state, run_id=run_id, version=version)
        )
    return registered


def _links(pages: StudyPages, registered: str) -> dict[str, str]:
    links = {"all trials compared": pages.trials, "the best compared": pages.best, "the registered run": registered}
    return {what: page for what, page in links.items() if page}


def _records(experiment: Experiment, result: TuneResult, importance: Mapping[str, float]) -> dict[str, object]:
    """The study's JSON artifacts by path; those without content are left out."""
    lists = {
        Artifact.STANDINGS: result.standings,
        Artifact.BASELINES: result.baselines,
        Artifact.FRONT: result.front,
    }
    return {
        Artifact.SPACE: experiment.space.describe(),
        Artifact.BASE: flatten(experiment.base),
        Artifact.IMPORTANCE: importance,
        **{path: entries for path, entries in lists.items() if entries},
    }
