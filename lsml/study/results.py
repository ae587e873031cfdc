"""What Optuna tells of a study: its figures, the importances, the Pareto front, every trial."""

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lsml.config.fields import format_amount, format_value
from lsml.config.schema import COST_UNITS
from lsml.names import OBJECTIVE, Attribute
from lsml.report.facts import FrontTrial, TrialFacts
from lsml.study.database import AttemptRecord, CountedStudy

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_IMPORTANCE_NEEDS = 2


def figures(study: CountedStudy) -> dict[str, str]:
    """HTML pages by file name, each complete in itself: history, importance, parallel coordinates, timeline.

    With two objectives these are of F1, and there is a page of both. Importances need two complete trials with
    different values; without them that page is left out.
    """
    plots: dict[str, Callable[[optuna.Study], Figure]] = {
        "history": optuna.visualization.plot_optimization_history,
        "parallel_coordinates": optuna.visualization.plot_parallel_coordinate,
        "timeline": optuna.visualization.plot_timeline,
    }
    if importances(study):
        plots["importance"] = _plot_importance
    drawn = _f1_by_slot(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pages = {f"{name}.html": plot(drawn).to_html() for name, plot in plots.items()}
    return pages | ({"pareto.html": _plot_front(study).to_html()} if study.cost_metric else {})


def _f1_by_slot(study: CountedStudy) -> optuna.Study:
    """A copy in memory of F1 alone whose trial numbers are the slots: Optuna's plots take them for positions."""
    copy = optuna.create_study(direction="maximize")
    for trial in sorted(study.get_trials(), key=lambda trial: AttemptRecord(trial).slot):
        trial.values = trial.values and trial.values[:1]
        copy.add_trial(trial)
    return copy


def importances(study: CountedStudy) -> dict[str, float]:
    """How much each searched field decides whether a trial is among the best; together 1, the largest first.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255), Optuna's default, of the complete trials' F1; a
    field that only some trials have counts with these. Empty while fewer than two complete trials differ in F1, or
    nothing was searched.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({AttemptRecord(t).f1 for t in complete}) < _IMPORTANCE_NEEDS or not any(t.params for t in complete):
        return {}
    _load_importance()
    # With several objectives the evaluator wants one, takes the lowest for the best, and warns that it does.
    target = _loss if study.cost_metric else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return optuna.importance.get_param_importances(study, evaluator=_evaluator(study), target=target)


_BEST_SHARE, _BEST_AT_LEAST = 0.1, 5
"""The trials that count as the best: a tenth, but five, below which Optuna calls its estimate unstable, or half."""


def _evaluator(study: optuna.Study) -> "optuna.importance.PedAnovaImportanceEvaluator":
    complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    best = min(max(_BEST_SHARE * complete, _BEST_AT_LEAST), complete / 2)
    return optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best / complete)


def _load_importance() -> None:
    """Loads Optuna's importances without scikit-learn, which its other evaluators use and which takes a second."""
    if "sklearn" not in sys.modules:
        absent: Any = None
        sys.modules["sklearn"] = absent
        try:
            importlib.import_module("optuna.importance")
        finally:
            del sys.modules["sklearn"]


def _loss(trial: FrozenTrial) -> float:
    return -float(trial.values[0])


def _plot_importance(study: optuna.Study) -> "Figure":
    return optuna.visualization.plot_param_importances(study, evaluator=_evaluator(study), target_name="F1")


def _plot_front(study: CountedStudy) -> "Figure":
    """Every complete trial, F1 over the second objective, with the Pareto front as the best F1 up to each cost.

    Optuna's own figure colours by trial number, so that the front's first points are nearly white.
    """
    unit, best = COST_UNITS[str(study.cost_metric)], study.pareto_front()
    others = [attempt for attempt in study.complete_trials() if attempt not in best]
    from plotly.graph_objects import Figure

    figure = Figure(layout={"title": f"F1 against {unit}"})
    figure.update_xaxes(title=unit)
    figure.update_yaxes(title="F1")
    figure.add_scatter(name="other trials", mode="markers", marker_color="#8c9bb0", **_points(others, unit))
    figure.add_scatter(
        name="Pareto front",
        mode="lines+markers",
        marker={"color": "#c0392b", "size": 10},
        line={"shape": "hv", "color": "#c0392b", "width": 1},
        **_points(best[::-1], unit),
    )
    return figure


def _points(attempts: Sequence[AttemptRecord], unit: str) -> dict[str, Any]:
    """Places of trials of two objectives, and what is shown of the one that is pointed at."""
    shown = [
        [f"trial {attempt.slot}: F1 {attempt.trial.values[0]:.4f}, {format_amount(attempt.trial.values[1])} {unit}"]
        + [f"{name}: {format_value(value)}" for name, value in attempt.params.items()]
        + [f"run {attempt.run_id}"]
        for attempt in attempts
    ]
    return {
        "x": [attempt.cost for attempt in attempts],
        "y": [attempt.f1 for attempt in attempts],
        "hovertext": ["<br>".join(lines) for lines in shown],
        "hoverinfo": "text",
    }


def front_trials(study: CountedStudy, chosen: str) -> list[FrontTrial]:
    """The Pareto front of a study with two objectives, best F1 first; empty with one objective.

    Args:
        chosen: the label of the configuration that is registered, such as `trial 3` or `base`.
    """
    if study.cost_metric is None:
        return []
    return [
        FrontTrial(
            trial=attempt.slot,
            f1=attempt.trial.values[0],
            cost=attempt.trial.values[1],
            run_id=attempt.run_id,
            registered=chosen in (f"trial {attempt.slot}", *(["base"] if attempt.slot == 0 else [])),
        )
        for attempt in study.pareto_front()
    ]


def trial_facts(study: CountedStudy) -> list[TrialFacts]:
    """Every attempt at a trial of the search, superseded ones included, by slot and attempt."""
    attempts = [AttemptRecord(trial) for trial in study.all_trials(deepcopy=False)]
    attempts.sort(key=lambda attempt: (attempt.slot, attempt.ordinal))
    two_objectives = study.cost_metric is not None
    return [_facts(attempt, two_objectives=two_objectives) for attempt in attempts]


def _facts(attempt: AttemptRecord, *, two_objectives: bool) -> TrialFacts:
    attributes = attempt.trial.user_attrs
    return TrialFacts(
        slot=attempt.slot,
        ordinal=attempt.ordinal,
        state=attempt.state,
        f1=attempt.f1,
        cost=attempt.cost,
        values=attempt.params,
        run_id=attempt.run_id,
        reason=str(attributes.get(Attribute.SUPERSEDED) or attributes.get(Attribute.REASON) or ""),
        # With two objectives Optuna has no course of a trial.
        epochs=attributes.get(Attribute.STEPS) if two_objectives else attempt.trial.last_step,
        worker=attributes.get(Attribute.WORKER, ""),
    )


def trial_records(study: CountedStudy) -> list[dict[str, object]]:
    """`trial_facts` as one flat record an attempt, with its slot, state, values, reason, worker, run and parameters."""
    trials, cost = trial_facts(study), study.cost_metric
    names = sorted({name for trial in trials for name in trial.values})
    return [
        {
            "slot": trial.slot,
            "attempt": trial.ordinal,
            "state": trial.state,
            OBJECTIVE: trial.f1,
            **({cost: trial.cost} if cost else {}),
            "epochs": trial.epochs,
            "reason": trial.reason or None,
            "worker": trial.worker or None,
            "run_id": trial.run_id,
            **{name: trial.values.get(name) for name in names},
        }
        for trial in trials
    ]
