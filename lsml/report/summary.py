"""Every table that is shown; terminal, Markdown and HTML render them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsml.config.fields import format_amount, format_value
from lsml.config.schema import COST_UNITS
from lsml.names import Metric, State
from lsml.report.facts import ArchitectureBest, EvaluatedRun, FrontTrial, Standing, TrialFacts, TuneResult
from lsml.scoring.area import Estimate, MapAccuracy
from lsml.scoring.bootstrap import with_interval
from lsml.scoring.comparison import Board, ComparedRun
from lsml.scoring.regions import RegionScore

if TYPE_CHECKING:
    from lsml.audit.splits import Holdout, Pair, Separability
    from lsml.data.checks import CheckResult
    from lsml.data.sensor import Sensor
    from lsml.evaluation.evaluate import Evaluation
    from lsml.scoring.ensemble_selection import Member

_SHOWN_HASH = 16
_REGISTERED = "registered"
_MEGABYTE = 1e6


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
    def of_standings(cls, standings: Sequence[Standing], title: str = "") -> "Table":
        """How the configurations and baselines of a study in folds did; the first is what it registered."""
        return _ranked(title, "out-of-fold F1", standings, standings[0]["run_id"])

    @classmethod
    def of_front(cls, front: Sequence[FrontTrial], unit: str, title: str = "") -> "Table":
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
    def of_architectures(cls, best_per_architecture: Sequence[ArchitectureBest], title: str = "") -> "Table":
        """The best of each architecture, each a version of the registered model."""
        rows = [
            [best["architecture"], f"{best['f1']:.4f}", best["state"], f"version {best['version']}", best["run_id"]]
            for best in best_per_architecture
        ]
        return cls(title, ["best of each architecture", "validation F1", "state", _REGISTERED, "run"], rows, wide=True)

    @classmethod
    def of_trials(
        cls, trials: Sequence[TrialFacts], fields: Sequence[str], *, title: str, cost_unit: str | None = None
    ) -> "Table":
        """One row an attempt at a trial, with the searched `fields`; `cost_unit` where there are two objectives."""
        workers = ["worker"] if any(trial.worker for trial in trials) else []
        rows = [
            [
                str(trial.slot),
                str(trial.ordinal),
                trial.state,
                "" if trial.f1 is None else f"{trial.f1:.4f}",
                *([] if cost_unit is None else ["" if trial.cost is None else format_amount(trial.cost)]),
                format_value(trial.epochs),
                *(format_value(trial.values.get(name)) for name in fields),
                *(trial.worker for _ in workers),
                trial.run_id or "",
            ]
            for trial in trials
        ]
        costs = [] if cost_unit is None else [cost_unit]
        columns = ["trial", "attempt", "state", "F1", *costs, "epochs", *fields, *workers, "run"]
        return cls(title, columns, rows, wide=True)

    @classmethod
    def of_tests(cls, tests: Sequence[EvaluatedRun], registered: str | None) -> "Table":
        """Scores of the test split, a column a run; each compared with the registered one on the same patches."""
        names = dict.fromkeys(name for score in tests for name in score.scores)
        rows = [["patches", *("" if score.patches is None else str(score.patches) for score in tests)]]
        rows += [[name, *(score.text(name) for score in tests)] for name in names]
        if any(score.baseline_f1 is not None for score in tests):
            scores = ("" if score.baseline_f1 is None else f"{score.baseline_f1:.4f}" for score in tests)
            rows.append(["F1 of the pixel baseline", *scores])
        reference = next((score for score in tests if score.run_id == registered), None)
        ahead = [reference and score.f1_above(reference) for score in tests]
        if any(ahead):
            texts = (with_interval(*above[:2], "+") if above else "" for above in ahead)
            rows.append(["F1 above the registered one's", *texts])
        rows.append(["run", *(score.run_id for score in tests)])
        columns = ["", *(score.name for score in tests)]
        return cls("Test scores, pooled over pixels, with 95 % intervals", columns, rows, wide=True)

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

    @classmethod
    def of_regions(cls, regions: Sequence[RegionScore], title: str = "") -> "Table":
        """Scores by region with their intervals, the lowest F1 first; without landslides in it, a region has none."""
        ordered = sorted(regions, key=lambda each: (not each.landslide_share, each.scores["f1"].value))
        rows = [
            [each.region, str(each.patches), _percent(each.landslide_share)]
            + [with_interval(*score) if each.landslide_share else "-" for score in each.scores.values()]
            for each in ordered
        ]
        names = [{"f1": "F1", "iou": "IoU"}.get(name, name) for name in ordered[0].scores]
        return cls(title, ["region", "patches", "landslide pixels", *names], rows, wide=True)

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


def _baselines_table(result: TuneResult) -> Table:
    """What a study registered, and the baselines, on the same validation patches."""
    best = Standing(what=result.label, f1=result.best_value, run_id=result.best_run_id, reason="")
    compared = [result.network or best, *result.baselines]
    return _ranked("F1 pooled over all validation pixels", "validation F1", compared, result.best_run_id)


def _ranked(title: str, score: str, standings: Sequence[Standing], registered: str | None) -> Table:
    """The standings in their order; that of the run `registered` stands out."""
    rows = [
        [
            entry["what"],
            "failed" if entry["f1"] is None else f"{entry['f1']:.4f}",
            _REGISTERED if entry["run_id"] == registered else entry["reason"],
            entry["run_id"] or "",
        ]
        for entry in standings
    ]
    marked = frozenset(place for place, entry in enumerate(standings) if entry["run_id"] == registered)
    return Table(title, ["configuration or baseline", score, "", "run"], rows, marked, wide=True)


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


def seconds_table(epoch_seconds: Mapping[str, tuple[float, float]]) -> Table:
    """Where an epoch's time went, as `lsml.training.outcome.Laps.summary` has it."""
    rows = [[what, f"{first:.3f}", f"{later:.3f}"] for what, (first, later) in epoch_seconds.items()]
    return Table("", ["seconds of an epoch", "first", "later"], rows)


def studies_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The studies of a database, a row each."""
    names = ["study", State.COMPLETE, State.PRUNED, State.FAILED, State.RUNNING, "best val_f1", "best run"]
    return Table("", [*names[:-1], "run"], [[format_value(row[name]) for name in names] for row in rows])


def evaluation_tables(
    title: str, evaluation: "Evaluation", *, augmented: "Evaluation | None", baseline: "Evaluation | None"
) -> list[Table]:
    """A model's scores on a split with 95 % intervals, and averages of other kinds, beside its scores with test-time
    augmentation and those of the per-pixel logistic regression."""
    compared = {"mean of eight orientations": augmented, "logistic regression": baseline}
    others = {column: each.metrics for column, each in compared.items() if each}
    intervals = {name: interval.describe() for name, interval in evaluation.intervals.items()}
    rows = [
        [_words(name), f"{score:.4f}", intervals.get(name, ""), *(f"{other[name]:.4f}" for other in others.values())]
        for name, score in evaluation.metrics.items()
    ]
    averages = {"network": evaluation.other_averages}
    if baseline:
        averages["logistic regression"] = baseline.other_averages
    means = [[_words(name), *(f"{each[name]:.4f}" for each in averages.values())] for name in averages["network"]]
    return [
        Table(title, ["pooled over pixels and objects", "network", "95 % interval", *others], rows),
        Table("", ["averages of other kinds", *averages], means),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def reproduction_table(run_id: str, recorded: Mapping[str, float], reproduced: Mapping[str, float]) -> Table:
    """The scores of a run beside those of the same training now."""
    rows = [
        [
            name.removeprefix(Metric.BEST),
            f"{value:.6g}",
            f"{reproduced[name]:.6g}",
            f"{reproduced[name] - value:+.2g}",
        ]
        for name, value in recorded.items()
    ]
    return Table(f"run {run_id}", ["score", "recorded", "again", "difference"], rows)


def check_table(checked: "CheckResult") -> Table:
    """The splits of a dataset that was checked."""
    columns = ["split", "images", "masks", "landslide pixels", "patches without landslide", "NaN or infinite"]
    rows = [
        [split.name, str(split.patches), str(split.masks), *map(_percent, (split.landslide_share, split.empty_share)),
         str(split.nonfinite.sum())]
        for split in checked.splits
    ]  # fmt: skip
    return Table(f"{checked.layout} layout", columns, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def holdout_table(holdout: "Holdout") -> Table:
    """F1 on random and on contiguous hold-outs."""
    ways = {"random fifths": holdout.random, "contiguous fifths": holdout.blocks}
    rows = [
        [way, f"{sum(scores) / len(scores):.4f}", f"{min(scores):.4f} to {max(scores):.4f}"]
        for way, scores in ways.items()
    ]
    title = f"{holdout.pixels:,} pixels of {holdout.patches:,} train patches, {len(holdout.random)} repeats"
    return Table(title, ["held out in", "F1 pooled over pixels, mean", "of the repeats"], rows)


def pairs_table(pairs: Sequence["Pair"]) -> Table:
    """How many patches of one split another has too, by the closest pairs, the most alike first."""
    rows = []
    for earlier, later in sorted({(pair.match_split, pair.split) for pair in pairs}):
        between = [pair for pair in pairs if (pair.match_split, pair.split) == (earlier, later)]
        kinds = [pair.kind for pair in between]
        counts = [str(len(between)), str(kinds.count("exact")), str(kinds.count("near"))]
        rows.append([f"{later} in {earlier}", *counts, f"{between[0].correlation:.3f}"])
    columns = ["patches of one split in another", "patches", "equal", "near-duplicates", "highest correlation"]
    return Table("", columns, rows)


def separability_table(separabilities: Sequence["Separability"], sensor: "Sensor") -> Table:
    """How well a classifier tells two splits apart."""
    rows = []
    for pair in separabilities:
        low, high = pair.interval
        furthest = int(abs(pair.bands - 0.5).argmax())
        splits = f"{pair.first} ({pair.n_first}) and {pair.second} ({pair.n_second})"
        shifted = f"{sensor.bands[furthest].name} ({pair.bands[furthest]:.2f})"
        rows.append([splits, f"{pair.auc:.3f}", f"{low:.3f} to {high:.3f}", shifted])
    return Table("", ["told apart by a classifier", "AUC", "95 % interval", "furthest band alone"], rows)


def packs_table(packs: Sequence[Mapping[str, Any]]) -> Table:
    """Packed splits by their records."""
    columns = ["split", "patches", "type", "MB", "NaN or infinite", "fingerprint"]
    rows = [
        [pack["split"], str(pack["patches"]), pack["dtype"], f"{pack['bytes'] / 1e6:.1f}",
         ", ".join(f"{count} in {band}" for band, count in pack["nonfinite"].items()) or "none", pack["fingerprint"]]
        for pack in packs
    ]  # fmt: skip
    return Table("", columns, rows)


def members_table(members: Sequence["Member"], title: str = "") -> Table:
    """The members with their weights in the mean."""
    rows = [[f"trial {m.trial}", str(m.weight), f"{m.f1:.4f}", m.run_id] for m in members]
    return Table(title, ["member", "weight", "its own validation F1", "run"], rows)


def kept_table(kept: Iterable[tuple[str, str, int, str]]) -> Table:
    """What the working folder keeps: each kind, what it is, its bytes, and what becomes of it once it is removed."""
    rows = [(kind, f"{size / _MEGABYTE:.1f} MB", f"{what}: {then}") for kind, what, size, then in kept]
    return Table("", ("what", "size", "once removed"), rows)


def accuracy_table(accuracy: MapAccuracy) -> Table:
    """User's and producer's accuracy of a map's two classes, landslide first, and their areas in hectares."""
    columns = ["", "user's accuracy", "producer's accuracy", "share of area", "area in ha"]
    rows = [
        [name, users.describe(), producers.describe(), share.describe(4), hectares.describe(2)]
        for name, users, producers, share, hectares in zip(
            ("landslide", "not landslide"),
            accuracy.users,
            accuracy.producers,
            accuracy.shares,
            [Estimate(area.value / 10_000, area.error / 10_000) for area in accuracy.areas],
            strict=True,
        )
    ]
    return Table("", columns, rows)
