"""What a study found, as Optuna's own figures and one table."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure

from lsml.config import in_words
from lsml.space import Dimension, Space
from lsml.study.choice import Choice
from lsml.study.database import CountedStudy, attempt_of, run_id_of, slot_of, state_of

_IMPORTANCE_NEEDS = 2


def figures(study: CountedStudy) -> dict[str, str]:
    """HTML pages by file name, each complete in itself: history, importance, parallel coordinates, timeline.

    Importances need two complete trials with different values; without them that page is left out.
    """
    plots: dict[str, Callable[[optuna.Study], Figure]] = {
        "history": optuna.visualization.plot_optimization_history,
        "parallel_coordinates": optuna.visualization.plot_parallel_coordinate,
        "timeline": optuna.visualization.plot_timeline,
    }
    if importances(study):
        plots["importance"] = _plot_importance
    drawn = _by_slot(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {f"{name}.html": plot(drawn).to_html() for name, plot in plots.items()}


def _by_slot(study: CountedStudy) -> optuna.Study:
    """A copy in memory whose trial numbers are the slots: Optuna's plots take them for positions."""
    copy = optuna.create_study(direction="maximize")
    copy.add_trials(sorted(study.get_trials(), key=slot_of))
    return copy


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of the objective's variance that each searched field explains (fANOVA, Hutter et al. 2014).

    Empty while fewer than two complete trials differ in value, or none of the fields was searched in all of them.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    common = set.intersection(*(set(t.params) for t in complete)) if complete else set()
    if len({t.value for t in complete}) < _IMPORTANCE_NEEDS or not common:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=_evaluator())


def _evaluator() -> optuna.importance.FanovaImportanceEvaluator:
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def _plot_importance(study: optuna.Study) -> Figure:
    return optuna.visualization.plot_param_importances(study, evaluator=_evaluator())


def table(study: CountedStudy) -> list[dict[str, object]]:
    """One row an attempt, superseded ones included: slot, attempt, state, value, epochs, run and parameters."""
    names = sorted({name for trial in study.all_trials(deepcopy=False) for name in trial.params})
    return [
        {
            "slot": slot_of(trial),
            "attempt": attempt_of(trial),
            "state": state_of(trial),
            "val_f1": trial.value,
            "epochs": trial.last_step,
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
        rows.append(f"| {name} | {_values(dimension)} | **{value}** | {share} |")
    return "\n".join(
        [
            f"**{study}**: {description}".strip(),
            "",
            *(_on_folds(choice, registered) if choice.standings else _on_validation(choice, registered)),
            f"Trials: {ended}.",
            "",
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


def _on_validation(choice: Choice, registered: str) -> list[str]:
    return [
        f"**Best validation F1 {choice.value:.4f}** (pooled over pixels) in {choice.label}, run `{choice.run_id}`, "
        f"registered as `{registered}`."
    ]


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
    rows = [f"| {s.what} | {s.reason if s.f1 is None else f'{s.f1:.4f}'} |" for s in choice.standings]
    return [
        f"**F1 {choice.value:.4f}** over all pixels of patches held out in folds, by the configuration of "
        f"{choice.label}; trained on all patches in run `{choice.run_id}`, registered as `{registered}`.",
        "",
        "| in the same folds | F1 |",
        "|---|---|",
        *rows,
        "",
    ]


def _values(dimension: Dimension) -> str:
    if dimension.choices is not None:
        text = ", ".join(map(in_words, dimension.choices))
    else:
        kind = " (log)" if dimension.log else f" by {in_words(dimension.step)}" if dimension.step is not None else ""
        text = f"{in_words(dimension.low)} to {in_words(dimension.high)}{kind}"
    condition = " and ".join(f"{parent} = {value}" for parent, value in dimension.when.items())
    return f"{text}, if {condition}" if condition else text
