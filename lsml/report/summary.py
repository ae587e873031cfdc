"""What a study came to, as plain values, and every table that is shown; terminal, Markdown and HTML render them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from lsml.config.fields import Scalar, format_amount, format_value
from lsml.config.schema import COST_UNITS
from lsml.scoring.bootstrap import Interval
from lsml.scoring.comparison import Board, ComparedRun

if TYPE_CHECKING:
    import pandas

_SHOWN_HASH = 16
_REGISTERED = "registered"


@dataclass(frozen=True)
class Picture:
    """A picture in a page or in a cell of a table, which only HTML shows.

    Attributes:
        content: PNG or SVG.
        alt: what it shows, for those who cannot see it.
        caption: below it; empty for none.
        wide: as wide as the page, and scrolled within itself where the page is narrow.
    """

    content: bytes
    alt: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        title: above it; empty for none.
        columns: their heads; one called `run` holds ids of runs.
        rows: of cells; the first of each row is its head.
        marked: numbers of rows, from 0, that stand out.
        wide: as wide as the page, in HTML.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Picture]]
    marked: frozenset[int] = frozenset()
    wide: bool = False

    @classmethod
    def of_standings(cls, standings: Sequence["Standing"], title: str = "") -> "Table":
        """How the configurations and baselines of a study in folds did; the first is what it registered."""
        return _ranked(title, "out-of-fold F1", "registered, trained on all patches", standings)

    @classmethod
    def of_front(cls, front: Sequence["FrontTrial"], unit: str, title: str = "") -> "Table":
        """The trials than which none is better in one objective and no worse in the other; `unit` is the second's."""
        rows = [
            [
                f"trial {best['trial']}",
                f"{best['f1']:.4f}",
                format_amount(best["cost"]),
                _REGISTERED if best["registered"] else "",
                best["run_id"] or "",
            ]
            for best in front
        ]
        marked = frozenset(place for place, best in enumerate(front) if best["registered"])
        return cls(title, ["Pareto front", "F1", unit, "", "run"], rows, marked)

    @classmethod
    def of_architectures(cls, best_per_architecture: Sequence["ArchitectureBest"], title: str = "") -> "Table":
        """The best of each architecture, each a version of the registered model."""
        rows = [
            [best["architecture"], f"{best['f1']:.4f}", best["state"], f"version {best['version']}", best["run_id"]]
            for best in best_per_architecture
        ]
        return cls(title, ["best of each architecture", "validation F1", "state", _REGISTERED, "run"], rows, wide=True)

    @classmethod
    def of_trials(
        cls, trials: Sequence["TrialFacts"], fields: Sequence[str], *, title: str, cost_unit: str | None = None
    ) -> "Table":
        """One row an attempt at a trial, with the searched `fields`; `cost_unit` where there are two objectives."""
        rows = [
            [
                str(trial.slot),
                str(trial.ordinal),
                trial.state,
                "" if trial.f1 is None else f"{trial.f1:.4f}",
                *([] if cost_unit is None else ["" if trial.cost is None else format_amount(trial.cost)]),
                format_value(trial.epochs),
                *(format_value(trial.values.get(name)) for name in fields),
                trial.run_id or "",
            ]
            for trial in trials
        ]
        costs = [] if cost_unit is None else [cost_unit]
        return cls(title, ["trial", "attempt", "state", "F1", *costs, "epochs", *fields, "run"], rows, wide=True)

    @classmethod
    def of_openings(cls, openings: Sequence[Mapping[str, str | None]]) -> "Table":
        """Every opening of the test split, in the order of time."""
        rows = [
            [
                entry["when"] or "",
                entry["who"] or "",
                entry["model"] or "",
                (entry["data_fingerprint"] or "")[:_SHOWN_HASH] or "unknown: cut off before its end",
                (entry.get("code_commit") or "")[:_SHOWN_HASH],
            ]
            for entry in openings
        ]
        columns = ["when", "who", "model", "data fingerprint", "code commit"]
        return cls("Openings of the test split", columns, rows, wide=True)

    def markdown(self) -> list[str]:
        """The lines of the table in Markdown; marked rows are bold, ids of runs are code."""
        runs = [column == "run" for column in self.columns]
        lines = [self.title, ""] if self.title else []
        lines += [f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"]
        for place, row in enumerate(self.rows):
            cells = [f"`{cell}`" if run and cell else str(cell) for cell, run in zip(row, runs, strict=True)]
            cells[0] = f"**{cells[0]}**" if place in self.marked else cells[0]
            lines.append(f"| {' | '.join(cells)} |")
        return [*lines, ""]


class Standing(TypedDict):
    """How one configuration or baseline of a study did.

    Attributes:
        what: names it.
        f1: pooled over validation or out-of-fold pixels, at its own threshold, in 0..1; None where it failed.
        run_id: its run; None where it failed.
        reason: why it failed, or cannot be registered; else empty.
    """

    what: str
    f1: float | None
    run_id: str | None
    reason: str


class FrontTrial(TypedDict):
    """One trial of the Pareto front: its slot, both objectives, its run, and whether it is registered."""

    trial: int
    f1: float
    cost: float
    run_id: str | None
    registered: bool


class ArchitectureBest(TypedDict):
    """The best trial of one architecture; `state` is `complete` or `pruned`, `version` that of the registered model."""

    architecture: str
    f1: float
    state: str
    run_id: str
    version: str


class TrialFacts(NamedTuple):
    """One attempt at a trial of the search, as the study's database has it.

    Attributes:
        f1: None while it has none.
        cost: its second objective; None where there is one objective.
        values: what the search chose.
        epochs: how many it ran, or folds; None where it reported none.
    """

    slot: int
    ordinal: int
    state: str
    f1: float | None
    cost: float | None
    values: Mapping[str, Scalar]
    run_id: str | None
    reason: str
    epochs: int | None = None


@dataclass(frozen=True)
class TuneResult:
    """What a finished study leaves behind.

    Attributes:
        best_run_id: the run whose model is registered.
        best_value: F1 of its configuration, pooled over the pixels of validation or of all folds, in 0..1.
        label: where that configuration comes from, such as `trial 3` or `base`.
        standings: how all configurations and baselines did in the folds, the registered one first; empty where there
            are no folds.
        baselines: those baselines, or how they did on the validation patches.
        best_per_architecture: where the architecture was searched and trials have models, each registered under its
            architecture as alias; the best first.
        counts: how many of the study's trials ended complete, pruned or failed.
        fresh: False when the study had all its trials before.
        trials_page: address of MLflow's page that compares the trials.
        best_page: address of the page that compares the best few; empty while fewer than two have a score.
        cost: the metric that is the second objective; None where there is one objective.
        limit: the highest value of it that may be registered; None for any.
        front: with two objectives the Pareto front, the best F1 first.
        trials: a record of each attempt at a trial of the search, as `to_frame` has them.
    """

    study: str
    study_run_id: str
    best_run_id: str
    best_value: float
    label: str
    standings: Sequence[Standing]
    best_per_architecture: Sequence[ArchitectureBest]
    model: str
    version: str
    counts: Mapping[str, int]
    fresh: bool
    trials_page: str
    best_page: str
    cost: str | None = None
    limit: float | None = None
    front: Sequence[FrontTrial] = ()
    baselines: Sequence[Standing] = ()
    trials: Sequence[Mapping[str, object]] = field(default=(), repr=False)

    def to_frame(self) -> "pandas.DataFrame":
        """One row an attempt at a trial of the search: slot, attempt, state, val_f1 in 0..1, run_id, searched fields.

        A field that the attempt did not use is missing.
        """
        import pandas

        return pandas.DataFrame(self.trials)

    def record(self) -> dict[str, Any]:
        """What the study's database is to hold of it: all but the trials, which it has."""
        return {name: value for name, value in asdict(self).items() if name != "trials"}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TuneResult":
        """What the study's database holds; records of an older lsml say `champions` for the best per architecture."""
        values = dict(record)
        if "champions" in values:
            values["best_per_architecture"] = values.pop("champions")
        return cls(**values)


def _baselines_table(result: TuneResult) -> Table:
    """What a study registered, and the baselines, on the same validation patches."""
    best = Standing(what=result.label, f1=result.best_value, run_id=result.best_run_id, reason="")
    return _ranked("F1 pooled over all validation pixels", "validation F1", _REGISTERED, [best, *result.baselines])


def _ranked(title: str, score: str, registered: str, standings: Sequence[Standing]) -> Table:
    rows = [
        [
            entry["what"],
            "failed" if entry["f1"] is None else f"{entry['f1']:.4f}",
            entry["reason"] or ("" if place else registered),
            entry["run_id"] or "",
        ]
        for place, entry in enumerate(standings)
    ]
    return Table(title, ["configuration or baseline", score, "", "run"], rows, frozenset([0]), wide=True)


def comparison_tables(
    runs: Sequence[ComparedRun], parameters: Mapping[str, Sequence[str | None]], title: str
) -> list[Table]:
    """The parameters in which runs differ, where any do, and their scores under `title`."""
    differing = [_parameters_table([run.name for run in runs], parameters)] if parameters else []
    return [*differing, _scores_table(runs, title)]


def _scores_table(runs: Sequence[ComparedRun], title: str) -> Table:
    """Compared runs with their pooled scores, and the difference of F1 to the reference."""
    rows = [
        [
            run.name,
            *(with_interval(*score) for score in run.scores.values()),
            with_interval(*run.ahead[:2], "+") if run.ahead else "the reference",
            run.run_id,
        ]
        for run in runs
    ]
    return Table(title, ["95 % intervals in brackets", *runs[0].scores, "F1 against the reference", "run"], rows)


def _parameters_table(names: Sequence[str], parameters: Mapping[str, Sequence[str | None]]) -> Table:
    """The parameters in which runs called `names` differ, a fraction in four digits."""
    rows = [[name, *(_parameter(value) for value in values)] for name, values in parameters.items()]
    return Table("", ["parameters that differ", *names], rows)


def _parameter(value: str | None) -> str:
    if value is None or value.isdigit():
        return value or ""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def leaderboard_table(board: Board, run_id: str) -> Table:
    """A run among the published results of an official split."""
    rows = [[score.system, f"{score.f1:.4f}", score.spread, score.source] for score in board.published]
    spread = f"{board.f1.interval.describe()} (95 %, patches resampled)"
    rows.insert(board.place - 1, [f"run {run_id}", f"{board.f1.value:.4f}", spread, "MLflow"])
    title = f"official {board.split} split, {board.patches} patches: F1 of the landslide class, pooled over pixels"
    return Table(title, ["system", "F1", "uncertainty", "source"], rows, frozenset([board.place - 1]))


def with_interval(value: float, interval: Interval | None, sign: str = "") -> str:
    """A score or a difference with its interval in brackets, where it has one."""
    return f"{value:{sign}.4f}" + (f" ({interval.describe(sign)})" if interval else "")


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
        *Table("", ["searched", "in", "best trial", "explains"], rows).markdown(),
        "*Explains*: share of the variance of F1 over the complete trials (fANOVA).",
        "",
        " · ".join(f"[{what}]({address})" for what, address in links.items()),
        "",
        "Evaluate it on a test split, which no trial has seen:",
        "",
        f"    lsml evaluate --run-id {result.best_run_id} --baseline",
    ]
    return "\n".join(lines)


def _registered(result: TuneResult) -> str:
    model = f"`{result.model}/{result.version}`"
    if result.standings:
        return (
            f"**F1 {result.best_value:.4f}** over all out-of-fold pixels, by the configuration of {result.label}; "
            f"trained on all patches in run `{result.best_run_id}`, registered as {model}."
        )
    return (
        f"**Best validation F1 {result.best_value:.4f}** (pooled over pixels) in {result.label}, run "
        f"`{result.best_run_id}`, registered as {model}."
    )


def result_tables(result: TuneResult) -> list[Table]:
    """The tables of a finished study that a terminal and its note show: Pareto front, baselines, architectures."""
    tables = []
    if result.cost:
        unit = COST_UNITS[result.cost]
        title = f"F1 against {unit}: no trial is better in one than these and no worse in the other."
        if result.limit is not None:
            title += f" Registered is the best F1 with at most {format_amount(result.limit)} {unit}."
        tables.append(Table.of_front(result.front, unit, title))
    if result.standings:
        tables.append(Table.of_standings(result.standings, "F1 pooled over all out-of-fold pixels"))
    elif result.baselines:
        tables.append(_baselines_table(result))
    if len(result.best_per_architecture) > 1:
        tables.append(Table.of_architectures(result.best_per_architecture))
    return tables
