"""Pages of text, tables and pictures as one HTML file that loads nothing."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave

from lsml.plots.patches import panel_parts


@dataclass(frozen=True)
class Picture:
    """A picture that is part of the page.

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

    @property
    def address(self) -> str:
        """The picture itself, as an address."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        rows: of cells, text or pictures; the first of each row is its head.
        caption: above it.
        marked: numbers of rows, from 0, that stand out.
        wide: as wide as the page.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Picture]]
    marked: frozenset[int] = frozenset()
    wide: bool = False


@dataclass(frozen=True)
class Section:
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


def render(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The page as HTML; whatever stands in a text is shown as it is, never read as HTML."""
    environment = Environment(
        loader=PackageLoader("lsml.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["picture"] = lambda cell: isinstance(cell, Picture)
    return environment.get_template("template.html").render(title=title, lead=lead, sections=list(sections))


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG with letters as outlines, so that it looks the same with any fonts; the same each time."""
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "lsml", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def true_colour_png(panel: bytes) -> bytes:
    """The true colour of a panel."""
    return _small(panel_parts(_read(panel)).true_colour)


def outcome_png(panel: bytes) -> bytes:
    """The hits, misses and false alarms of a panel."""
    return _small(panel_parts(_read(panel)).outcome)


def _read(png: bytes) -> np.ndarray:
    return (imread(io.BytesIO(png), format="png")[..., :3] * 255).round().astype(np.uint8)


def _small(picture: np.ndarray) -> bytes:
    """As PNG, one pixel for each two by two: so large a panel draws each pixel of its patch."""
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray(picture[::2, ::2]), format="png")
    return file.getvalue()
