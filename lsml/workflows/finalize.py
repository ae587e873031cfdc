"""The end of a study: what is registered, and what its run in MLflow tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lsml.config.experiment import Experiment
from lsml.config.fields import flatten
from lsml.scoring.metrics import to_csv
from lsml.study.database import CountedStudy, best_by, best_of, f1_of, run_id_of, state_of
from lsml.study.stages import Choice

_ARCHITECTURE = "model.architecture"

REPORT = "report.html"
"""The artifact of a study's run that tells all of it."""


@dataclass(frozen=True)
class TuneResult:
    """What a finished study leaves behind.

    Attributes:
        best_run_id: the run whose model is registered.
        best_value: F1 of its configuration, pooled over the pixels of validation or of all folds, in 0..1.
        label: where that configuration comes from, such as `trial 3` or `base`.
        standings: how all competitors did in the folds, the registered one first: `what`, `f1`, `run_id`, `reason`;
            empty where there are no folds.
        baselines: likewise of what a network has to beat, judged on validation patches or in the folds.
        champions: the best of each architecture, where that was searched and trials have models: `architecture`,
            `f1`, `state`, `run_id`, `version`; each version has its architecture as alias.
        counts: how many of the study's trials ended complete, pruned or failed.
        fresh: False when the study had all its trials before.
        trials_page: address of MLflow's page that compares the trials.
        best_page: address of the page with the best few side by side; empty while fewer than two have a score.
        cost: the metric that is the second objective; None where there is one objective.
        limit: the highest value of it that may be registered; None for any.
        front: with two objectives the Pareto front, the best F1 first: `trial`, `f1`, `cost`, `run_id`, `registered`.
    """

    study: str
    study_run_id: str
    best_run_id: str
    best_value: float
    label: str
    standings: Sequence[Mapping[str, Any]]
    champions: Sequence[Mapping[str, Any]]
    model: str
    version: str
    counts: Mapping[str, int]
    fresh: bool
    trials_page: str
    best_page: str
    cost: str | None = None
    limit: float | None = None
    front: Sequence[Mapping[str, Any]] = ()
    baselines: Sequence[Mapping[str, Any]] = ()


def conclude(
    client: Any, parent: Any, *, study: str, experiment: Experiment, search: CountedStudy, choice: Choice
) -> TuneResult:
    """Registers what was chosen, and fills the study's run.

    Args:
        client: of MLflow.
        parent: the study's run.
        search: the study's trials.

    Raises:
        StorageError: MLflow refuses.
    """
    from lsml.study.results import front, table
    from lsml.tracking.models import CANDIDATE, register

    tags = {"lsml.study": study, "lsml.study_run_id": parent.info.run_id}
    score = {"best_val_f1": f"{choice.value:.6f}"}
    version = register(client, choice.run_id, experiment.name, aliases=[CANDIDATE], tags=tags | score)
    settings = experiment.study
    champions = [] if choice.standings else _champions(client, search, experiment, tags)
    best_front = front(search, choice.label)
    rows = table(search)
    counts = {state: sum(row["state"] == state for row in rows) for state in ("complete", "pruned", "failed")}
    registered = f"{experiment.name}/{version}"
    conclusion = _Conclusion(study, experiment, search, choice, champions, best_front, rows, counts, registered)
    trials_page, best_page = conclusion.describe(client, parent)
    result = TuneResult(
        study=study,
        study_run_id=parent.info.run_id,
        best_run_id=choice.run_id,
        best_value=choice.value,
        label=choice.label,
        standings=[asdict(standing) for standing in choice.standings],
        champions=champions,
        model=experiment.name,
        version=version,
        counts=counts,
        fresh=True,
        trials_page=trials_page,
        best_page=best_page,
        cost=settings.cost,
        limit=settings.limit,
        front=best_front,
        baselines=[asdict(standing) for standing in choice.baselines],
    )
    _log_report(client, parent.info.run_id, search, result)
    return result


def _log_report(client: Any, run_id: str, search: CountedStudy, result: TuneResult) -> None:
    """Writes the report, which speaks of all that stands in the study's run by now."""
    from lsml.tracking.runs import find_run, log_texts
    from lsml.workflows.report import report_page

    page = report_page(client, find_run(client, run_id), search, asdict(result), state="finished")
    log_texts(client, run_id, {REPORT: page})


def _champions(
    client: Any, search: CountedStudy, experiment: Experiment, tags: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Registers the best of each architecture within `study.limit` under its name; the best first."""
    from lsml.tracking.models import register

    found = []
    for architecture, trial in best_by(search, _ARCHITECTURE, limit=experiment.study.limit).items():
        run_id, score = str(run_id_of(trial)), f1_of(trial) or 0.0
        scored = {**tags, "best_val_f1": f"{score:.6f}"}
        version = register(client, run_id, experiment.name, aliases=[architecture], tags=scored)
        found.append(
            {
                "architecture": architecture,
                "f1": score,
                "state": state_of(trial),
                "run_id": run_id,
                "version": version,
            }
        )
    return found


@dataclass(frozen=True)
class _Conclusion:
    """All that the study's run is to tell."""

    study: str
    experiment: Experiment
    search: CountedStudy
    choice: Choice
    champions: Sequence[Mapping[str, Any]]
    front: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, object]]
    counts: Mapping[str, int]
    registered: str

    def describe(self, client: Any, parent: Any) -> tuple[str, str]:
        """Fills the study's run, and gives the addresses of its two pages."""
        from lsml.study.results import Objectives, figures, importances, note
        from lsml.tracking.runs import BEST_METRIC, BEST_RUN, REGISTERED
        from lsml.tracking.study import STANDINGS, log_study
        from lsml.tracking.ui import run_page, study_pages, ui_address
        from lsml.tracking.views import save_study_view

        choice, space, importance = self.choice, self.experiment.space, importances(self.search)
        settings = self.experiment.study
        best = best_of(self.search, limit=settings.limit)
        assert best is not None
        save_study_view(
            client, parent, study=self.study, best_run=str(run_id_of(best)), searched=list(space.dimensions)
        )
        pages = study_pages(client, parent)
        links = {"all trials compared": pages.trials, "the best side by side": pages.best}
        links["the registered model's run"] = run_page(parent.info.experiment_id, choice.run_id)
        standings = [asdict(standing) for standing in choice.standings]
        baselines = [asdict(standing) for standing in choice.baselines]
        log_study(
            client,
            parent.info.run_id,
            metrics={BEST_METRIC: choice.value, **{f"trials_{state}": n for state, n in self.counts.items()}},
            tags={BEST_RUN: choice.run_id, REGISTERED: self.registered},
            note=note(
                study=self.study,
                description=self.experiment.description,
                space=space,
                best=best,
                choice=choice,
                champions=self.champions,
                objectives=Objectives(settings.cost, settings.limit, self.front) if settings.cost else None,
                counts=self.counts,
                importance=importance,
                registered=self.registered,
                links={what: page for what, page in links.items() if page},
            ),
            texts={f"study/{name}": page for name, page in figures(self.search).items()}
            | {"study/trials.csv": to_csv(self.rows)},
            records={
                "study/space.json": space.describe(),
                "study/base.json": flatten(self.experiment.base),
                "study/importance.json": importance,
            }
            | ({STANDINGS: standings} if standings else {})
            | ({"study/baselines.json": baselines} if baselines else {})
            | ({"study/front.json": list(self.front)} if self.front else {}),
        )
        address = ui_address()
        return f"{address}/{pages.trials}", f"{address}/{pages.best}" if pages.best else ""
