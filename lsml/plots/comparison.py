"""Draws runs below each other: the F1 of each with its interval, and beside it what it made of the same patches."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lsml.plots.patches import FALSE_ALARM, HIT, MISS, panel_parts
from lsml.scoring.bootstrap import LEAST_PATCHES, Difference
from lsml.scoring.comparison import PooledScore

# Inches.
_SCORE, _PICTURE, _BARE_ROW, _HEAD, _FOOT = 4.6, 2.0, 0.85, 0.75, 0.75
_BLUE = "#0072B2"
_LONGEST_NAME = 32


class Row(NamedTuple):
    """One run.

    Attributes:
        ahead: F1 above that of the reference; None of the reference itself.
        pictures: its panels as of `lsml.plots.patches.panel`, PNG, by the patch's id.
    """

    name: str
    f1: PooledScore
    ahead: Difference | None
    pictures: Mapping[str, bytes]


def draw_runs(rows: Sequence[Row], patches: Sequence[str], *, split: str, set_apart: str, n: int) -> bytes:
    """One PNG with a row a run.

    Args:
        patches: ids of those whose pictures every row has; none where the runs share none.
        split: `validation` or `test`; `set_apart` says in words how its patches were.
        n: of patches behind each score.
    """
    panels = [[_parts(row.pictures[patch]) for patch in patches] for row in rows]
    above = 1 if patches else 0
    heights = [_PICTURE] * (len(rows) + 1) if patches else [_BARE_ROW] * len(rows)
    size = (max(_SCORE + _PICTURE * len(patches), 2 * _SCORE), sum(heights) + _HEAD + _FOOT)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(_title(split, set_apart, n), x=0.01, ha="left", fontsize=11)
    widths = [size[0] - _PICTURE * len(patches), *[_PICTURE] * len(patches)]
    grid = figure.add_gridspec(len(heights), len(widths), height_ratios=heights, width_ratios=widths)
    _draw_scores([figure.add_subplot(grid[above + place, 0]) for place in range(len(rows))], rows)
    for column, patch in enumerate(patches, start=1):
        _show(figure.add_subplot(grid[0, column]), panels[0][column - 1][0], f"{patch}: true colour")
        for place, of_run in enumerate(panels):
            _show(figure.add_subplot(grid[above + place, column]), of_run[column - 1][1], "")
    if patches:
        _explain(figure.add_subplot(grid[0, 0]))
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _title(split: str, set_apart: str, n: int) -> str:
    reliable = "" if n >= LEAST_PATCHES else f"; fewer than {LEAST_PATCHES} patches, so intervals are unreliable"
    return (
        f"F1 of the landslide class, pooled over all pixels of {n} {split} patches ({set_apart})\n"
        f"lines: 95 % intervals, patches resampled{reliable}"
    )


def _parts(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """True colour, and hits, misses and false alarms."""
    picture = (imread(io.BytesIO(png), format="png")[..., :3] * 255).round().astype(np.uint8)
    parts = panel_parts(picture)
    return parts.true_colour, parts.outcome


def _draw_scores(places: Sequence[Axes], rows: Sequence[Row]) -> None:
    low = min(row.f1.interval.low for row in rows)
    high = max(row.f1.interval.high for row in rows)
    room = max(0.1 * (high - low), 0.01)
    reference = next(row.f1.value for row in rows if row.ahead is None)
    for axes, row in zip(places, rows, strict=True):
        axes.axvline(reference, color="0.75", linewidth=1, linestyle="--")
        axes.plot(row.f1.interval, (0, 0), color=_BLUE, linewidth=2.5, solid_capstyle="butt")
        filled = "white" if row.ahead is None else _BLUE
        axes.plot(row.f1.value, 0, "o", color=_BLUE, markerfacecolor=filled, markeredgewidth=2, markersize=9)
        axes.set_title(_words(row), loc="left", fontsize=10)
        axes.set(xlim=(max(low - room, 0), min(high + room, 1)), ylim=(-1, 1), yticks=[])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelbottom=axes is places[-1])
    places[-1].set_xlabel("F1 (dashed: the reference)")


def _words(row: Row) -> str:
    name = row.name if len(row.name) <= _LONGEST_NAME else f"{row.name[: _LONGEST_NAME - 1]}…"
    first = f"{name}: {row.f1.value:.3f} ({row.f1.interval.low:.3f} to {row.f1.interval.high:.3f})"
    if row.ahead is None:
        return f"{first}\nthe reference"
    low, high = row.ahead.interval
    return f"{first}\n{row.ahead.value:+.3f} ({low:+.3f} to {high:+.3f}) against the reference"


def _explain(axes: Axes) -> None:
    axes.set_axis_off()
    names = {"hit": HIT, "miss": MISS, "false alarm": FALSE_ALARM}
    handles = [Patch(color=np.array(colour) / 255, label=name) for name, colour in names.items()]
    axes.legend(handles=handles, loc="lower left", frameon=False, title="pixels of the pictures", alignment="left")


def _show(axes: Axes, picture: Any, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
