"""The figure of F1 by region."""

import pytest

from lsml.plots import BLUE, VERMILLION
from lsml.plots.regions import plot_regions
from lsml.scoring.metrics import PatchScore
from lsml.scoring.regions import RegionScore


def region(name: str, hits: int, misses: int) -> PatchScore:
    return PatchScore(f"{name}/1", (hits + misses) / 100, hits, misses, 0, None, name)


@pytest.mark.parametrize("width", [3.6, 7.0])
def test_regions_stand_in_the_order_of_their_f1(width: float) -> None:
    """The lowest at the bottom and in the colour of false alarms; one without landslides is left out."""
    patches = [region("middle $x$", 1, 1), region("best", 3, 0), region("worst", 1, 5), region("none", 0, 0)]
    figure = plot_regions(RegionScore.of_patches(patches), "by region", width=width)
    (axes,) = figure.axes
    # 2 / 7, 2 / 3 and 1.
    assert [text.get_text() for text in axes.texts] == [
        "worst: 0.286, 1 patch",
        r"middle \$x\$: 0.667, 1 patch",
        "best: 1.000, 1 patch",
    ]
    points = axes.lines[1::2]
    assert [float(line.get_xdata()[0]) for line in points] == pytest.approx([2 / 7, 2 / 3, 1])
    assert [line.get_color() for line in points] == [VERMILLION, BLUE, BLUE]
    figure.canvas.draw()
    # All names lie within the figure, however narrow.
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in axes.texts)
