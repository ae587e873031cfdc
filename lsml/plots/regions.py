"""F1 by region: a point and its interval each, so that the places where a model fails stand out."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lsml.plots import BLUE, GREY, VERMILLION
from lsml.scoring.regions import RegionScore

_WIDTH, _ROW, _AROUND = 7.0, 0.52, 1.1
"""Inches."""
_LONGEST_NAME = 28


def plot_regions(regions: Sequence[RegionScore], title: str, *, width: float = _WIDTH) -> Figure:
    """The highest F1 on top, and the lowest in another colour; those without landslides are left out.

    Names stand above their lines, where a narrow figure has room for them too.
    """
    with_landslides = [each for each in regions if each.landslide_share]
    ordered = sorted(with_landslides, key=lambda each: each.scores["f1"].value)
    figure = Figure(figsize=(width, _AROUND + _ROW * len(ordered)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(ordered):
        value, interval = each.scores["f1"]
        colour = VERMILLION if place == 0 and len(ordered) > 1 else BLUE
        axes.plot(interval, (place, place), color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(value, place, "o", color=colour, markersize=7)
        name = f"{_short(each.region)}: {value:.3f}, {each.patches_in_words}"
        axes.text(0, place + 0.24, name, fontsize=9, va="bottom").set_in_layout(False)
    axes.set_yticks([])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.5, len(ordered) - 0.2), xlabel="F1 and its 95 % interval")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color=GREY, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    return figure


def _short(name: str) -> str:
    """The name for a figure, where a dollar would begin a formula."""
    cut = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return cut.replace("$", r"\$")
