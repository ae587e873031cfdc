"""Figures of a study as a whole: scores, course of the search, what mattered, time, training of the best."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lsml.config.fields import Scalar, amount, in_words
from lsml.report.summary import Contender, Objective, TrialFacts
from lsml.scoring.comparison import PooledScore

# Okabe & Ito (2008): apart in hue and in lightness, with normal and colour-blind sight.
_BLUE, _ORANGE, _GREEN, _PINK, _BLACK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#9AA3AD"
STATES = {"complete": _BLUE, "pruned": "#56B4E9", "failed": _ORANGE, "superseded": _GREY, "running": "#F0E442"}
"""The colour of each state of a trial."""

_LINES = ((_ORANGE, "-"), (_BLUE, "-"), (_GREEN, "--"), (_PINK, "-."), (_BLACK, ":"))
# Inches: half of a page, so that its letters are readable at a narrow screen's width too.
_WIDTH = 5.0
_PAGE = 10.8
# Where an axis of parallel coordinates shows a field that the trial did not use, below 0..1.
_UNUSED = -0.12
_SPREAD = 12


def draw_scores(scores: Mapping[str, PooledScore], patches: int) -> Figure:
    """F1 of each with its 95 % interval, in the order given; a dashed line at the first.

    Args:
        patches: behind each score.
    """
    figure, axes = _figure(1.2 + 0.42 * len(scores))
    for place, score in enumerate(scores.values()):
        colour = _ORANGE if place == 0 else _BLUE
        axes.plot(score.interval, (place, place), color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(score.value, place, "o", color=colour, markersize=8)
    axes.axvline(next(iter(scores.values())).value, color="0.7", linewidth=1, linestyle="--", zorder=0)
    axes.set_yticks(range(len(scores)), [_plain(_wrapped(name)) for name in scores])
    axes.set(ylim=(len(scores) - 0.5, -0.5), xlabel=f"F1 over all pixels of {patches} patches, 95 % interval")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def draw_history(trials: Sequence[TrialFacts]) -> Figure:
    """F1 of every trial that has one in the order of the search, and the best up to each."""
    figure, axes = _figure(3.6)
    shown = [trial for trial in trials if trial.f1 is not None]
    complete = [trial for trial in shown if trial.state == "complete"]
    pruned = [trial for trial in shown if trial.state == "pruned"]
    if complete:
        best = np.maximum.accumulate([trial.f1 or 0.0 for trial in complete])
        slots = [trial.slot for trial in complete]
        axes.step([*slots, trials[-1].slot], [*best, best[-1]], where="post", color=_ORANGE, label="best so far")
    _dots(axes, complete, "o", STATES["complete"], "complete")
    _dots(axes, pruned, "x", "#2a7fae", "pruned: F1 when stopped")
    failed = [trial.slot for trial in trials if trial.state == "failed"]
    if failed:
        low = axes.get_ylim()[0]
        axes.plot(failed, [low] * len(failed), "v", color=STATES["failed"], label="failed", clip_on=False)
    axes.set(xlabel="trial (0 is the base configuration)", ylabel="validation F1, pooled over pixels")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _dots(axes: Axes, trials: Sequence[TrialFacts], marker: str, colour: str, label: str) -> None:
    if trials:
        axes.plot([t.slot for t in trials], [t.f1 or 0.0 for t in trials], marker, color=colour, label=label)


def draw_importance(importance: Mapping[str, float]) -> Figure:
    """Share of the variance of F1 that each field explains, as bars, the largest on top."""
    figure, axes = _figure(1.1 + 0.32 * len(importance))
    ranked = sorted(importance.items(), key=lambda item: -item[1])
    bars = axes.barh([_plain(name) for name, _ in ranked], [share for _, share in ranked], color=_BLUE, height=0.65)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in ranked], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.12 * ranked[0][1] or 1), xlabel="share of the variance of F1 that it explains")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.spines[["right", "top"]].set_visible(False)
    return figure


def draw_parallel(
    trials: Sequence[TrialFacts],
    fields: Sequence[str],
    *,
    logarithmic: frozenset[str],
    choices: Mapping[str, Sequence[Scalar]],
) -> Figure:
    """A line a complete trial over an axis a field and one of F1, by which it is coloured; the best in orange.

    Args:
        trials: complete ones.
        fields: those searched.
        logarithmic: those whose axis is so.
        choices: of each field that has them.
    """
    figure = Figure(figsize=(_PAGE, 4.4), layout="constrained")
    axes = figure.subplots()
    ranked = sorted(trials, key=lambda trial: trial.f1 or 0.0)
    columns = [_column(ranked, name, name in logarithmic, choices.get(name)) for name in fields]
    f1 = [trial.f1 or 0.0 for trial in ranked]
    columns.append(_Column("F1", _scaled(f1, False), {0.0: f"{min(f1):.3f}", 1.0: f"{max(f1):.3f}"}))
    colours = colormaps["viridis"](0.92 - 0.92 * np.array(columns[-1].heights, dtype=float))
    for place in range(len(ranked)):
        best = place == len(ranked) - 1
        heights = [column.heights[place] for column in columns]
        line = (_ORANGE, 2.6) if best else (colours[place], 1.2)
        axes.plot(heights, color=line[0], linewidth=line[1], alpha=1 if best else 0.8, marker="o", markersize=3)
    for place, column in enumerate(columns):
        axes.axvline(place, color="0.75", linewidth=0.8, zorder=0)
        for height, text in column.ticks.items():
            axes.text(place + 0.04, height, _plain(text), fontsize=8, color="0.2", va="center", bbox=_BEHIND_TEXT)
    axes.set_xticks(range(len(columns)), [_plain(column.name.replace(".", ".\n")) for column in columns], fontsize=9)
    axes.xaxis.tick_top()
    axes.set(yticks=[], ylim=(_UNUSED - 0.06, 1.06), xlim=(-0.15, len(columns) - 0.55))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


_BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75}


class _Column:
    """One axis of parallel coordinates: a height for each trial, and what stands at some heights."""

    def __init__(self, name: str, heights: Sequence[float], ticks: Mapping[float, str]) -> None:
        self.name, self.heights, self.ticks = name, heights, ticks


def _column(trials: Sequence[TrialFacts], name: str, logarithmic: bool, choices: Sequence[Scalar] | None) -> _Column:
    used = [trial.values[name] for trial in trials if name in trial.values]
    if choices is not None:
        places = {choice: place / max(len(choices) - 1, 1) for place, choice in enumerate(choices)}
        ticks = {height: in_words(choice) for choice, height in places.items()}
        heights = iter([places[value] for value in used])
    else:
        numbers = [float(value) for value in used]
        heights = iter(_scaled(numbers, logarithmic))
        ticks = {0.0: in_words(min(used)), 1.0: in_words(max(used))} if used else {}
        if len(set(numbers)) == 1:
            ticks = {0.5: in_words(used[0])}
    found = [next(heights) if name in trial.values else _UNUSED for trial in trials]
    return _Column(name, found, ticks | ({_UNUSED: "not used"} if _UNUSED in found else {}))


def _scaled(values: Sequence[float], logarithmic: bool) -> list[float]:
    """The smallest value to 0, the largest to 1; all to .5 where they are equal."""
    numbers = [math.log(value) for value in values] if logarithmic else list(values)
    if not numbers or max(numbers) == min(numbers):
        return [0.5] * len(numbers)
    return [(number - min(numbers)) / (max(numbers) - min(numbers)) for number in numbers]


def draw_time(trials: Sequence[tuple[int, str, float]]) -> Figure:
    """Minutes that each trial took as bars, its attempts on top of each other.

    Args:
        trials: slot, state and seconds of each attempt.
    """
    figure, axes = _figure(2.8)
    tops: dict[int, float] = {}
    for slot, state, seconds in sorted(trials):
        axes.bar(slot, seconds / 60, bottom=tops.get(slot, 0.0), color=STATES[state], width=0.8, edgecolor="white")
        tops[slot] = tops.get(slot, 0.0) + seconds / 60
    axes.set(xlabel="trial", ylabel="minutes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["right", "top"]].set_visible(False)
    present = [state for state in STATES if any(state == of for _, of, _ in trials)]
    axes.legend(
        handles=[Patch(color=STATES[state], label=state) for state in present],
        frameon=False, fontsize=9, ncols=len(present), loc="lower left", bbox_to_anchor=(0, 1),
    )  # fmt: skip
    return figure


def draw_curves(contenders: Sequence[Contender], metric: str, label: str, *, logarithmic: bool = False) -> Figure:
    """One metric of each over its epochs or folds; those that have none are left out.

    Args:
        label: of the metric, in words.
    """
    figure, axes = _figure(3.8)
    for contender, (colour, style) in zip(contenders, _LINES, strict=False):
        if metric not in contender.curves:
            continue
        steps, values = contender.curves[metric]
        marker = "o" if len(steps) < _SPREAD else None
        name = f"{contender.name}: F1 {contender.f1:.3f}"
        axes.plot(steps, values, style, color=colour, linewidth=1.8, marker=marker, markersize=4, label=_plain(name))
    axes.set(xlabel=contenders[0].noun, ylabel=label)
    if logarithmic:
        axes.set_yscale("log")
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_front(trials: Sequence[TrialFacts], best: Sequence[tuple[float, float]], objective: Objective) -> Figure:
    """F1 of complete trials over their cost, with the Pareto front as the best F1 up to each cost.

    Args:
        trials: complete ones.
        best: cost and F1 of those on the front.
    """
    figure, axes = _figure(3.8)
    axes.plot([t.cost or 0.0 for t in trials], [t.f1 or 0.0 for t in trials], "o", color=_GREY, label="other trials")
    costs, scores = zip(*sorted(best), strict=True)
    axes.plot(costs, scores, "o-", color=_ORANGE, drawstyle="steps-post", markersize=7, label="Pareto front")
    if objective.limit is not None:
        axes.axvline(objective.limit, color="0.3", linewidth=1, linestyle=":", label=f"limit {amount(objective.limit)}")
    axes.set(xlabel=objective.unit, ylabel="validation F1, pooled over pixels")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: amount(value))
    axes.legend(frameon=False, fontsize=9)
    return figure


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
