"""Which model a study registers: that of its best configuration, or of a baseline that is ahead of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lsml.config.fields import flatten, format_amount
from lsml.config.schema import COST_UNITS
from lsml.config.study import StudySettings
from lsml.data.splits import FoldedData
from lsml.errors import StudyError
from lsml.names import Metric, State
from lsml.report.facts import Standing
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.selection import Candidate, choose, corrected, furthest_ahead, repeated_difference
from lsml.study.database import AttemptRecord, within
from lsml.study.search import Choice
from lsml.study.stages import LaterStages, Scored
from lsml.study.trial_queue import SearchQueue

ARCHITECTURE = "model.architecture"
"""The field of whose values each best trial has a model of its own name in the registry."""

_COMPARED = 200
"""Trials, the best first, whose tables tell how much choosing among them added; of others none would be chosen."""


class ScoredTables(NamedTuple):
    """Reads what a run has scored, by its id.

    Attributes:
        patches: the pixels on each patch; of folds, by the mean of the repeats' probabilities.
        repeats: those of each repeat by itself; where there are no folds one table, that of `patches`.
    """

    patches: Callable[[str], PatchCounts]
    repeats: Callable[[str], Sequence[PatchCounts]]


def choose_model(search: SearchQueue, stages: LaterStages, tables: ScoredTables) -> Choice:
    """The model of the best configuration, or of a baseline that is ahead of it beyond the interval of the difference.

    With validation patches that configuration is the best trial's within `study.max_cost`, whose run has the model.

    In folds the base and the best `study.confirm` trials are cross-validated again, in other folds and with one fresh
    seed: the highest of many noisy scores is optimistically biased, and neither has a part in that. A tuned one has to
    be ahead of the base by more than chance (`lsml.scoring.selection.choose`). Without `study.confirm` the best trial
    is run again alone. Its model is the mean of the networks of these folds, or with `study.final: refit` one network
    that is then trained on all patches.

    Raises:
        StudyError: no trial completed, or none within the limit; none of those run again did; or training on all
            patches failed.
    """
    settings = stages.experiment.study
    ranked = _ranked(search, settings, stages.study)
    folded = isinstance(stages.data, FoldedData)
    first = Scored(stages.again(ranked[0]), ranked[0])
    network, *others = _confirmed(search, ranked, stages, tables) if folded else [first]
    against_base = _against_base([network, *others] if folded and settings.confirm else [first], search, tables)
    scored = stages.baselines()
    better = _ahead(network.run_id, scored, tables)
    architectures = {} if folded else search.study.best_by(ARCHITECTURE, limit=settings.max_cost)
    rivals = {str(trial.run_id) for trial in architectures.values()} - {network.run_id}
    behind = {run_id: ahead[1] for run_id in sorted(rivals) if (ahead := _ahead(run_id, scored, tables))}
    if better:
        registered, why = better
        run_id = registered.run_id
        network = network._replace(reason=why)
        behind[network.run_id] = why
        others = [network, *others]
    else:
        registered = network
        run_id = stages.refit(network) if folded and settings.final == "refit" else network.run_id
    chosen_from = [entry.trial for entry in scored if entry.trial] if better else ranked[:_COMPARED]
    # Where nothing is confirmed, nothing stays for want of another that is ahead of it.
    confirmed = folded and settings.confirm and not better
    base = next((place for place, trial in enumerate(chosen_from) if confirmed and trial.slot == 0), None)
    compared = [registered, *others, *(entry for entry in scored if entry is not registered)]
    return Choice(
        run_id,
        registered.f1,
        registered.item.label,
        standings=tuple(map(_standing, compared)) if folded else (),
        baselines=tuple(map(_standing, scored)),
        network=_standing(network) if better else None,
        behind=behind,
        against_base=against_base,
        corrected=corrected(
            [tables.patches(registered.run_id)], [tables.patches(str(trial.run_id)) for trial in chosen_from], base=base
        ),
    )


def _confirmed(
    search: SearchQueue, ranked: Sequence[AttemptRecord], stages: LaterStages, tables: ScoredTables
) -> list[Scored]:
    """The best trials and the base in other folds; the chosen one first, the others with the reason why not."""
    settings, again = stages.experiment.study, [stages.again(trial) for trial in ranked]
    if not settings.confirm:
        return _able(stages.confirm(again[:1], with_base=False), stages.study)
    tuned = [item for item in again if item.config != stages.base]
    base, *scored = stages.confirm(tuned[: settings.confirm], with_base=True)
    base = _limited(base, search, settings)
    able = _able([base, *scored], stages.study)
    if base not in able:
        chosen, reasons = max(able, key=lambda entry: entry.f1), {}
    else:
        candidates = [_candidate(entry, base, tables) for entry in able]
        selection = choose(candidates)
        chosen = able[selection.chosen]
        reasons = {each.label: each.describe() for each in selection.compared}
    others = [entry for entry in (base, *scored) if entry is not chosen]
    return [chosen, *(entry._replace(reason=entry.reason or reasons.get(entry.item.label, "")) for entry in others)]


def _able(scored: Sequence[Scored], study: str) -> list[Scored]:
    """Those that neither failed nor are above the limit."""
    able = [entry for entry in scored if entry.trial is not None and not entry.reason]
    if not able:
        reasons = "; ".join(f"{entry.item.label}: {entry.reason}" for entry in scored)
        raise StudyError(
            f"study '{study}'",
            f"no configuration could be confirmed ({reasons})",
            "fix these errors and run the same command again",
        )
    return able


def _candidate(entry: Scored, base: Scored, tables: ScoredTables) -> Candidate:
    assert entry.trial is not None
    values, of_base = flatten(entry.item.config), flatten(base.item.config)
    differing = sum(value != of_base[name] for name, value in values.items())
    parameters = int(entry.trial.cost_in(Metric.PARAMETERS) or 0)
    return Candidate(entry.item.label, tables.repeats(entry.run_id), parameters, differing)


def _limited(base: Scored, search: SearchQueue, settings: StudySettings) -> Scored:
    """The base with the reason, where its one network in the search is above `study.max_cost`, why it is not chosen."""
    first = next((trial for trial in search.study.complete_trials() if trial.slot == 0), None)
    if base.trial is None or settings.cost is None or first is None or within(settings.max_cost, first.cost):
        return base
    return base._replace(reason=f"over the limit: {format_amount(first.cost or 0.0)} {COST_UNITS[settings.cost]}")


def _ahead(run_id: str, baselines: Sequence[Scored], tables: ScoredTables) -> tuple[Scored, str] | None:
    """The baseline with a model that is furthest ahead of a run beyond the interval, and by how much."""
    able = {entry.item.label: entry for entry in baselines if entry.trial and entry.trial.has_model}
    counts = {label: tables.repeats(entry.run_id) for label, entry in able.items()}
    found = furthest_ahead(tables.repeats(run_id), counts)
    return found and (able[found.label], found.describe())


def _against_base(ranked: Sequence[Scored], search: SearchQueue, tables: ScoredTables) -> str:
    """By how much the first is ahead of the base, or that it is not; of those confirmed, or of the search alone."""
    best = ranked[0]
    confirmed = next((entry.trial for entry in ranked if entry.item.label == "base"), None)
    base = confirmed or next((trial for trial in search.study.complete_trials() if trial.slot == 0), None)
    if base is None:
        return "how far it is ahead of the base is not known: the base did not complete"
    if str(base.run_id) == best.run_id:
        return f"no tuned configuration was ahead of the base{' by more than chance' if confirmed else ''}"
    ahead = repeated_difference(tables.repeats(best.run_id), tables.repeats(str(base.run_id)))
    verdict = "" if ahead.is_ahead else ": no clear difference"
    return f"F1 of {best.item.label} above the base: {ahead.describe()}{verdict}"


def _standing(scored: Scored) -> Standing:
    name = f"{scored.item.label} configuration" if scored.item.label == "base" else scored.item.label
    if scored.trial is None:
        return Standing(what=name, f1=None, run_id=None, reason=scored.reason)
    return Standing(what=name, f1=scored.f1, run_id=scored.run_id, reason=scored.reason)


def _ranked(search: SearchQueue, settings: StudySettings, study: str) -> list[AttemptRecord]:
    """The complete trials within `study.max_cost`, the best first."""
    ranked = search.study.complete_trials()
    if ranked and settings.cost is not None and settings.max_cost is not None:
        limited = search.study.complete_trials(limit=settings.max_cost)
        if not limited:
            raise _nothing_within(settings.max_cost, settings.cost, ranked, study)
        return limited
    if not ranked:
        states = list(search.states().values())
        raise StudyError(
            f"study '{study}'",
            f"no trial completed ({states.count(State.FAILED)} failed, {states.count(State.PRUNED)} pruned)",
            f"lsml study show {study} lists the reasons; raise --trials to continue",
        )
    return ranked


def _nothing_within(limit: float, metric: str, ranked: Sequence[AttemptRecord], study: str) -> StudyError:
    smallest = min(ranked, key=lambda trial: trial.cost or 0.0)
    unit = COST_UNITS[metric]
    return StudyError(
        f"study '{study}'",
        f"no trial has at most {format_amount(limit)} {unit} (study.max_cost): the smallest, trial {smallest.slot}, "
        f"has {format_amount(smallest.cost or 0.0)} at F1 {smallest.f1 or 0.0:.4f}",
        "raise study.max_cost, or continue with more --trials",
    )
