"""The page itself: what it makes of texts that look like HTML, and that it loads nothing."""

from matplotlib.figure import Figure

from lsml.report.html import PageSection, as_svg, render
from lsml.report.summary import Picture, Table
from tests.pages import Page

NASTY = '<script>alert("1")</script> & <img src=https://example.org/x.png>'


def drawn() -> bytes:
    """A small figure as SVG."""
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    return as_svg(figure)


def test_whatever_a_text_holds_is_shown_as_it_is() -> None:
    """A script and a picture in every place where a text can stand: all are text, none is an element."""
    section = PageSection(
        "key",
        NASTY,
        headline=NASTY,
        paragraphs=[NASTY],
        facts=[(NASTY, NASTY)],
        commands=[NASTY],
        legend=[(NASTY, "#123456")],
        pictures=[Picture(drawn(), 'a "quoted" <text>', NASTY)],
        tables=[Table(NASTY, [NASTY, NASTY], [[NASTY, NASTY]])],
    )
    page = Page(render(NASTY, NASTY, [section]))
    assert page.tags.count("script") == 0
    assert page.loaded == []
    assert [alt for _, alt in page.pictures] == ['a "quoted" <text>']
    # Heading, headline, paragraph, fact, command, legend, two captions, two columns and two cells; the fact has two.
    assert page.sections["key"].count(NASTY) == 13
    assert page.tables["key"] == [[[NASTY, NASTY], [NASTY, NASTY]]]


def test_figures_and_tables_are_numbered_through_the_page() -> None:
    """Each with its caption, or what it shows where it has none."""
    tables = [Table("Scores", ["run"], [["one"]])]
    sections = [
        PageSection(key, key, pictures=[Picture(drawn(), "a line", caption)], tables=tables)
        for key, caption in (("first", "Drawn"), ("second", ""))
    ]
    page = Page(render("t", "", sections))
    assert "Figure 1. Drawn Table 1. Scores" in page.sections["first"]
    assert "Figure 2. a line Table 2. Scores" in page.sections["second"]


def test_a_page_that_loads_something_is_seen_by_this_test() -> None:
    """A style that imports, a drawing with an address and a picture elsewhere would each be named."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="https://example.org/a.png"/></svg>'
    text = render("t", "", [PageSection("s", "S", pictures=[Picture(svg, "a")])])
    text = text.replace("<style>", "<style>@import 'https://example.org/b.css'; p { background: url(c.png) }")
    text = text.replace("</main>", '<p><img src="d.png" alt=""></p></main>')
    assert sorted(Page(text).loaded) == [
        "@import 'https://example.org/b.css'",
        "d.png",
        "https://example.org/a.png",
        "url(c.png)",
    ]


def test_a_figure_is_the_same_each_time() -> None:
    """The same drawing twice gives the same bytes, without a date or an address."""
    first = drawn()
    assert first == drawn()
    assert b"date" not in first
    assert Page(render("t", "", [PageSection("s", "S", pictures=[Picture(first, "a")])])).loaded == []


def test_text_stands_beside_what_would_be_left_alone() -> None:
    """One picture or table, or three, has the text beside it; of two, each has the other."""
    picture, wide = Picture(b"", "a"), Picture(b"", "a", wide=True)
    assert PageSection("s", "S", pictures=[picture, wide]).beside
    assert not PageSection("s", "S", pictures=[picture], tables=[Table("", [], [])]).beside
    assert not PageSection("s", "S", pictures=[wide]).beside
