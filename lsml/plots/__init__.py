"""Figures: numpy in, PNG bytes or arrays out, no files, no global state; one palette, and the way into a page."""

import io
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from jinja2 import Environment

# Okabe & Ito (2008), "Color Universal Design": apart in hue and in lightness, with normal and colour-blind sight.
BLUE, SKY_BLUE, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#F0E442"
VERMILLION, PURPLE, BLACK = "#D55E00", "#CC79A7", "#000000"
GREY = "#9AA3AD"
OUTCOMES = {"hit": SKY_BLUE, "miss": YELLOW, "false alarm": VERMILLION}
"""The colour of each outcome of a pixel, in every picture and legend."""


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes whatever the version of Matplotlib is called."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def page_templates(package: str) -> "Environment":
    """The HTML templates in the folder of a package; what stands in a text is shown as it is, never read as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
