"""A study's report as one HTML file that loads nothing: its sections, and the figures in them."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lsml.config.fields import Scalar, format_amount, format_value
from lsml.names import Artifact, Role, State
from lsml.plots import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION, YELLOW, page_templates, png
from lsml.plots.patches import read_panel
from lsml.plots.regions import plot_regions
from lsml.report.facts import StudyFacts, TopTrial, TrialFacts
from lsml.report.summary import Picture, Table
from lsml.scoring.comparison import PooledScore
from lsml.scoring.regions import RegionScore

_STATES = {
    State.COMPLETE: BLUE,
    State.PRUNED: SKY_BLUE,
    State.FAILED: VERMILLION,
    State.SUPERSEDED: GREY,
    State.RUNNING: YELLOW,
}

_LINES = ((VERMILLION, "-"), (BLUE, "-"), (GREEN, "--"), (PURPLE, "-."), (BLACK, ":"))
# Inches: half of a page, so that its letters are readable at a narrow screen's width too.
_WIDTH = 5.0
_PAGE = 10.8
# Where an axis of parallel coordinates shows a field that the trial did not use, below 0..1.
_UNUSED = -0.12
_SPREAD = 12


class StudyFigures:
    """The figures of a study as a whole."""

    def __init__(self, facts: StudyFacts) -> None:
        self._facts = facts

    @staticmethod
    def scores(scores: Mapping[str, PooledScore], patches: int) -> Figure:
        """F1 of each with its 95 % interval, in the order given; a dashed line at the first.

        Args:
            patches: behind each score.
        """
        figure, axes = _figure(1.2 + 0.42 * len(scores))
        for place, score in enumerate(scores.values()):
            colour = VERMILLION if place == 0 else BLUE
            axes.plot(score.interval, (place, place), color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot(score.value, place, "o", color=colour, markersize=8)
        axes.axvline(next(iter(scores.values())).value, color="0.7", linewidth=1, linestyle="--", zorder=0)
        axes.set_yticks(range(len(scores)), [_plain(_wrapped(name)) for name in scores])
        axes.set(ylim=(len(scores) - 0.5, -0.5), xlabel=f"F1 over all pixels of {patches} patches, 95 % interval")
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return figure

    def history(self) -> Figure:
        """F1 of every trial that has one in the order of the search, and the best up to each."""
        figure, axes = _figure(3.6)
        trials = self._facts.counted
        shown = [trial for trial in trials if trial.f1 is not None]
        complete = [trial for trial in shown if trial.state == State.COMPLETE]
        pruned = [trial for trial in shown if trial.state == State.PRUNED]
        if complete:
            best = np.maximum.accumulate([trial.f1 or 0.0 for trial in complete])
            slots = [trial.slot for trial in complete]
            axes.step([*slots, trials[-1].slot], [*best, best[-1]], where="post", color=VERMILLION, label="best so far")
        _dots(axes, complete, "o", _STATES[State.COMPLETE], "complete")
        _dots(axes, pruned, "x", "#2a7fae", "pruned: F1 when stopped")
        failed = [trial.slot for trial in trials if trial.state == State.FAILED]
        if failed:
            low = axes.get_ylim()[0]
            axes.plot(failed, [low] * len(failed), "v", color=_STATES[State.FAILED], label="failed", clip_on=False)
        axes.set(xlabel="trial (0 is the base configuration)", ylabel="validation F1, pooled over pixels")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        return figure

    def importance(self) -> Figure:
        """How much each field decides whether a trial is among the best, as bars, the largest on top."""
        importance = self._facts.importance
        figure, axes = _figure(1.1 + 0.32 * len(importance))
        ranked = sorted(importance.items(), key=lambda item: -item[1])
        bars = axes.barh([_plain(name) for name, _ in ranked], [share for _, share in ranked], color=BLUE, height=0.65)
        axes.bar_label(bars, [f"{share:.0%}" for _, share in ranked], padding=4, fontsize=9)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.12 * ranked[0][1] or 1), xlabel="importance")
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.spines[["right", "top"]].set_visible(False)
        return figure

    def parallel(self, fields: Sequence[str]) -> Figure:
        """A line a complete trial over an axis a field and one of F1, by which it is coloured; the best in orange.

        Args:
            fields: those searched that complete trials have.
        """
        facts = self._facts
        figure = Figure(figsize=(_PAGE, 4.4), layout="constrained")
        axes = figure.subplots()
        ranked = sorted(facts.complete, key=lambda trial: trial.f1 or 0.0)
        columns = [_column(ranked, name, name in facts.logarithmic, facts.choices.get(name)) for name in fields]
        f1 = [trial.f1 or 0.0 for trial in ranked]
        columns.append(_Column("F1", _scaled(f1, False), {0.0: f"{min(f1):.3f}", 1.0: f"{max(f1):.3f}"}))
        colours = colormaps["viridis"](0.92 - 0.92 * np.array(columns[-1].heights, dtype=float))
        for place in range(len(ranked)):
            best = place == len(ranked) - 1
            heights = [column.heights[place] for column in columns]
            line = (VERMILLION, 2.6) if best else (colours[place], 1.2)
            axes.plot(heights, color=line[0], linewidth=line[1], alpha=1 if best else 0.8, marker="o", markersize=3)
        for place, column in enumerate(columns):
            axes.axvline(place, color="0.75", linewidth=0.8, zorder=0)
            for height, text in column.ticks.items():
                axes.text(place + 0.04, height, _plain(text), fontsize=8, color="0.2", va="center", bbox=_BEHIND_TEXT)
        names = [_plain(column.name.replace(".", ".\n")) for column in columns]
        axes.set_xticks(range(len(columns)), names, fontsize=9)
        axes.xaxis.tick_top()
        axes.set(yticks=[], ylim=(_UNUSED - 0.06, 1.06), xlim=(-0.15, len(columns) - 0.55))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return figure

    def time(self) -> Figure:
        """Minutes that each trial of the search took as bars, its attempts on top of each other."""
        trials = [(entry.slot, entry.state, entry.seconds) for entry in self._facts.spent if entry.role == Role.TRIAL]
        figure, axes = _figure(2.8)
        tops: dict[int, float] = {}
        for slot, state, seconds in sorted(trials):
            axes.bar(slot, seconds / 60, bottom=tops.get(slot, 0.0), color=_STATES[state], width=0.8, edgecolor="white")
            tops[slot] = tops.get(slot, 0.0) + seconds / 60
        axes.set(xlabel="trial", ylabel="minutes")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["right", "top"]].set_visible(False)
        present = [state for state in _STATES if any(state == of for _, of, _ in trials)]
        axes.legend(
            handles=[Patch(color=_STATES[state], label=state) for state in present],
            frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1),
        )  # fmt: skip
        return figure

    @staticmethod
    def curves(trials: Sequence[TopTrial], metric: str, label: str, *, logarithmic: bool = False) -> Figure:
        """One metric of each over its epochs or folds; those that have none are left out.

        Args:
            label: of the metric's axis.
        """
        figure, axes = _figure(3.8)
        for trial, (colour, style) in zip(trials, _LINES, strict=False):
            if metric not in trial.curves:
                continue
            steps, values = trial.curves[metric]
            marker = "o" if len(steps) < _SPREAD else None
            name = _plain(f"{trial.name}: F1 {trial.f1:.3f}")
            axes.plot(steps, values, style, color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
        axes.set(xlabel=trials[0].noun, ylabel=label)
        if logarithmic:
            axes.set_yscale("log")
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        return figure

    def front(self) -> Figure:
        """F1 of complete trials over their cost, with the Pareto front as the best F1 up to each cost."""
        facts = self._facts
        trials = [trial for trial in facts.complete if trial.cost is not None]
        best = [(trial["cost"], trial["f1"]) for trial in facts.front]
        figure, axes = _figure(3.8)
        axes.plot([t.cost or 0.0 for t in trials], [t.f1 or 0.0 for t in trials], "o", color=GREY, label="other trials")
        costs, scores = zip(*sorted(best), strict=True)
        axes.plot(costs, scores, "o-", color=VERMILLION, drawstyle="steps-post", markersize=7, label="Pareto front")
        if facts.limit is not None:
            axes.axvline(
                facts.limit, color="0.3", linewidth=1, linestyle=":", label=f"limit {format_amount(facts.limit)}"
            )
        axes.set(xlabel=facts.cost_unit, ylabel="validation F1, pooled over pixels")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: format_amount(value))
        axes.legend(frameon=False, fontsize=9)
        return figure

    def regions(self) -> Figure:
        """F1 of the best by region."""
        assert self._facts.best
        return plot_regions(self._facts.best.regions, "", width=_WIDTH)

    def files(self) -> dict[str, bytes]:
        """What of them stands among the files of the study's run too, as PNG by path: F1 by region, if any."""
        best = self._facts.best
        if best is None or not RegionScore.worst(best.regions):
            return {}
        figure = plot_regions(best.regions, self._facts.data.split_protocol)
        return {f"study/{Artifact.REGION_SCORES}": png(figure)}


def _dots(axes: Axes, trials: Sequence[TrialFacts], marker: str, colour: str, label: str) -> None:
    if trials:
        axes.plot([t.slot for t in trials], [t.f1 or 0.0 for t in trials], marker, color=colour, label=label)


_BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75}


class _Column:
    """One axis of parallel coordinates: a height for each trial, and what stands at some heights."""

    def __init__(self, name: str, heights: Sequence[float], ticks: Mapping[float, str]) -> None:
        self.name, self.heights, self.ticks = name, heights, ticks


def _column(trials: Sequence[TrialFacts], name: str, logarithmic: bool, choices: Sequence[Scalar] | None) -> _Column:
    used = [trial.values[name] for trial in trials if name in trial.values]
    if choices is not None:
        places = {choice: place / max(len(choices) - 1, 1) for place, choice in enumerate(choices)}
        ticks = {height: format_value(choice) for choice, height in places.items()}
        heights = iter([places[value] for value in used])
    else:
        numbers = [float(value) for value in used]
        heights = iter(_scaled(numbers, logarithmic))
        ticks = {0.0: format_value(min(used)), 1.0: format_value(max(used))} if used else {}
        if len(set(numbers)) == 1:
            ticks = {0.5: format_value(used[0])}
    drawn = [next(heights) if name in trial.values else _UNUSED for trial in trials]
    return _Column(name, drawn, ticks | ({_UNUSED: "not used"} if _UNUSED in drawn else {}))


def _scaled(values: Sequence[float], logarithmic: bool) -> list[float]:
    """The smallest value to 0, the largest to 1; all to .5 where they are equal."""
    numbers = [math.log(value) for value in values] if logarithmic else list(values)
    if not numbers or max(numbers) == min(numbers):
        return [0.5] * len(numbers)
    return [(number - min(numbers)) / (max(numbers) - min(numbers)) for number in numbers]


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _wrapped(name: str) -> str:
    """Long names in two lines."""
    if len(name) <= 24:
        return name
    middle = min((i for i, letter in enumerate(name) if letter == " "), key=lambda i: abs(i - len(name) / 2), default=0)
    return f"{name[:middle]}\n{name[middle + 1 :]}" if middle else name


def _plain(text: str) -> str:
    """The text for a figure, where a dollar would begin a formula."""
    return text.replace("$", r"\$")


@dataclass(frozen=True)
class PageSection:
    """A part of the page with a title; its fields appear in the order in which they stand here.

    Attributes:
        key: names it in the page's address.
        headline: in large letters.
        legend: names with their colours as of CSS.
        commands: to be copied.
    """

    key: str
    title: str
    headline: str = ""
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[str] = ()
    legend: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default_factory=tuple)

    @property
    def beside(self) -> bool:
        """Whether the text stands beside a picture or a table, of which one would be left over otherwise."""
        parts: list[Picture | Table] = [*self.pictures, *self.tables]
        return sum(not part.wide for part in parts) % 2 == 1


def render(title: str, lead: str, sections: Iterable[PageSection]) -> str:
    """The page as HTML."""
    environment = page_templates("lsml.report")
    environment.filters["address"] = _address
    environment.tests["picture"] = lambda cell: isinstance(cell, Picture)
    return environment.get_template("template.html").render(title=title, lead=lead, sections=list(sections))


def _address(picture: Picture) -> str:
    """The picture itself, as an address."""
    kind = "png" if picture.content.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture.content).decode()}"


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG with letters as outlines, so that it looks the same with any fonts; the same each time."""
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "lsml", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def true_colour_png(panel: bytes) -> bytes:
    """The true colour of a panel."""
    return _small(read_panel(panel).true_colour)


def outcome_png(panel: bytes) -> bytes:
    """The hits, misses and false alarms of a panel."""
    return _small(read_panel(panel).outcome)


def _small(picture: np.ndarray) -> bytes:
    """As PNG, one pixel for each two by two: so large a panel draws each pixel of its patch."""
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray(picture[::2, ::2]), format="png")
    return file.getvalue()
