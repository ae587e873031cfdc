"""The comparison plot: a row a run, its F1 with the interval, and beside it its outcomes on the same patches."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lsml.plots import BLUE, png
from lsml.plots.patches import outcome_handles, read_panel, show_picture
from lsml.scoring.bootstrap import MIN_PATCHES
from lsml.scoring.comparison import ComparedRun

# Inches.
_SCORE, _PICTURE, _BARE_ROW, _HEAD, _FOOT = 4.6, 2.0, 0.85, 0.75, 0.75
_LONGEST_NAME = 32


def draw_comparison(
    runs: Sequence[ComparedRun],
    pictures: Sequence[Mapping[str, bytes]],
    patches: Sequence[str],
    *,
    split: str,
    split_protocol: str,
    n: int,
) -> bytes:
    """One PNG with a row a run.

    Args:
        pictures: of each run, its panels as of `lsml.plots.patches.panel`, PNG, by the patch's id.
        patches: ids of those whose pictures every run has; none where the runs share none.
        split: `validation` or `test`; `split_protocol` how its patches were held out, as text.
        n: of patches behind each score.
    """
    panels = [[read_panel(of_run[patch]) for patch in patches] for of_run in pictures]
    above = 1 if patches else 0
    heights = [_PICTURE] * (len(runs) + 1) if patches else [_BARE_ROW] * len(runs)
    size = (max(_SCORE + _PICTURE * len(patches), 2 * _SCORE), sum(heights) + _HEAD + _FOOT)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(_title(split, split_protocol, n), x=0.01, ha="left", fontsize=11)
    widths = [size[0] - _PICTURE * len(patches), *[_PICTURE] * len(patches)]
    grid = figure.add_gridspec(len(heights), len(widths), height_ratios=heights, width_ratios=widths)
    _draw_scores([figure.add_subplot(grid[above + place, 0]) for place in range(len(runs))], runs)
    for column, patch in enumerate(patches, start=1):
        show_picture(figure.add_subplot(grid[0, column]), panels[0][column - 1].true_colour, f"{patch}: true colour")
        for place, of_run in enumerate(panels):
            show_picture(figure.add_subplot(grid[above + place, column]), of_run[column - 1].outcome, "")
    if patches:
        _explain(figure.add_subplot(grid[0, 0]))
    return png(figure)


def _title(split: str, split_protocol: str, n: int) -> str:
    reliable = "" if n >= MIN_PATCHES else f"; fewer than {MIN_PATCHES} patches, so intervals are unreliable"
    return (
        f"F1 of the landslide class, pooled over all pixels of {n} {split} patches ({split_protocol})\n"
        f"lines: 95 % intervals, patches resampled{reliable}"
    )


def _draw_scores(places: Sequence[Axes], runs: Sequence[ComparedRun]) -> None:
    low = min(run.scores["f1"].interval.low for run in runs)
    high = max(run.scores["f1"].interval.high for run in runs)
    room = max(0.1 * (high - low), 0.01)
    reference = next(run.scores["f1"].value for run in runs if run.ahead is None)
    for axes, run in zip(places, runs, strict=True):
        axes.axvline(reference, color="0.75", linewidth=1, linestyle="--")
        axes.plot(run.scores["f1"].interval, (0, 0), color=BLUE, linewidth=2.5, solid_capstyle="butt")
        filled = "white" if run.ahead is None else BLUE
        axes.plot(run.scores["f1"].value, 0, "o", color=BLUE, markerfacecolor=filled, markeredgewidth=2, markersize=9)
        axes.set_title(_describe(run), loc="left", fontsize=10)
        axes.set(xlim=(max(low - room, 0), min(high + room, 1)), ylim=(-1, 1), yticks=[])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelbottom=axes is places[-1])
    places[-1].set_xlabel("F1 (dashed: the reference)")


def _describe(run: ComparedRun) -> str:
    name = run.name if len(run.name) <= _LONGEST_NAME else f"{run.name[: _LONGEST_NAME - 1]}…"
    f1 = run.scores["f1"]
    first = f"{name}: {f1.value:.3f} ({f1.interval.low:.3f} to {f1.interval.high:.3f})"
    if run.ahead is None:
        return f"{first}\nthe reference"
    low, high = run.ahead.interval
    return f"{first}\n{run.ahead.value:+.3f} ({low:+.3f} to {high:+.3f}) against the reference"


def _explain(axes: Axes) -> None:
    axes.set_axis_off()
    axes.legend(
        handles=outcome_handles(), loc="lower left", frameon=False, title="pixels of the pictures", alignment="left"
    )
