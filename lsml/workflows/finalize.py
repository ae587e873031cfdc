"""The end of a study: what was chosen is registered, and the study's run is filled."""

import functools
from collections.abc import Mapping

from lsml.config.experiment import Experiment
from lsml.config.fields import Scalar, flatten
from lsml.names import Alias, Artifact, Metric, State, Tag
from lsml.report.facts import ArchitectureBest, TuneResult
from lsml.report.note import study_note
from lsml.scoring.metrics import to_csv
from lsml.study.choice import ARCHITECTURE, ScoredTables
from lsml.study.database import CountedStudy
from lsml.study.results import figures, front_trials, importances, trial_facts, trial_records
from lsml.study.search import Choice
from lsml.tracking.reading import RunReader
from lsml.tracking.registry import RegisteredModel
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import Client, Run, find_run
from lsml.tracking.study import StudyRun, offer_alias
from lsml.tracking.ui import StudyPages, run_page, save_study_view, study_pages, ui_address


def scored_tables(client: Client) -> ScoredTables:
    """The tables of runs that a model is chosen by."""

    def reader(run_id: str) -> RunReader:
        return RunReader(client, find_run(client, run_id))

    # Each once: a baseline is compared with several networks, and what is registered is read again for its correction.
    return ScoredTables(
        patches=functools.cache(lambda run_id: reader(run_id).counts("validation")),
        repeats=functools.cache(lambda run_id: reader(run_id).repeats()),
    )


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
    for run_id, why in choice.behind.items():
        RunWriter(client, run_id).log_scores({}, {Tag.BEHIND: why})
    score = {Metric.BEST_F1: f"{choice.value:.6f}"} | (
        {Metric.CORRECTED_F1: f"{choice.corrected.value:.6f}"} if choice.corrected else {}
    )
    model = RegisteredModel.of_run(client, parent)
    version = model.register(choice.run_id, tags=tags | score)
    aliases = [offer_alias(client, model, Alias.CANDIDATE, version)]
    best_per_architecture = [] if choice.standings else _register_best(model, search, settings.max_cost, choice, tags)
    complete = [best for best in best_per_architecture if best["state"] == State.COMPLETE]
    aliases += [offer_alias(client, model, best["architecture"], best["version"]) for best in complete]
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
        model=model.name,
        version=version,
        aliases=aliases,
        counts={state: states.count(state) for state in (State.COMPLETE, State.PRUNED, State.FAILED)},
        fresh=True,
        trials_page=f"{address}/{pages.trials}",
        best_page=f"{address}/{pages.best}" if pages.best else "",
        cost=settings.cost,
        limit=settings.max_cost,
        front=front_trials(search, choice.label),
        baselines=list(choice.baselines),
        network=choice.network,
        corrected=choice.corrected,
        against_base=choice.against_base,
    )
    links = _links(pages, run_page(parent.info.experiment_id, choice.run_id))
    _fill_run(client, parent, result, experiment=experiment, search=search, best=best.params, links=links)
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
        metrics=_metrics(result),
        tags={
            Tag.BEST_RUN: result.best_run_id,
            Tag.REGISTERED: f"{result.model}/{result.version}",
            **({Tag.NETWORK_RUN: str(result.network["run_id"])} if result.network else {}),
        },
        note=note,
        texts={f"study/{name}": page for name, page in figures(search).items()}
        | {Artifact.TRIALS: to_csv(trial_records(search))},
        records=_records(experiment, result, importance),
    )


def _metrics(result: TuneResult) -> dict[str, float]:
    """Of the study's run."""
    counts = {f"trials_{state}": float(count) for state, count in result.counts.items()}
    # By its name in the trials' runs too: the row of a study that is folded shows no more than its own metrics.
    metrics = {Metric.VAL_F1: result.best_value, Metric.BEST_F1: result.best_value, **counts}
    if found := result.corrected:
        metrics |= {
            Metric.CORRECTED_F1: found.value,
            Metric.CORRECTED_LOW: found.interval.low,
            Metric.CORRECTED_HIGH: found.interval.high,
        }
    return metrics


def _register_best(
    model: RegisteredModel, search: CountedStudy, limit: float | None, choice: Choice, tags: Mapping[str, str]
) -> list[ArchitectureBest]:
    """Registers the best of each architecture within `study.max_cost`; the best first.

    One that a baseline is ahead of is tagged so, and is no version.
    """
    registered = []
    for architecture, trial in search.best_by(ARCHITECTURE, limit=limit).items():
        run_id, f1 = str(trial.run_id), trial.f1 or 0.0
        if run_id in choice.behind:
            continue
        scored = {**tags, Metric.BEST_F1: f"{f1:.6f}"}
        version = model.register(run_id, tags=scored)
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
