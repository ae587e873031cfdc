"""What a study asked and found, as the note of its run in MLflow."""

from collections.abc import Mapping

from lsml.config.fields import Scalar, format_value
from lsml.names import State
from lsml.report.facts import TuneResult, importance_caveat
from lsml.report.summary import Table, result_tables


def study_note(
    result: TuneResult,
    *,
    description: str,
    searched: Mapping[str, str],
    best: Mapping[str, Scalar],
    importance: Mapping[str, float],
    links: Mapping[str, str],
) -> str:
    """What a study asked and found, in Markdown: for its run in MLflow.

    Args:
        searched: the values of each searched field, as text.
        best: what the search chose in its best trial.
        importance: share of the objective's variance by searched field; empty where it is not known.
        links: addresses by what they show.
    """
    ended = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    rows = [
        [
            name,
            values,
            f"**{format_value(best[name]) if name in best else 'not used'}**",
            f"{importance[name]:.0%}" if name in importance else "",
        ]
        for name, values in searched.items()
    ]
    lines = [
        f"**{result.study}**: {description}".strip(),
        "",
        _registered(result),
        "",
        f"Trials: {ended}.",
        "",
        *(line for table in result_tables(result) for line in table.markdown()),
        *Table("", ["searched", "in", "best trial", "importance"], rows).markdown(),
        "*Importance*: how much a field decides whether a trial is among the best, by PED-ANOVA"
        f"{importance_caveat(result.counts.get(State.COMPLETE, 0))}.",
        "",
        " · ".join(f"[{what}]({address})" for what, address in links.items()),
        "",
        "Evaluate it on a test split, which no trial has seen:",
        "",
        f"    lsml evaluate --run-id {result.best_run_id} --baseline",
    ]
    return "\n".join(lines)


def _registered(result: TuneResult) -> str:
    found = f"**{result.describe_score()}**: {result.label}, run `{result.best_run_id}`, registered as "
    instead = f" {result.network['reason']} of {result.network['what']}." if result.network else ""
    against = f" {result.against_base}." if result.against_base else ""
    return f"{found}`{result.model}/{result.version}`.{instead}{against}"
