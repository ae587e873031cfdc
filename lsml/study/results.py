"""What a study found, as Optuna's own figures and one table."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure

from lsml.config.fields import amount, in_words
from lsml.config.schema import COST_UNITS, OBJECTIVE
from lsml.config.space import Dimension, Space
from lsml.report.summary import TrialFacts
from lsml.study.database import (
    STEPS,
    CountedStudy,
    attempt_of,
    complete_trials,
    cost_metric,
    cost_of,
    f1_of,
    pareto_front,
    run_id_of,
    slot_of,
    state_of,
)
from lsml.study.stages import Choice, Standing

_IMPORTANCE_NEEDS = 2


@dataclass(frozen=True)
class Objectives:
    """What a study with two objectives came to.

    Attributes:
        metric: the second objective.
        limit: the highest value of it that may be registered; None for any.
        front: the Pareto front, as `front` gives it.
    """

    metric: str
    limit: float | None
    front: Sequence[Mapping[str, Any]]


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
    return pages | ({"pareto.html": _plot_front(study).to_html()} if cost_metric(study) else {})


def _f1_by_slot(study: CountedStudy) -> optuna.Study:
    """A copy in memory of F1 alone whose trial numbers are the slots: Optuna's plots take them for positions."""
    copy = optuna.create_study(direction="maximize")
    for trial in sorted(study.get_trials(), key=slot_of):
        trial.values = trial.values and trial.values[:1]
        copy.add_trial(trial)
    return copy


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of the objective's variance that each searched field explains (fANOVA, Hutter et al. 2014).

    Empty while fewer than two complete trials differ in value, or none of the fields was searched in all of them.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    common = set.intersection(*(set(t.params) for t in complete)) if complete else set()
    if len({f1_of(t) for t in complete}) < _IMPORTANCE_NEEDS or not common:
        return {}
    return optuna.importance.get_param_importances(
        study, evaluator=_evaluator(), target=(lambda trial: trial.values[0]) if cost_metric(study) else None
    )


def _evaluator() -> optuna.importance.FanovaImportanceEvaluator:
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def _plot_importance(study: optuna.Study) -> Figure:
    return optuna.visualization.plot_param_importances(study, evaluator=_evaluator())


def _plot_front(study: CountedStudy) -> Figure:
    """Every complete trial, F1 over the second objective, with the Pareto front as the best F1 up to each cost.

    Optuna's own figure colours by trial number, so that the front's first points are nearly white.
    """
    unit, best = COST_UNITS[str(cost_metric(study))], pareto_front(study)
    numbers = {trial.number for trial in best}
    others = [trial for trial in complete_trials(study) if trial.number not in numbers]
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


def _points(trials: Sequence[FrozenTrial], unit: str) -> dict[str, Any]:
    """Places of trials of two objectives, and what is shown of the one that is pointed at."""
    shown = [
        [f"trial {slot_of(t)}: F1 {t.values[0]:.4f}, {amount(t.values[1])} {unit}"]
        + [f"{name}: {in_words(value)}" for name, value in t.params.items()]
        + [f"run {run_id_of(t)}"]
        for t in trials
    ]
    return {
        "x": [t.values[1] for t in trials],
        "y": [t.values[0] for t in trials],
        "hovertext": ["<br>".join(lines) for lines in shown],
        "hoverinfo": "text",
    }


def front(study: CountedStudy, chosen: str) -> list[dict[str, Any]]:
    """The Pareto front of a study with two objectives, best F1 first; empty with one objective.

    Args:
        chosen: the label of the configuration that is registered, such as `trial 3` or `base`.
    """
    if cost_metric(study) is None:
        return []
    return [
        {
            "trial": slot_of(trial),
            "f1": f1_of(trial),
            "cost": cost_of(trial),
            "run_id": run_id_of(trial),
            "registered": chosen in (f"trial {slot_of(trial)}", *(["base"] if slot_of(trial) == 0 else [])),
        }
        for trial in pareto_front(study)
    ]


def trial_facts(study: CountedStudy) -> list[TrialFacts]:
    """Every attempt at a trial of the search, superseded ones included."""
    return [
        TrialFacts(
            slot=slot_of(trial),
            ordinal=attempt_of(trial),
            state=state_of(trial),
            f1=f1_of(trial),
            cost=cost_of(trial),
            values=trial.params,
            run_id=run_id_of(trial),
            reason=str(trial.user_attrs.get("superseded") or trial.user_attrs.get("reason") or ""),
        )
        for trial in study.all_trials(deepcopy=False)
    ]


def table(study: CountedStudy) -> list[dict[str, object]]:
    """One row an attempt, superseded ones included: slot, attempt, state, values, epochs, run and parameters."""
    names = sorted({name for trial in study.all_trials(deepcopy=False) for name in trial.params})
    cost = cost_metric(study)
    return [
        {
            "slot": slot_of(trial),
            "attempt": attempt_of(trial),
            "state": state_of(trial),
            OBJECTIVE: f1_of(trial),
            **({cost: cost_of(trial)} if cost else {}),
            # With two objectives Optuna has no course of a trial.
            "epochs": trial.user_attrs.get(STEPS) if cost else trial.last_step,
            "reason": trial.user_attrs.get("superseded") or trial.user_attrs.get("reason"),
            "run_id": run_id_of(trial),
            **{name: trial.params.get(name) for name in names},
        }
        for trial in sorted(study.all_trials(deepcopy=False), key=lambda t: (slot_of(t), attempt_of(t)))
    ]


def note(
    *,
    study: str,
    description: str,
    space: Space,
    best: FrozenTrial,
    choice: Choice,
    champions: Sequence[Mapping[str, Any]],
    objectives: Objectives | None,
    counts: Mapping[str, int],
    importance: Mapping[str, float],
    registered: str,
    links: Mapping[str, str],
) -> str:
    """What a study asked and found, in Markdown: for its run in MLflow.

    Args:
        best: the best trial of the search.
        choice: what is registered.
        champions: the best of each architecture: `architecture`, `f1`, `state`, `run_id`, `version`.
        objectives: what there is beside F1; None where it is F1 alone.
        counts: trials by state.
        importance: share of the objective's variance by searched field; empty where it is not known.
        registered: model and version, such as `demo/3`.
        links: addresses by what they show.
    """
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    rows = ["| searched | in | best trial | explains |", "|---|---|---|---|"]
    for name, dimension in space.dimensions.items():
        value = in_words(best.params[name]) if name in best.params else "not used"
        share = f"{importance[name]:.0%}" if name in importance else ""
        rows.append(f"| {name} | {values_in_words(dimension)} | **{value}** | {share} |")
    return "\n".join(
        [
            f"**{study}**: {description}".strip(),
            "",
            *(_on_folds(choice, registered) if choice.standings else _on_validation(choice, registered)),
            f"Trials: {ended}.",
            "",
            *(_on_front(objectives) if objectives else []),
            *_by_architecture(champions),
            *rows,
            "",
            "*Explains*: share of the variance of F1 over the complete trials (fANOVA).",
            "",
            " · ".join(f"[{what}]({address})" for what, address in links.items()),
            "",
            "Judge it on a test split, which no trial has seen:",
            "",
            f"    lsml evaluate --run-id {choice.run_id} --baseline",
        ]
    )


def _on_front(objectives: Objectives) -> list[str]:
    unit = COST_UNITS[objectives.metric]
    rows = [
        f"| trial {best['trial']}{', **registered**' if best['registered'] else ''} | {best['f1']:.4f} "
        f"| {amount(best['cost'])} | `{best['run_id']}` |"
        for best in objectives.front
    ]
    limit = objectives.limit
    limited = "" if limit is None else f" Registered is the best F1 with at most {amount(limit)} {unit}."
    return [
        f"Of F1 against {unit}: no trial is better in one than these and no worse in the other.{limited}",
        "",
        f"| Pareto front | F1 | {unit} | run |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _on_validation(choice: Choice, registered: str) -> list[str]:
    return [
        f"**Best validation F1 {choice.value:.4f}** (pooled over pixels) in {choice.label}, run `{choice.run_id}`, "
        f"registered as `{registered}`.",
        *(["", *_to_beat(choice)] if choice.baselines else []),
    ]


def _to_beat(choice: Choice) -> list[str]:
    registered = Standing(f"**registered**: {choice.label}", choice.value, choice.run_id)
    rows = [f"| {s.what} | {_score(s)} | `{s.run_id or ''}` |" for s in (registered, *choice.baselines)]
    return ["| what a network has to beat | validation F1 | run |", "|---|---|---|", *rows, ""]


def _by_architecture(champions: Sequence[Mapping[str, Any]]) -> list[str]:
    if not champions:
        return []
    rows = [
        f"| {best['architecture']} | {best['f1']:.4f}{' (pruned)' if best['state'] == 'pruned' else ''} "
        f"| version {best['version']} | `lsml evaluate --run-id {best['run_id']}` |"
        for best in champions
    ]
    return ["| architecture | best F1 | registered | judge it |", "|---|---|---|---|", *rows, ""]


def _on_folds(choice: Choice, registered: str) -> list[str]:
    rows = [f"| {s.what} | {_score(s)} |" for s in choice.standings]
    return [
        f"**F1 {choice.value:.4f}** over all pixels of patches held out in folds, by the configuration of "
        f"{choice.label}; trained on all patches in run `{choice.run_id}`, registered as `{registered}`.",
        "",
        "| in the same folds | F1 |",
        "|---|---|",
        *rows,
        "",
    ]


def _score(standing: Standing) -> str:
    if standing.f1 is None:
        return standing.reason
    return f"{standing.f1:.4f}{f' ({standing.reason})' if standing.reason else ''}"


def values_in_words(dimension: Dimension) -> str:
    """What the search may try: `unet, resnet_unet` or `0.001 to 0.01 (log)`, and under which condition."""
    if dimension.choices is not None:
        text = ", ".join(map(in_words, dimension.choices))
    else:
        kind = " (log)" if dimension.log else f" by {in_words(dimension.step)}" if dimension.step is not None else ""
        text = f"{in_words(dimension.low)} to {in_words(dimension.high)}{kind}"
    condition = " and ".join(f"{parent} = {value}" for parent, value in dimension.when.items())
    return f"{text}, if {condition}" if condition else text
